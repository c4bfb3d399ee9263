"""Whom to promote: from draws of what the large scale may show, sets of designs and what each may cost.

Regret of a set is what the best design of all scores above the best of the set; designs that were trained at the large
scale already are in every set for nothing. Legend: `n` designs; `M` draws; y_Mn scores at the large scale, higher is
better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.agreement import Floats
    from analysis.transfer import Transfer

Rule = Literal["regret", "confidence", "top-k", "budget", "calibrate"]
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
                return f"the winner is in with a chance of {self.value:.0%}"
            case "top-k":
                return f"the {self.value:g} of the highest predicted scores"
            case "budget":
                return f"a budget of {self.value:g}"
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


def chances(y_Mn: Floats) -> Floats:  # noqa: N803
    """Each design's chance of being the best, n values that sum to 1; equals share."""
    best = y_Mn == y_Mn.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def expected_regret(y_Mn: Floats, chosen: Sequence[int]) -> float:  # noqa: N803
    """Mean over draws of best of all - best of the chosen; NaN if none is."""
    if not len(chosen):
        return float("nan")
    return max(0.0, float((y_Mn.max(axis=1) - y_Mn[:, list(chosen)].max(axis=1)).mean()))


def choose(y_Mn: Floats, known: Sequence[int], costs_n: Floats, policy: Policy) -> list[int]:  # noqa: N803
    """Designs to promote by a policy, in the order of choice; known ones are not among them.

    By `confidence` the set is the smallest there is. By `regret` and `budget` designs are taken one by one, the one
    that lowers expected regret most (for its cost, where there is a budget); regret falls by ever less, so this is
    within 1 - 1/e of the best reduction of all sets of that size (Nemhauser et al. 1978). One that a later choice made
    needless is dropped again.
    """
    unknown = [i for i in range(y_Mn.shape[1]) if i not in set(known)]
    match policy.rule:
        case "top-k":
            mean_n = y_Mn.mean(axis=0)
            return sorted(unknown, key=lambda i: -mean_n[i])[: int(policy.value)]
        case "confidence":
            chance_n = chances(y_Mn)
            return _until(sorted(unknown, key=lambda i: -chance_n[i]), chance_n, known, policy.value)
        case "regret":
            return _greedy(y_Mn, unknown, known, np.ones(y_Mn.shape[1]), np.inf, policy.value)
        case "budget":
            chosen = _greedy(y_Mn, unknown, known, costs_n, policy.value, 0.0)
            single = [i for i in unknown if costs_n[i] <= policy.value]
            alone = min(single, key=lambda i: expected_regret(y_Mn, [*known, i]), default=None)
            # Best for its cost can waste a budget on cheap ones; the best single one bounds that (Khuller et al. 1999).
            better = alone is not None and (
                not chosen or expected_regret(y_Mn, [*known, alone]) < expected_regret(y_Mn, [*known, *chosen])
            )
            return [alone] if better and alone is not None else chosen
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


def _greedy(
    y_Mn: Floats,  # noqa: N803
    unknown: list[int],
    known: Sequence[int],
    costs_n: Floats,
    budget: float,
    wanted: float,
) -> list[int]:
    best_M = y_Mn.max(axis=1)
    held_M = y_Mn[:, list(known)].max(axis=1) if len(known) else np.full(len(y_Mn), y_Mn.min() - 1.0)
    taken, left = list[int](), list(unknown)
    while left and (not (taken or len(known)) or float((best_M - held_M).mean()) > wanted):
        affordable = [i for i in left if costs_n[i] <= budget + 1e-9]
        gains = [float(np.maximum(y_Mn[:, i] - held_M, 0).mean()) / max(costs_n[i], 1e-12) for i in affordable]
        if not affordable or max(gains) <= 0:
            break
        pick = affordable[int(np.argmax(gains))]
        taken.append(pick)
        left.remove(pick)
        budget -= float(costs_n[pick])
        held_M = np.maximum(held_M, y_Mn[:, pick])
    return _without_needless(y_Mn, taken, known, wanted)


def _without_needless(y_Mn: Floats, taken: list[int], known: Sequence[int], wanted: float) -> list[int]:  # noqa: N803
    for i in list(taken[:-1]):
        rest = [j for j in taken if j != i]
        if wanted > 0 and expected_regret(y_Mn, [*known, *rest]) <= wanted:
            taken = rest
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
    y_Mn = transfer.draws()  # noqa: N806
    known = np.flatnonzero(np.isfinite(transfer.candidates.known_n)).tolist()
    if policy.rule == "calibrate":
        chosen = spread(transfer, int(policy.value), level_groups)
    else:
        chosen = choose(y_Mn, known, costs_n, policy)
    chance_n, held = chances(y_Mn), [*known, *chosen]
    front = _front(transfer.mean_n, costs_n)
    rows = [
        _candidate(transfer, i, chosen, float(chance_n[i]), float(costs_n[i]), bool(front[i]), y_Mn)
        for i in np.argsort(-transfer.mean_n, kind="stable")
    ]
    curve = [
        (k, expected_regret(y_Mn, [*known, *chosen[:k]]), float(chance_n[[*known, *chosen[:k]]].sum()))
        for k in range(0 if known else 1, len(chosen) + 1)
    ]
    return Selection(
        policy=policy,
        candidates=tuple(rows),
        promoted=tuple(transfer.candidates.designs[i] for i in chosen),
        expected_regret=expected_regret(y_Mn, held),
        chance=float(chance_n[held].sum()),
        cost=float(costs_n[chosen].sum()),
        curve=tuple(curve),
    )


def _candidate(
    transfer: Transfer,
    i: int,
    chosen: list[int],
    chance: float,
    cost: float,
    on_front: bool,
    y_Mn: Floats,  # noqa: N803
) -> Candidate:
    found, sign = transfer.candidates, -1.0 if transfer.candidates.lower_is_better else 1.0
    is_known, order = bool(np.isfinite(found.known_n[i])), chosen.index(i) + 1 if i in chosen else None
    top = int(np.argmax(transfer.mean_n))
    behind = float(transfer.mean_n[top] - transfer.mean_n[i])
    if is_known:
        reason = "known: trained there already"
    elif order:
        reason = (
            f"in: {chance:.0%} to be the best" if i == top else f"in: {chance:.0%} to be the best, {behind:.2f} behind"
        )
    else:
        beaten = float((y_Mn[:, i] < y_Mn[:, top]).mean())
        reason = f"out: {behind:.2f} behind {found.designs[top]}, which is better with {beaten:.0%}"
    return Candidate(
        design=found.designs[i],
        predicted=sign * float(transfer.mean_n[i]),
        half_width=float(transfer.half_width_n()[i]),
        is_known=is_known,
        chance=chance,
        cost=cost,
        is_promoted=order is not None,
        is_on_front=on_front,
        order=order,
        reason=reason,
    )


def _front(mean_n: Floats, costs_n: Floats) -> NDArray[np.bool_]:
    """Designs that no other beats in both: Pareto's front of cost against predicted score."""
    better = (mean_n[None, :] >= mean_n[:, None]) & (costs_n[None, :] <= costs_n[:, None])
    strictly = (mean_n[None, :] > mean_n[:, None]) | (costs_n[None, :] < costs_n[:, None])
    return np.asarray(~(better & strictly).any(axis=1))


def spread(transfer: Transfer, number: int, levels_nA: NDArray[np.str_] | None = None) -> list[int]:  # noqa: N803
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
