"""Whom to promote: from draws of what the large scale may show, sets of designs and what each may cost.

Regret of a set is what the best design of all scores above the best of the set; designs that were trained at the large
scale already are in every set for nothing. Legend: `n` designs; `M` draws; y_Mn scores at the large scale, higher is
better.
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
"""A budget that costs add up to but for rounding is kept."""
FACTOR_WEIGHT = 0.5
"""Of an axis beside the score range when calibration designs are spread: the slope matters more than any one effect."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The user's wish: one rule and its number."""

    rule: Rule
    value: float
    """Points of regret; a chance from 0 to 1; a number of designs; a budget in the unit of the costs."""

    def __str__(self) -> str:
        match self.rule:
            case "regret":
                return f"expected regret at most {self.value:g}"
            case "confidence":
                return f"the smallest set that holds the winner with a chance of {100 * self.value:g}%"
            case "top-k":
                return f"the {self.value:g} highest predictions"
            case "gpu-hours":
                return f"at most {self.value:g} GPU-hours"
            case "calibrate":
                return f"{self.value:g} designs that tell most about the transfer"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One design and why it is promoted, or not. Scores have the sign of the study's metric."""

    design: str
    predicted: float
    half_width: float
    """Of the 95 % prediction interval of a run; 0 if known."""
    is_known: bool
    """Whether it was trained at the large scale already."""
    chance: float
    """Of being the best of all."""
    cost: float
    is_promoted: bool
    is_on_front: bool
    """Whether no other design is predicted to be better and costs as little."""
    order: int | None
    """Place in which it was chosen, from 1."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen set and what is to be expected of it."""

    policy: Policy
    candidates: tuple[Candidate, ...]
    """Best prediction first."""
    promoted: tuple[str, ...]
    """To be trained, in the order in which they were chosen; known ones are not among them."""
    expected_regret: float
    """Points, of the promoted and known ones together; NaN if there are neither."""
    chance: float
    """That the best of all is among them."""
    cost: float
    curve: tuple[tuple[int, float, float], ...]
    """Number promoted, expected regret, chance to hold the winner: along the order of choice, as far as it goes."""


def chances(y_Mn: Floats) -> Floats:
    """Each design's chance of being the best, n values that sum to 1; equals share."""
    best = y_Mn == y_Mn.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def expected_regret(y_Mn: Floats, chosen: Sequence[int]) -> float:
    """Mean over draws of best of all - best of the chosen; NaN if none is."""
    if not len(chosen):
        return float("nan")
    return max(0.0, float((y_Mn.max(axis=1) - y_Mn[:, list(chosen)].max(axis=1)).mean()))


def choose(
    y_Mn: Floats, known: Sequence[int], costs_n: Floats, policy: Policy, mean_n: Floats | None = None
) -> list[int]:
    """Designs to promote by a policy, in the order of choice; known ones are not among them.

    By `confidence` the set is the smallest there is. By `regret` and `budget` designs are taken one by one, the one
    that lowers expected regret most (for its cost, too, where there is a budget); regret falls by ever less, so this is
    within 1 - 1/e of the best reduction of all sets of that size (Nemhauser et al. 1978). One that a later choice made
    needless is dropped again.

    Args:
        y_Mn: draws of the scores.
        known: designs that are in every set for nothing.
        costs_n: heeded by `budget` alone.
        policy: the rule.
        mean_n: predicted scores, for `top-k`; the means of the draws where left out.
    """
    taken = set(known)
    unknown = [i for i in range(y_Mn.shape[1]) if i not in taken]
    match policy.rule:
        case "top-k":
            score_n = y_Mn.mean(axis=0) if mean_n is None else mean_n
            return sorted(unknown, key=lambda i: -score_n[i])[: int(policy.value)]
        case "confidence":
            chance_n = chances(y_Mn)
            # Equal chances, of few draws, are ranked by what is predicted.
            mean_n = y_Mn.mean(axis=0)
            order = sorted(unknown, key=lambda i: (-chance_n[i], -mean_n[i]))
            return _until(order, chance_n, known, policy.value)
        case "regret":
            order = _greedy(y_Mn, unknown, known, np.zeros(y_Mn.shape[1]), Limit(wanted=policy.value))
            return _without_needless(y_Mn, order, known, policy.value)
        case "gpu-hours":
            return _within_budget(y_Mn, unknown, known, costs_n, policy.value)
        case "calibrate":
            raise AssertionError("spread() chooses designs for calibration")


def _until(order: list[int], chance_n: Floats, known: Sequence[int], wanted: float) -> list[int]:
    held, taken = float(sum(chance_n[i] for i in known)), list[int]()
    for i in order:
        if held >= wanted - 1e-9 or (chance_n[i] == 0 and (taken or known)):
            break
        taken.append(i)
        held += float(chance_n[i])
    return taken


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Where the greedy choice stops."""

    budget: float = math.inf
    wanted: float = 0.0
    """Expected regret."""
    per_cost: bool = False
    """Whether a design's gain is divided by its cost."""


def _within_budget(y_Mn: Floats, unknown: list[int], known: Sequence[int], costs_n: Floats, budget: float) -> list[int]:
    """The best of two greedy choices: best for its cost can waste a budget on cheap ones, plain best on a dear one.

    Together they come within (1 - 1/e) / 2 of the best reduction that the budget can buy (Leskovec et al. 2007).
    """
    tried = [_greedy(y_Mn, unknown, known, costs_n, Limit(budget=budget, per_cost=p)) for p in (False, True)]
    return min(
        (chosen for chosen in tried if chosen),
        key=lambda chosen: (expected_regret(y_Mn, [*known, *chosen]), float(costs_n[chosen].sum())),
        default=[],
    )


def _greedy(y_Mn: Floats, unknown: list[int], known: Sequence[int], costs_n: Floats, limit: Limit) -> list[int]:
    """Take the design that gains most, again and again.

    Gains only ever shrink, so one that was worked out earlier is an upper bound, and few have to be worked out anew
    (Minoux 1978).
    """
    y_nM, best = np.ascontiguousarray(y_Mn.T), float(y_Mn.max(axis=1).mean())
    price_n = np.maximum(costs_n, 1e-12) if limit.per_cost else np.ones_like(costs_n)
    left, taken = [i for i in unknown if costs_n[i] <= limit.budget * _ROUNDING], list[int]()
    if not left:
        return []
    if len(known):
        held_M = y_nM[list(known)].max(axis=0)
    else:  # with nothing held yet, the gain is over what a design picked at random would score
        over_n = np.maximum(y_nM - y_nM.mean(axis=0), 0).mean(axis=1) if limit.per_cost else y_nM.mean(axis=1)
        taken = [max(left, key=lambda i: (over_n[i] / price_n[i], -i))]
        held_M = y_nM[taken[0]]
    spent = float(costs_n[taken].sum())
    heap = [(-_gain(y_nM[i], held_M) / price_n[i], i) for i in left if i not in taken]
    heapq.heapify(heap)
    while heap and best - float(held_M.mean()) > limit.wanted:
        _, i = heapq.heappop(heap)
        if spent + costs_n[i] > limit.budget * _ROUNDING:
            continue
        gain = _gain(y_nM[i], held_M) / price_n[i]
        if heap and (-gain, i) > heap[0]:
            heapq.heappush(heap, (-gain, i))
        elif gain <= 0:
            break
        else:
            taken.append(i)
            spent += float(costs_n[i])
            held_M = np.maximum(held_M, y_nM[i])
    return taken


def _gain(y_M: Floats, held_M: Floats) -> float:
    return float(np.maximum(y_M - held_M, 0).mean())


def _without_needless(y_Mn: Floats, taken: list[int], known: Sequence[int], wanted: float) -> list[int]:
    """Drop, earliest first, whoever the rest makes good for: its loss is where it alone is best of the set."""
    while len(taken) + len(known) > 1:
        held = [*known, *taken]
        y_Mk = y_Mn[:, held]
        place_M = y_Mk.argmax(axis=1)
        second_M = np.partition(y_Mk, -2, axis=1)[:, -2]
        lead_M = y_Mk.max(axis=1) - second_M
        loss_k = np.bincount(place_M, weights=lead_M, minlength=len(held)) / len(y_Mn)
        spare = wanted - expected_regret(y_Mn, held)
        needless = [i for i, loss in zip(taken, loss_k[len(known) :], strict=True) if loss <= spare]
        if not needless:
            break
        taken = [i for i in taken if i != needless[0]]
    return taken


def select(
    transfer: Transfer, policy: Policy, costs_n: Floats, level_groups: NDArray[np.str_] | None = None
) -> Selection:
    """Choose, and say why.

    Args:
        transfer: the posterior.
        policy: what the user states.
        costs_n: of training each design at the large scale, in any one unit.
        level_groups: for `calibrate`: each design's values of the axes, n x axes.
    """
    y_Mn, mean_n = transfer.draws(), transfer.mean_n
    known = np.flatnonzero(np.isfinite(transfer.candidates.known_n)).tolist()
    if policy.rule == "calibrate":
        chosen = spread(transfer, int(policy.value), level_groups)
    else:
        chosen = choose(y_Mn, known, costs_n, policy, mean_n)
    chance_n, held = chances(y_Mn), [*known, *chosen]
    rows = _rows(transfer, chosen, costs_n, chance_n, _reasons(transfer, policy, chosen, costs_n, y_Mn))
    curve = [
        (k, expected_regret(y_Mn, [*known, *chosen[:k]]), float(chance_n[[*known, *chosen[:k]]].sum()))
        for k in range(0 if known else 1, len(chosen) + 1)
    ]
    return Selection(
        policy=policy,
        candidates=tuple(rows),
        promoted=tuple(transfer.candidates.designs[i] for i in chosen),
        expected_regret=expected_regret(y_Mn, held),
        chance=min(1.0, float(chance_n[held].sum())),
        cost=float(costs_n[chosen].sum()),
        curve=tuple(curve),
    )


def _rows(
    transfer: Transfer, chosen: list[int], costs_n: Floats, chance_n: Floats, reasons: Sequence[str]
) -> list[Candidate]:
    found, sign = transfer.candidates, -1.0 if transfer.candidates.lower_is_better else 1.0
    mean_n, half_n, front = transfer.mean_n, transfer.half_width_n(), _front(transfer.mean_n, costs_n)
    order = {i: place for place, i in enumerate(chosen, start=1)}
    return [
        Candidate(
            design=found.designs[i],
            predicted=sign * float(mean_n[i]),
            half_width=float(half_n[i]),
            is_known=bool(np.isfinite(found.known_n[i])),
            chance=float(chance_n[i]),
            cost=float(costs_n[i]),
            is_promoted=i in order,
            is_on_front=bool(front[i]),
            order=order.get(i),
            reason=reasons[i],
        )
        for i in np.argsort(-mean_n, kind="stable").tolist()
    ]


def _reasons(transfer: Transfer, policy: Policy, chosen: Sequence[int], costs_n: Floats, y_Mn: Floats) -> list[str]:
    """Why each design is in or out."""
    found, mean_n, chance_n = transfer.candidates, transfer.mean_n, chances(y_Mn)
    top, is_in = int(np.argmax(mean_n)), set(chosen)
    worse_n = (y_Mn < y_Mn[:, [top]]).mean(axis=0)
    reasons = []
    for i in range(len(mean_n)):
        behind = float(mean_n[top] - mean_n[i])
        distance = "" if i == top else f", {behind:.2f} behind"
        if np.isfinite(found.known_n[i]):
            reasons.append("known: trained there already")
        elif i in is_in and policy.rule == "calibrate":
            reasons.append("in: tells of the transfer" + (distance or ", predicted to be the best"))
        elif i in is_in:
            reasons.append(f"in: {_percent(chance_n[i])} to be the best{distance}")
        elif policy.rule == "gpu-hours" and costs_n[i] > policy.value * _ROUNDING:
            reasons.append(f"out: it alone costs more than the budget{distance}")
        elif i == top:
            reasons.append(
                f"out: predicted to be the best, {_percent(chance_n[i])} to be it, but others are worth more here"
            )
        else:
            reasons.append(
                f"out: {behind:.2f} behind {found.designs[top]}, which is better with {_percent(worse_n[i])}"
            )
    return reasons


def _percent(chance: float) -> str:
    """Whole per cents, but neither 0 % nor 100 % of what is only nearly so."""
    if 0 < chance < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < chance < 1 else f"{chance:.0%}"


def _front(mean_n: Floats, costs_n: Floats) -> NDArray[np.bool_]:
    """Designs that no other beats in both: Pareto's front of cost against predicted score."""
    better = (mean_n[None, :] >= mean_n[:, None]) & (costs_n[None, :] <= costs_n[:, None])
    strictly = (mean_n[None, :] > mean_n[:, None]) | (costs_n[None, :] < costs_n[:, None])
    return np.asarray(~(better & strictly).any(axis=1))


def spread(transfer: Transfer, number: int, levels_nA: NDArray[np.str_] | None = None) -> list[int]:
    """Designs whose scores at the large scale would tell most about the transfer.

    Greedy D-optimal design (Atkinson et al. 2007): each is the one that adds most to the determinant of the
    information on the line and, weighing less, on the effect of each value of each axis. So they lie at the ends of the
    score range, and differ in their axes.
    """
    index_n = transfer.index_n
    columns = [np.ones_like(index_n), (index_n - index_n.mean()) / max(float(index_n.std()), 1e-9)]
    if levels_nA is not None:
        for axis in levels_nA.T:
            found, counts = np.unique(axis, return_counts=True)
            if 1 < len(found) < len(axis):
                columns += [FACTOR_WEIGHT * (axis == value) for value in found[np.argsort(-counts)][1:]]
    x_np = np.column_stack(columns).astype(np.float64)
    known = np.isfinite(transfer.candidates.known_n)
    information = 0.1 * np.eye(x_np.shape[1]) + x_np[known].T @ x_np[known]
    taken: list[int] = []
    while len(taken) < min(number, int((~known).sum())):
        gain_n = np.einsum("np,pq,nq->n", x_np, np.linalg.inv(information), x_np)
        gain_n[known] = -1.0
        gain_n[taken] = -1.0
        pick = int(np.argmax(gain_n))
        taken.append(pick)
        information += np.outer(x_np[pick], x_np[pick])
    return taken
