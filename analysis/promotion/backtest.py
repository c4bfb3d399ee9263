"""Cost and regret of promotion policies, replayed on a study whose large-scale scores are known.

A policy sees the scores at the small scales and, at the large scale, of the designs that it has trained. The study is
replayed many times on random subsets of its designs, so that results do not depend on a single best design.

Costs are shares of the cost of training every design at the large scale. One design at a smaller scale costs
`size / large size`, as FLOPs for equal samples are proportional to parameters (Kaplan et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.promotion.selection import Policy, choose
from analysis.promotion.sequential import advise
from analysis.promotion.transfer import predict
from analysis.tables import TableError

if TYPE_CHECKING:
    from analysis.numbers import Floats
    from analysis.promotion.candidate_designs import Candidates
    from analysis.promotion.prior import Prior
    from analysis.promotion.transfer import Transfer

NUM_STUDIES = 200
SUBSET_SHARE = 2 / 3
"""Share of the designs in a subset; drawn without replacement, since a design cannot compete with itself."""
MIN_DESIGNS = 6
"""Minimum number of designs with scores at both scales."""
DRAWS = 1000
"""Number of draws of the large-scale scores in each replay."""
_SEED = 20241217


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Results of one policy on one proxy, over all subsets and on the whole study."""

    proxy: str
    """The small scales that it used, `0.5B+1.5B` for two."""
    policy: str
    promoted: float
    """Number of designs trained at the large scale, mean over subsets."""
    cost: float
    """Cost at the large scale as a share of training all designs there, mean over subsets."""
    small_cost: float
    """Cost of the trainings at the small scales, in the same unit; not part of `cost`."""
    regret: float
    """Score of the best of all designs less that of the best promoted one, in points, mean over subsets."""
    regret_95: float
    """95th percentile of regret over subsets, in points."""
    winner_in: float
    """Share of subsets whose best design was promoted."""
    whole: tuple[int, float, bool]
    """On the whole study: number promoted, regret in points, whether the best design was promoted."""


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Results of all policies on one proxy."""

    study: str
    large: str
    designs: int
    subsets: int
    prior: str
    rows: tuple[Replayed, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """A study, or a subset of it, as policies see it. What several policies need is computed once."""

    blind: Transfer
    """The posterior before any large-scale score."""
    true_n: Floats
    """Scores at the large scale, which policies do not see."""
    number: int
    """Index of the subset; 0 for the whole study."""
    _paths: dict[float, list[tuple[int, float]]] = field(default_factory=dict)

    @cached_property
    def draws(self) -> Floats:
        """Draws of the scores at the large scale, y_Mn."""
        return self.blind.draws(DRAWS)

    def path(self, target: float) -> list[tuple[int, float]]:
        """Designs in the order of training one at a time until an expected regret of `target`.

        Each comes with the expected regret of stopping before it, infinite while the pick itself is untrained. The
        path to a higher target is the start of this path.
        """
        if target not in self._paths:
            self._paths[target] = list(self._walk(target))
        return self._paths[target]

    def _walk(self, target: float) -> Iterator[tuple[int, float]]:
        known_n, names = np.full(len(self.true_n), math.nan), self.blind.candidates.designs
        while True:
            posterior = self.blind.conditioned_on(known_n.copy())
            advice = advise(posterior, {posterior.candidates.large: np.ones(len(names))}, target, DRAWS)
            if advice.is_enough or not advice.steps:
                return
            index = names.index(advice.steps[0].design)
            yield index, advice.regret if np.isfinite(known_n[names.index(advice.pick)]) else math.inf
            known_n[index] = self.true_n[index]


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """A policy that can be replayed: it chooses the designs of a study that are trained at the large scale."""

    name: str
    choose: Callable[[Replay], Sequence[int]]
    """Replay -> indices of the designs to train. Only sequential policies see scores, of designs trained before."""
    min_designs: int = 1
    """Minimum number of designs in a study."""


def policies(n: int, regrets: Sequence[float], confidences: Sequence[float]) -> list[Chooser]:
    """The policies for n designs: top-k for each k, by regret, by confidence, sequential, and k at random.

    Args:
        n: number of designs.
        regrets: targets of expected regret, in points.
        confidences: probabilities to contain the best design.
    """
    top = [Chooser(name=f"top-{k}", choose=_by(Policy(rule="top-k", value=k)), min_designs=k) for k in range(1, n + 1)]
    by_regret = [Chooser(name=f"regret {r:g}", choose=_by(Policy(rule="regret", value=r))) for r in regrets]
    by_confidence = [
        Chooser(name=f"confidence {c:g}", choose=_by(Policy(rule="confidence", value=c))) for c in confidences
    ]
    lowest = min(regrets, default=0.0)
    steps = [Chooser(name=f"next, regret {r:g}", choose=_one_at_a_time(r, lowest)) for r in regrets]
    random = [Chooser(name=f"random-{k}", choose=_at_random(k), min_designs=k) for k in range(1, n + 1)]
    return [*top, *by_regret, *by_confidence, *steps, *random]


def replay(
    candidates: Candidates, prior: Prior, choosers: Iterable[Chooser], *, study: str, subsets: int = NUM_STUDIES
) -> Backtest:
    """Replay policies on one proxy (the small scales of `candidates`).

    Args:
        candidates: of the whole study, with their scores at the large scale.
        prior: for studies without scores at the large scale.
        choosers: the policies; those that need more designs than a subset has are skipped.
        study: its name.
        subsets: number of random subsets.

    Raises:
        TableError: fewer than six designs have scores at the large scale.
    """
    scored = np.flatnonzero(np.isfinite(candidates.known_n) & np.isfinite(candidates.score_nS).any(axis=1))
    num, large = len(scored), candidates.large
    if num < MIN_DESIGNS:
        raise TableError(f"{num} designs have scores at {large} and below; a backtest needs {MIN_DESIGNS} or more")
    whole = candidates.subset(scored)
    rng = np.random.default_rng(_SEED)
    size = max(MIN_DESIGNS - 1, round(SUBSET_SHARE * num))
    studies = [whole, *(whole.subset(np.sort(rng.permutation(num)[:size])) for _ in range(subsets))]
    replays = [_blind(one, prior, number) for number, one in enumerate(studies)]
    small = float(np.exp(candidates.log_size_S - candidates.log_size).sum())
    proxy = "+".join(candidates.scales)
    rows = tuple(_replayed(chooser, proxy, replays, small) for chooser in choosers if chooser.min_designs <= size)
    return Backtest(study=study, large=large, designs=num, subsets=subsets, prior=prior.source, rows=rows)


def _blind(candidates: Candidates, prior: Prior, number: int) -> Replay | Candidates:
    """What policies see; the bare candidates where the small scale cannot rank designs: then all are trained."""
    try:
        blind = predict(candidates.with_scores(np.full(len(candidates.designs), math.nan)), prior)
    except TableError:
        return candidates
    return Replay(blind=blind, true_n=candidates.known_n, number=number)


def _replayed(chooser: Chooser, proxy: str, replays: Sequence[Replay | Candidates], small_cost: float) -> Replayed:
    outcomes = []
    for one in replays:
        y_n = one.true_n if isinstance(one, Replay) else one.known_n
        chosen = list(chooser.choose(one)) if isinstance(one, Replay) else list(range(len(y_n)))
        lost = float(y_n.max() - y_n[chosen].max())
        outcomes.append((len(chosen), len(chosen) / len(y_n), lost, lost == 0))
    whole, rest = outcomes[0], np.array(outcomes[1:] or outcomes, dtype=np.float64)
    return Replayed(
        proxy=proxy,
        policy=chooser.name,
        promoted=float(rest[:, 0].mean()),
        cost=float(rest[:, 1].mean()),
        small_cost=small_cost,
        regret=float(rest[:, 2].mean()),
        regret_95=float(np.quantile(rest[:, 2], 0.95)),
        winner_in=float(rest[:, 3].mean()),
        whole=(int(whole[0]), float(f"{whole[2]:.12g}"), bool(whole[3])),
    )


def _by(policy: Policy) -> Callable[[Replay], Sequence[int]]:
    def choice(replay: Replay) -> Sequence[int]:
        mean_n = replay.blind.mean_n
        if policy.rule == "top-k":  # needs no draws
            return [int(i) for i in np.argsort(-mean_n, kind="stable")[: int(policy.value)]]
        return choose(replay.draws, [], np.ones(len(mean_n)), policy)

    return choice


def _at_random(k: int) -> Callable[[Replay], Sequence[int]]:
    def choice(replay: Replay) -> Sequence[int]:
        order = np.random.default_rng([_SEED, replay.number]).permutation(len(replay.true_n))
        return [int(i) for i in order[:k]]

    return choice


def _one_at_a_time(target: float, lowest: float) -> Callable[[Replay], Sequence[int]]:
    """Train the design with the highest worth, observe its score, and stop at an expected regret of `target`.

    All such policies of a replay share one path, the one to the `lowest` of their targets.
    """

    def choice(replay: Replay) -> Sequence[int]:
        path = replay.path(lowest)
        stop = next((i for i, (_, regret) in enumerate(path) if regret <= target), len(path))
        return [design for design, _ in path[:stop]]

    return choice
