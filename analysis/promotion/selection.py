"""Which designs to promote: sets of designs by expected regret, confidence or cost, from draws of large-scale scores.

Regret of a set: score of the best of all designs less that of the best in the set, in points. Designs that are already
trained at the large scale are in every set at no cost. Legend: `n` designs; `M` draws; y_Mn scores at the large scale,
higher is better.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.numbers import Floats
    from analysis.promotion.transfer import Transfer

Rule = Literal["regret", "confidence", "top-k", "gpu-hours", "calibrate"]
_ROUNDING = 1 + 1e-9
"""Tolerance, so that rounding errors in a sum of costs do not exceed a budget."""
FACTOR_WEIGHT = 0.5
"""Weight of an axis relative to the index in the choice of calibration designs: the slope matters more than any one
effect."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A rule by which designs are chosen, and its number."""

    rule: Rule
    value: float
    """Points of regret; a probability from 0 to 1; a number of designs; a budget in the unit of the costs."""

    def __str__(self) -> str:
        match self.rule:
            case "regret":
                return f"expected regret at most {self.value:g} points"
            case "confidence":
                return f"the smallest set that contains the best design with probability {100 * self.value:g}%"
            case "top-k":
                return f"the {self.value:g} highest predictions"
            case "gpu-hours":
                return f"at most {self.value:g} GPU-hours"
            case "calibrate":
                return f"the {self.value:g} designs most informative about the transfer"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One design and why it is promoted, or not. Scores have the sign of the study's metric."""

    design: str
    predicted: float
    """Predicted or observed score, in points."""
    half_width: float
    """Half-width of the 95 % prediction interval of a run, in points; 0 if known."""
    is_known: bool
    """Whether it is already trained at the large scale."""
    chance: float
    """Probability to be the best of all."""
    cost: float
    """Cost of training it at the large scale."""
    is_promoted: bool
    is_on_front: bool
    """Whether no other design is predicted to be better and costs as little."""
    order: int | None
    """Position in the order of choice, from 1."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen set, its cost and its expected regret."""

    policy: Policy
    candidates: tuple[Candidate, ...]
    """All designs, highest prediction first."""
    promoted: tuple[str, ...]
    """Designs to train, in the order of choice; designs that are already trained are not among them."""
    expected_regret: float
    """Expected regret of the promoted and known designs together, in points; NaN if there are neither."""
    chance: float
    """Probability that the best of all is among them."""
    cost: float
    """Cost of training the promoted designs at the large scale."""
    curve: tuple[tuple[int, float, float], ...]
    """Number promoted, expected regret, probability to contain the best design: along the order of choice."""


def probabilities_of_best(y_Mn: Floats) -> Floats:
    """Each design's probability to be the best, n values that sum to 1; ties are shared equally."""
    best = y_Mn == y_Mn.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def expected_regret(y_Mn: Floats, chosen: Sequence[int]) -> float:
    """Mean over draws of (best of all - best of the chosen designs), in points; NaN if none is chosen."""
    if not len(chosen):
        return float("nan")
    return max(0.0, float((y_Mn.max(axis=1) - y_Mn[:, list(chosen)].max(axis=1)).mean()))


def choose(
    y_Mn: Floats, trained: Sequence[int], costs_n: Floats, policy: Policy, mean_n: Floats | None = None
) -> list[int]:
    """Designs to promote by a policy, in the order of choice; designs that are already trained are not among them.

    By `confidence` the set is the smallest possible. By `regret` and `gpu-hours` designs are chosen greedily, each the
    one that reduces expected regret most (also per unit of cost, where there is a budget). Reductions diminish, so this
    is within 1 - 1/e of the best reduction of all sets of that size (Nemhauser et al. 1978). A design that later
    choices made redundant is removed again.

    Args:
        y_Mn: draws of the scores.
        trained: indices of the designs that are in every set at no cost.
        costs_n: costs of the designs; only `gpu-hours` uses them.
        policy: the rule, other than `calibrate`.
        mean_n: predicted scores, for `top-k`; the means of the draws if omitted.

    Returns:
        Indices of designs.
    """
    excluded = set(trained)
    unknown = [i for i in range(y_Mn.shape[1]) if i not in excluded]
    match policy.rule:
        case "top-k":
            score_n = y_Mn.mean(axis=0) if mean_n is None else mean_n
            return sorted(unknown, key=lambda i: -score_n[i])[: int(policy.value)]
        case "confidence":
            probability_n = probabilities_of_best(y_Mn)
            # Few draws give equal probabilities: these are ranked by predicted score.
            mean_n = y_Mn.mean(axis=0)
            order = sorted(unknown, key=lambda i: (-probability_n[i], -mean_n[i]))
            return _until(order, probability_n, trained, policy.value)
        case "regret":
            order = _greedy(y_Mn, unknown, trained, np.zeros(y_Mn.shape[1]), Limit(regret=policy.value))
            return _without_redundant(y_Mn, order, trained, policy.value)
        case "gpu-hours":
            return _within_budget(y_Mn, unknown, trained, costs_n, policy.value)
        case "calibrate":
            raise AssertionError("calibration_designs() chooses designs for calibration")


def _until(order: list[int], probability_n: Floats, trained: Sequence[int], target: float) -> list[int]:
    """The shortest start of `order` that, with the trained designs, contains the best with probability `target`."""
    total, selected = float(sum(probability_n[i] for i in trained)), list[int]()
    for i in order:
        if total >= target - 1e-9 or (probability_n[i] == 0 and (selected or trained)):
            break
        selected.append(i)
        total += float(probability_n[i])
    return selected


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Where the greedy choice stops, and what it maximises."""

    budget: float = math.inf
    """Total cost that is not exceeded."""
    regret: float = 0.0
    """Expected regret at which it stops, in points."""
    per_cost: bool = False
    """Whether a design's gain is divided by its cost."""


def _within_budget(
    y_Mn: Floats, unknown: list[int], trained: Sequence[int], costs_n: Floats, budget: float
) -> list[int]:
    """The better of two greedy choices: gain per cost can waste a budget on cheap designs, gain on an expensive one.

    Together they come within (1 - 1/e) / 2 of the best reduction that the budget can buy (Leskovec et al. 2007).
    """
    sets = [_greedy(y_Mn, unknown, trained, costs_n, Limit(budget=budget, per_cost=p)) for p in (False, True)]
    return min(
        (chosen for chosen in sets if chosen),
        key=lambda chosen: (expected_regret(y_Mn, [*trained, *chosen]), float(costs_n[chosen].sum())),
        default=[],
    )


def _greedy(y_Mn: Floats, unknown: list[int], trained: Sequence[int], costs_n: Floats, limit: Limit) -> list[int]:
    """Repeatedly choose the design with the largest gain.

    Gains never increase, so a gain computed earlier is an upper bound, and few have to be recomputed (Minoux 1978).
    """
    y_nM, highest = np.ascontiguousarray(y_Mn.T), float(y_Mn.max(axis=1).mean())
    price_n = np.maximum(costs_n, 1e-12) if limit.per_cost else np.ones_like(costs_n)
    affordable, selected = [i for i in unknown if costs_n[i] <= limit.budget * _ROUNDING], list[int]()
    if not affordable:
        return []
    if len(trained):
        best_M = y_nM[list(trained)].max(axis=0)
    else:  # the set is still empty: the gain is over a design picked at random
        over_n = np.maximum(y_nM - y_nM.mean(axis=0), 0).mean(axis=1) if limit.per_cost else y_nM.mean(axis=1)
        selected = [max(affordable, key=lambda i: (over_n[i] / price_n[i], -i))]
        best_M = y_nM[selected[0]]
    spent = float(costs_n[selected].sum())
    heap = [(-_gain(y_nM[i], best_M) / price_n[i], i) for i in affordable if i not in selected]
    heapq.heapify(heap)
    while heap and highest - float(best_M.mean()) > limit.regret:
        _, i = heapq.heappop(heap)
        if spent + costs_n[i] > limit.budget * _ROUNDING:
            continue
        gain = _gain(y_nM[i], best_M) / price_n[i]
        if heap and (-gain, i) > heap[0]:
            heapq.heappush(heap, (-gain, i))
        elif gain <= 0:
            break
        else:
            selected.append(i)
            spent += float(costs_n[i])
            best_M = np.maximum(best_M, y_nM[i])
    return selected


def _gain(y_M: Floats, best_M: Floats) -> float:
    """Mean points by which a design raises the best score of a set."""
    return float(np.maximum(y_M - best_M, 0).mean())


def _without_redundant(y_Mn: Floats, selected: list[int], trained: Sequence[int], target: float) -> list[int]:
    """Remove designs, earliest first, as long as expected regret stays at most `target`.

    Without a design regret rises by its lead over the second best of the set, in the draws where it is the best.
    """
    while len(selected) + len(trained) > 1:
        members = [*trained, *selected]
        y_Mk = y_Mn[:, members]
        best_M = y_Mk.argmax(axis=1)
        second_M = np.partition(y_Mk, -2, axis=1)[:, -2]
        lead_M = y_Mk.max(axis=1) - second_M
        loss_k = np.bincount(best_M, weights=lead_M, minlength=len(members)) / len(y_Mn)
        spare = target - expected_regret(y_Mn, members)
        redundant = [i for i, loss in zip(selected, loss_k[len(trained) :], strict=True) if loss <= spare]
        if not redundant:
            break
        selected = [i for i in selected if i != redundant[0]]
    return selected


def select(transfer: Transfer, policy: Policy, costs_n: Floats, levels_nA: NDArray[np.str_] | None = None) -> Selection:
    """Choose designs by a policy, with a reason for each design.

    Args:
        transfer: the posterior.
        policy: the rule.
        costs_n: cost of training each design at the large scale, in any one unit.
        levels_nA: for `calibrate`: each design's values of the axes, n x axes.
    """
    y_Mn, mean_n = transfer.draws(), transfer.mean_n
    trained = np.flatnonzero(np.isfinite(transfer.candidates.known_n)).tolist()
    if policy.rule == "calibrate":
        chosen = calibration_designs(transfer, int(policy.value), levels_nA)
    else:
        chosen = choose(y_Mn, trained, costs_n, policy, mean_n)
    probability_n, members = probabilities_of_best(y_Mn), [*trained, *chosen]
    rows = _rows(transfer, chosen, costs_n, probability_n, _reasons(transfer, policy, chosen, costs_n, y_Mn))
    curve = [
        (k, expected_regret(y_Mn, [*trained, *chosen[:k]]), float(probability_n[[*trained, *chosen[:k]]].sum()))
        for k in range(0 if trained else 1, len(chosen) + 1)
    ]
    return Selection(
        policy=policy,
        candidates=tuple(rows),
        promoted=tuple(transfer.candidates.designs[i] for i in chosen),
        expected_regret=expected_regret(y_Mn, members),
        chance=min(1.0, float(probability_n[members].sum())),
        cost=float(costs_n[chosen].sum()),
        curve=tuple(curve),
    )


def _rows(
    transfer: Transfer, chosen: list[int], costs_n: Floats, probability_n: Floats, reasons: Sequence[str]
) -> list[Candidate]:
    candidates, sign = transfer.candidates, -1.0 if transfer.candidates.lower_is_better else 1.0
    mean_n, half_n, front = transfer.mean_n, transfer.half_width_n(), _front(transfer.mean_n, costs_n)
    order = {i: position for position, i in enumerate(chosen, start=1)}
    return [
        Candidate(
            design=candidates.designs[i],
            predicted=sign * float(mean_n[i]),
            half_width=float(half_n[i]),
            is_known=bool(np.isfinite(candidates.known_n[i])),
            chance=float(probability_n[i]),
            cost=float(costs_n[i]),
            is_promoted=i in order,
            is_on_front=bool(front[i]),
            order=order.get(i),
            reason=reasons[i],
        )
        for i in np.argsort(-mean_n, kind="stable").tolist()
    ]


def _reasons(transfer: Transfer, policy: Policy, chosen: Sequence[int], costs_n: Floats, y_Mn: Floats) -> list[str]:
    """Why each design is promoted or left out, in a phrase."""
    candidates, mean_n, probability_n = transfer.candidates, transfer.mean_n, probabilities_of_best(y_Mn)
    top, promoted = int(np.argmax(mean_n)), set(chosen)
    worse_n = (y_Mn < y_Mn[:, [top]]).mean(axis=0)
    reasons = []
    for i in range(len(mean_n)):
        behind = float(mean_n[top] - mean_n[i])
        distance = "" if i == top else f", {behind:.2f} points behind"
        if np.isfinite(candidates.known_n[i]):
            reasons.append(f"known: already trained at {candidates.large}")
        elif i in promoted and policy.rule == "calibrate":
            reasons.append("promoted: informative about the transfer" + (distance or ", highest prediction"))
        elif i in promoted:
            reasons.append(f"promoted: best with probability {_percent(probability_n[i])}{distance}")
        elif policy.rule == "gpu-hours" and costs_n[i] > policy.value * _ROUNDING:
            reasons.append(f"left out: costs more than the budget{distance}")
        elif i == top:
            probability = _percent(probability_n[i])
            reasons.append(f"left out: highest prediction, best with probability {probability}; others are worth more")
        else:
            better = f"{candidates.designs[top]}, which is better with probability {_percent(worse_n[i])}"
            reasons.append(f"left out: {behind:.2f} points behind {better}")
    return reasons


def _percent(probability: float) -> str:
    """Whole per cent; 'under 1%' and 'over 99%' where rounding would give 0 or 100."""
    if 0 < probability < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < probability < 1 else f"{probability:.0%}"


def _front(mean_n: Floats, costs_n: Floats) -> NDArray[np.bool_]:
    """Whether a design is on the Pareto front of cost and predicted score, n values."""
    better = (mean_n[None, :] >= mean_n[:, None]) & (costs_n[None, :] <= costs_n[:, None])
    strictly = (mean_n[None, :] > mean_n[:, None]) | (costs_n[None, :] < costs_n[:, None])
    return np.asarray(~(better & strictly).any(axis=1))


def calibration_designs(transfer: Transfer, number: int, levels_nA: NDArray[np.str_] | None = None) -> list[int]:
    """Designs whose scores at the large scale would be most informative about the transfer.

    Greedy D-optimal design (Atkinson et al. 2007): each is the one that increases most the determinant of the
    information matrix of the line and, with less weight, of the effect of each value of each axis. So they lie at the
    ends of the score range and differ in their axes.

    Args:
        transfer: the posterior.
        number: how many; fewer where fewer are untrained.
        levels_nA: each design's values of the axes, n x axes.

    Returns:
        Indices of designs, in the order of choice.
    """
    index_n = transfer.index_n
    columns = [np.ones_like(index_n), (index_n - index_n.mean()) / max(float(index_n.std()), 1e-9)]
    if levels_nA is not None:
        for axis in levels_nA.T:
            values, counts = np.unique(axis, return_counts=True)
            if 1 < len(values) < len(axis):
                columns += [FACTOR_WEIGHT * (axis == value) for value in values[np.argsort(-counts)][1:]]
    x_np = np.column_stack(columns).astype(np.float64)
    is_known = np.isfinite(transfer.candidates.known_n)
    information = 0.1 * np.eye(x_np.shape[1]) + x_np[is_known].T @ x_np[is_known]
    chosen: list[int] = []
    while len(chosen) < min(number, int((~is_known).sum())):
        gain_n = np.einsum("np,pq,nq->n", x_np, np.linalg.inv(information), x_np)
        gain_n[is_known] = -1.0
        gain_n[chosen] = -1.0
        pick = int(np.argmax(gain_n))
        chosen.append(pick)
        information += np.outer(x_np[pick], x_np[pick])
    return chosen
