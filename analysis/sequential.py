"""One step at a time: the training whose result is worth most for its cost, and when to stop.

If training stopped now, the design with the highest predicted (or known) score would be taken. A result changes the
predictions; what that is worth is the expected rise of the highest of them, the knowledge gradient (Frazier, Powell and
Dayanik 2008), in points of regret saved. It is told for a run at the large scale, a further seed at the nearest small
scale, and a run at a scale between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.selection import expected_regret
from analysis.transfer import Transfer, explained_with_run

if TYPE_CHECKING:
    from analysis.agreement import Floats

Kind = Literal["design", "seed", "scale"]


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
    """Worth most for its cost first."""


def advise(transfer: Transfer, costs: Mapping[str, Floats], wanted: float) -> Advice:
    """The steps that could be next.

    Args:
        transfer: the posterior.
        costs: scale -> cost of one run of each design there, in one unit for all scales; other scales are not offered.
        wanted: expected regret at which to stop, in points.
    """
    found = transfer.candidates
    known = np.isfinite(found.known_n)
    pick = int(np.argmax(transfer.mean_n))
    regret = expected_regret(transfer.draws(), [pick])
    steps = [*_large(transfer, costs), *_small(transfer, costs)]
    steps.sort(key=lambda step: (-step.per_cost, step.cost, step.design))
    return Advice(
        pick=found.designs[pick], regret=regret, is_enough=bool(known[pick]) and regret <= wanted, steps=tuple(steps)
    )


def gain(mean_n: Floats, sd_n: Floats) -> Floats:
    """Expected rise of the highest mean if design i's mean moves by a normal of sd_n[i]: sd f(-|distance|/sd)."""
    from scipy.special import ndtr

    order = np.argsort(-mean_n, kind="stable")
    best_other_n = np.full_like(mean_n, mean_n[order[0]])
    best_other_n[order[0]] = mean_n[order[1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        z_n = np.where(sd_n > 0, -np.abs(mean_n - best_other_n) / sd_n, -np.inf)
    density_n = np.exp(-0.5 * z_n**2) / np.sqrt(2 * np.pi)
    return np.where(sd_n > 0, sd_n * (np.where(np.isfinite(z_n), z_n, 0.0) * ndtr(z_n) + density_n), 0.0)


def _large(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    found = transfer.candidates
    if found.large not in costs:
        return []
    worth_n = gain(transfer.mean_n, transfer.sd_n)
    return [
        _step("design", found.designs[i], found.large, worth_n[i], costs[found.large][i])
        for i in np.flatnonzero(~np.isfinite(found.known_n))
    ]


def _small(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    """A run at a smaller scale moves the prediction of an unknown design by as much as its index explains more then."""
    found, steps = transfer.candidates, list[Step]()
    for s, scale in enumerate(found.scales):
        if scale not in costs:
            continue
        more_n = explained_with_run(transfer, s)
        rise_n = np.sqrt(np.maximum(more_n - transfer.explained_n, 0.0))
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
