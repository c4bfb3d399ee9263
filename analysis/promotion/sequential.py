"""Sequential promotion: the next training with the highest value per cost, and when to stop.

If training stopped now, the design with the highest predicted (or known) score would be picked. A result changes the
predictions; its value is the expected increase of the highest of them, the knowledge gradient (Frazier, Powell and
Dayanik 2008), in points of regret saved. It is computed for a run at the large scale, which changes the predictions of
all designs, as they share level and slope (correlated beliefs, Frazier, Powell and Dayanik 2009); for a further seed at
a small scale; and for a run at a small scale where a design has no score. The look-ahead is one step, and predictions
are assumed to be normal.
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
"""Range in standard deviations and number of nodes of the numerical mean over a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training that could be the next one."""

    kind: Kind
    """`design`: at the large scale; `seed`: a further run at a small scale; `scale`: a first run at a small scale."""
    design: str
    scale: str
    worth: float
    """Points by which it is expected to reduce the regret of stopping after it."""
    cost: float
    per_cost: float
    """`worth` / `cost`."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The next training, or to stop."""

    pick: str
    """The design with the highest predicted or known score."""
    regret: float
    """Expected regret of stopping with it, in points."""
    is_enough: bool
    """Whether to stop: the regret is at most the target, and the pick is trained at the large scale."""
    steps: tuple[Step, ...]
    """The advised training first, then by worth per cost."""


def advise(transfer: Transfer, costs: Mapping[str, Floats], target: float, num_draws: int = NUM_DRAWS) -> Advice:
    """The trainings that could be next, the advised one first.

    The advised training has the highest worth per cost. Among the runs at the large scale, that of the pick precedes
    the others until its score is known, since it is needed in any case. Once the regret of the pick is at most
    `target`, its run is the only one that remains.

    Args:
        transfer: the posterior.
        costs: scale -> cost of one run of each design there, in one unit for all scales; other scales are not offered.
        target: expected regret at which to stop, in points.
        num_draws: number of draws of the large-scale scores for the expected regret.
    """
    candidates, mean_n = transfer.candidates, transfer.mean_n
    pick = int(np.argmax(mean_n))
    regret = expected_regret(transfer.draws(num_draws), [pick])
    large = _large(transfer, costs)
    most, name = max((step.per_cost for step in large), default=0.0), candidates.designs[pick]

    def rank(step: Step) -> tuple[bool, float, bool, float, str]:
        is_pick = step.kind == "design" and step.design == name
        return (
            not (is_pick and regret <= target),
            -(most if is_pick else step.per_cost),
            not is_pick,
            step.cost,
            step.design,
        )

    return Advice(
        pick=name,
        regret=regret,
        is_enough=bool(np.isfinite(candidates.known_n[pick])) and regret <= target,
        steps=tuple(sorted([*large, *_small(transfer, costs)], key=rank)),
    )


def gain(mean_n: Floats, sd_n: Floats) -> Floats:
    """Expected increase of the highest mean if only that of design i changes, by a normal of sd_n[i]; n values.

    sd f(-|distance| / sd) with f(z) = z Phi(z) + phi(z), and the distance to the best of the others.
    """
    from scipy.special import ndtr

    if len(mean_n) < 2:
        return np.zeros_like(mean_n)
    order = np.argsort(-mean_n, kind="stable")
    best_other_n = np.full_like(mean_n, mean_n[order[0]])
    best_other_n[order[0]] = mean_n[order[1]]
    is_uncertain = sd_n > 0
    z_n = np.divide(-np.abs(mean_n - best_other_n), sd_n, out=np.zeros_like(mean_n), where=is_uncertain)
    density_n = np.exp(-0.5 * z_n**2) / np.sqrt(2 * np.pi)
    return np.where(is_uncertain, np.maximum(sd_n * (z_n * ndtr(z_n) + density_n), 0.0), 0.0)


def joint_gain(mean_n: Floats, covariance_nn: Floats) -> Floats:
    """Expected increase of the highest mean by observing design i, which changes all means; n values.

    Means change by covariance[i, j] / sd[i] times one standard normal, over which their maximum is averaged.
    """
    sd_n = np.sqrt(np.maximum(np.diag(covariance_nn), 0.0))
    move_nn = np.divide(covariance_nn, sd_n[:, None], out=np.zeros_like(covariance_nn), where=sd_n[:, None] > 0)
    nodes = np.linspace(-_FARTHEST, _FARTHEST, _NODES)
    share = np.exp(-0.5 * nodes**2)
    share /= share.sum()
    highest_n = np.zeros_like(mean_n)
    step = max(1, 1_000_000 // move_nn.size)  # bounds memory: many nodes at once where designs are few
    for start in range(0, _NODES, step):
        z_Q = nodes[start : start + step]
        highest_n += share[start : start + step] @ (mean_n + z_Q[:, None, None] * move_nn).max(axis=2)
    return np.asarray(np.maximum(highest_n - mean_n.max(), 0.0))


def _large(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    """Runs of untrained designs at the large scale."""
    candidates = transfer.candidates
    if candidates.large not in costs:
        return []
    unknown = ~np.isfinite(candidates.known_n)
    worth_n = joint_gain(transfer.mean_n, transfer.covariance_nn() * np.outer(unknown, unknown))
    return [
        _step("design", candidates.designs[i], candidates.large, worth_n[i], costs[candidates.large][i])
        for i in np.flatnonzero(unknown)
    ]


def _small(transfer: Transfer, costs: Mapping[str, Floats]) -> list[Step]:
    """Runs at small scales: each changes the prediction of its design by the variance that its index explains more."""
    candidates, steps = transfer.candidates, list[Step]()
    for s, scale in enumerate(candidates.scales):
        if scale not in costs:
            continue
        explained_n = explained_with_run(transfer, s)
        change_n = np.sqrt(np.maximum(explained_n - transfer.basis.explained_n, 0.0))
        sd_n = np.where(np.isfinite(candidates.known_n), 0.0, np.abs(transfer.slope) * change_n)
        worth_n = gain(transfer.mean_n, sd_n)
        for i in np.flatnonzero(worth_n > 0):
            kind: Kind = "seed" if np.isfinite(candidates.score_nS[i, s]) else "scale"
            steps.append(_step(kind, candidates.designs[i], scale, worth_n[i], costs[scale][i]))
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
