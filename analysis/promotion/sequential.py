"""One step at a time: the training whose result is worth most for its cost, and when to stop.

If training stopped now, the design with the highest predicted (or known) score would be taken. A result changes the
predictions; what that is worth is the expected rise of the highest of them, the knowledge gradient (Frazier, Powell and
Dayanik 2008), in points of regret saved. It is told for a run at the large scale, which moves the predictions of all
designs, as they share level and slope (correlated beliefs, Frazier, Powell and Dayanik 2009); for a further seed at a
small scale, and for a run at a scale that a design lacks. Looks one step ahead, and takes predictions for normal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.promotion.selection import expected_regret
from analysis.promotion.transfer import NUM_DRAWS, Transfer, explained_with_run

if TYPE_CHECKING:
    from analysis.numbers import Floats

Kind = Literal["design", "seed", "scale"]
_FARTHEST, _NODES = 6.0, 121
"""Standard deviations and points between which the mean over a normal is summed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training that could be next."""

    kind: Kind
    """`design`: at the large scale; `seed`: once more at a scale it was run at; `scale`: at one it was not run at."""
    design: str
    scale: str
    worth: float
    """Points by which it is expected to lower the regret of stopping after it."""
    cost: float
    per_cost: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What next, or to stop."""

    pick: str
    """The design that would be taken now."""
    regret: float
    """Expected regret of taking it, in points."""
    is_enough: bool
    """Whether that is as low as was wanted and the pick was trained at the large scale: stop."""
    steps: tuple[Step, ...]
    """The advised one first, then by worth for their cost."""


def advise(transfer: Transfer, costs: Mapping[str, Floats], wanted: float, num_draws: int = NUM_DRAWS) -> Advice:
    """The steps that could be next, the advised one first.

    That is the one that is worth most for its cost; but of the runs at the large scale that of the pick goes before the
    others until it is known, since its score is wanted whatever else is. Once its regret is low enough, it is all that
    is left to do.

    Args:
        transfer: the posterior.
        costs: scale -> cost of one run of each design there, in one unit for all scales; other scales are not offered.
        wanted: expected regret at which to stop, in points.
        num_draws: of the large scale, from which regret is worked out.
    """
    found, mean_n = transfer.candidates, transfer.mean_n
    pick = int(np.argmax(mean_n))
    regret = expected_regret(transfer.draws(num_draws), [pick])
    large = _large(transfer, costs)
    most, name = max((step.per_cost for step in large), default=0.0), found.designs[pick]

    def rank(step: Step) -> tuple[bool, float, bool, float, str]:
        is_pick = step.kind == "design" and step.design == name
        return (
            not (is_pick and regret <= wanted),
            -(most if is_pick else step.per_cost),
            not is_pick,
            step.cost,
            step.design,
        )

    return Advice(
        pick=name,
        regret=regret,
        is_enough=bool(np.isfinite(found.known_n[pick])) and regret <= wanted,
        steps=tuple(sorted([*large, *_small(transfer, costs)], key=rank)),
    )


def gain(mean_n: Floats, sd_n: Floats) -> Floats:
    """Expected rise of the highest mean if design i's alone moves by a normal of sd_n[i]: sd f(-|distance|/sd)."""
    from scipy.special import ndtr

    if len(mean_n) < 2:
        return np.zeros_like(mean_n)
    order = np.argsort(-mean_n, kind="stable")
    best_other_n = np.full_like(mean_n, mean_n[order[0]])
    best_other_n[order[0]] = mean_n[order[1]]
    moved = sd_n > 0
    z_n = np.divide(-np.abs(mean_n - best_other_n), sd_n, out=np.zeros_like(mean_n), where=moved)
    density_n = np.exp(-0.5 * z_n**2) / np.sqrt(2 * np.pi)
    return np.where(moved, np.maximum(sd_n * (z_n * ndtr(z_n) + density_n), 0.0), 0.0)


def joint_gain(mean_n: Floats, covariance_nn: Floats) -> Floats:
    """Expected rise of the highest mean once the score of design i is known, which moves all means by their covariance.

    Means move by covariance[i, j] / sd[i] times one standard normal; the mean of their maximum is summed over it.
    """
    sd_n = np.sqrt(np.maximum(np.diag(covariance_nn), 0.0))
    move_nn = np.divide(covariance_nn, sd_n[:, None], out=np.zeros_like(covariance_nn), where=sd_n[:, None] > 0)
    nodes = np.linspace(-_FARTHEST, _FARTHEST, _NODES)
    share = np.exp(-0.5 * nodes**2)
    share /= share.sum()
    highest_n = np.zeros_like(mean_n)
    step = max(1, 1_000_000 // move_nn.size)  # many nodes at once where designs are few
    for start in range(0, _NODES, step):
        z_Q = nodes[start : start + step]
        highest_n += share[start : start + step] @ (mean_n + z_Q[:, None, None] * move_nn).max(axis=2)
    return np.asarray(np.maximum(highest_n - mean_n.max(), 0.0))


def _large(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    found = transfer.candidates
    if found.large not in costs:
        return []
    unknown = ~np.isfinite(found.known_n)
    worth_n = joint_gain(transfer.mean_n, transfer.covariance_nn() * np.outer(unknown, unknown))
    return [
        _step("design", found.designs[i], found.large, worth_n[i], costs[found.large][i])
        for i in np.flatnonzero(unknown)
    ]


def _small(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    """A run at a smaller scale moves the prediction of an unknown design by as much as its index explains more then."""
    found, steps = transfer.candidates, list[Step]()
    for s, scale in enumerate(found.scales):
        if scale not in costs:
            continue
        more_n = explained_with_run(transfer, s)
        rise_n = np.sqrt(np.maximum(more_n - transfer.basis.explained_n, 0.0))
        moved_n = np.where(np.isfinite(found.known_n), 0.0, np.abs(transfer.slope) * rise_n)
        worth_n = gain(transfer.mean_n, moved_n)
        for i in np.flatnonzero(worth_n > 0):
            kind: Kind = "seed" if np.isfinite(found.score_nS[i, s]) else "scale"
            steps.append(_step(kind, found.designs[i], scale, worth_n[i], costs[scale][i]))
    return steps


def _step(kind: Kind, design: str, scale: str, worth: float, cost: float) -> Step:
    return Step(
        kind=kind,
        design=design,
        scale=scale,
        worth=float(worth),
        cost=float(cost),
        per_cost=float(worth) / max(float(cost), 1e-12),
    )
