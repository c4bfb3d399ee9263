"""What a policy would have cost and lost, replayed on a study whose large-scale scores are known.

A policy sees the small scales and those large-scale scores that it has paid for. So that one lucky winner does not
decide, the study is replayed many times on random subsets of its designs.

Costs are shares of training every design at the large scale: at `size / large size` for one design at a smaller scale,
as FLOPs of equal samples are proportional to parameters (Kaplan et al. 2020), unless the caller knows better.
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
SHARE = 2 / 3
"""Of the designs, in a subset drawn without replacement: copies of a design would be no other design."""
FEWEST = 6
"""Designs with scores at both scales below which nothing is replayed."""
DRAWS = 1000
_SEED = 20241217


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A policy on one proxy, over all subsets and on the whole study."""

    proxy: str
    """The small scales that it saw, `0.5B+1.5B` for two."""
    policy: str
    promoted: float
    """Designs trained at the large scale, mean over subsets."""
    cost: float
    """Their share of training all of them, mean."""
    small_cost: float
    """Share of the trainings at the small scales, in the same unit: paid before."""
    regret: float
    """Points: the best of all less the best promoted, mean."""
    regret_95: float
    """Points that it stays below in 95 subsets of 100."""
    winner_in: float
    """Share of subsets whose winner was promoted."""
    whole: tuple[int, float, bool]
    """On the whole study: number promoted, regret, whether the winner was in."""


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Every policy on every proxy."""

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
    """A study, or a subset of it, as policies see it. What several of them ask for is worked out once."""

    blind: Transfer
    """The posterior before any large-scale score."""
    true_n: Floats
    number: int
    """0 for the whole study."""
    _paths: dict[float, list[tuple[int, float]]] = field(default_factory=dict)

    @cached_property
    def draws(self) -> Floats:
        """What the large scale may show."""
        return self.blind.draws(DRAWS)

    def path(self, wanted: float) -> list[tuple[int, float]]:
        """One at a time until a regret of `wanted`: the designs that are trained, with the regret of stopping before.

        Infinite where one may not stop, as the pick is untrained. The path to a higher regret is its start.
        """
        if wanted not in self._paths:
            self._paths[wanted] = list(self._walk(wanted))
        return self._paths[wanted]

    def _walk(self, wanted: float) -> Iterator[tuple[int, float]]:
        known_n, names = np.full(len(self.true_n), math.nan), self.blind.candidates.designs
        while True:
            posterior = self.blind.knowing(known_n.copy())
            advice = advise(posterior, {posterior.candidates.large: np.ones(len(names))}, wanted, DRAWS)
            if advice.is_enough or not advice.steps:
                return
            place = names.index(advice.steps[0].design)
            yield place, advice.regret if np.isfinite(known_n[names.index(advice.pick)]) else math.inf
            known_n[place] = self.true_n[place]


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """A policy as it is replayed: which designs of a study are trained at the large scale."""

    name: str
    chosen: Callable[[Replay], Sequence[int]]
    """Places of the designs that get trained. Only one-at-a-time policies may look at scores, of designs they took."""
    fewest: int = 1
    """Designs that it needs."""


def policies(n: int, regrets: Sequence[float], confidences: Sequence[float]) -> list[Chooser]:
    """The usual ones for n designs: top-k for each k, by regret, by confidence, one at a time, and at random."""
    top = [Chooser(name=f"top-{k}", chosen=_by(Policy(rule="top-k", value=k)), fewest=k) for k in range(1, n + 1)]
    by_regret = [Chooser(name=f"regret {r:g}", chosen=_by(Policy(rule="regret", value=r))) for r in regrets]
    by_chance = [Chooser(name=f"confidence {c:g}", chosen=_by(Policy(rule="confidence", value=c))) for c in confidences]
    lowest = min(regrets, default=0.0)
    steps = [Chooser(name=f"next, regret {r:g}", chosen=_one_at_a_time(r, lowest)) for r in regrets]
    random = [Chooser(name=f"random-{k}", chosen=_at_random(k), fewest=k) for k in range(1, n + 1)]
    return [*top, *by_regret, *by_chance, *steps, *random]


def replay(
    found: Candidates, prior: Prior, choosers: Iterable[Chooser], *, study: str, subsets: int = NUM_STUDIES
) -> Backtest:
    """Replay policies on one proxy (the small scales of `found`).

    Raises:
        TableError: fewer than six designs have scores at the large scale.
    """
    there = np.flatnonzero(np.isfinite(found.known_n) & np.isfinite(found.score_nS).any(axis=1))
    if len(there) < FEWEST:
        raise TableError(
            f"{len(there)} designs have scores at {found.large} and below; a backtest needs {FEWEST} or more"
        )
    whole = found.only(there)
    rng = np.random.default_rng(_SEED)
    size = max(FEWEST - 1, round(SHARE * len(there)))
    studies = [whole, *(whole.only(np.sort(rng.permutation(len(there))[:size])) for _ in range(subsets))]
    replays = [_blind(one, prior, number) for number, one in enumerate(studies)]
    small = float(np.exp(found.log_size_S - found.log_size).sum())
    proxy = "+".join(found.scales)
    rows = tuple(_replayed(chooser, proxy, replays, small) for chooser in choosers if chooser.fewest <= size)
    return Backtest(study=study, large=found.large, designs=len(there), subsets=subsets, prior=prior.source, rows=rows)


def _blind(found: Candidates, prior: Prior, number: int) -> Replay | Candidates:
    """What policies see; the bare candidates where the small scale tells nothing: then all are trained."""
    try:
        blind = predict(found.knowing(np.full(len(found.designs), math.nan)), prior)
    except TableError:
        return found
    return Replay(blind=blind, true_n=found.known_n, number=number)


def _replayed(chooser: Chooser, proxy: str, replays: Sequence[Replay | Candidates], small_cost: float) -> Replayed:
    outcomes = []
    for one in replays:
        y_n = one.true_n if isinstance(one, Replay) else one.known_n
        chosen = list(chooser.chosen(one)) if isinstance(one, Replay) else list(range(len(y_n)))
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
    def chosen(replay: Replay) -> Sequence[int]:
        mean_n = replay.blind.mean_n
        if policy.rule == "top-k":  # needs no draws
            return [int(i) for i in np.argsort(-mean_n, kind="stable")[: int(policy.value)]]
        return choose(replay.draws, [], np.ones(len(mean_n)), policy)

    return chosen


def _at_random(k: int) -> Callable[[Replay], Sequence[int]]:
    def chosen(replay: Replay) -> Sequence[int]:
        order = np.random.default_rng([_SEED, replay.number]).permutation(len(replay.true_n))
        return [int(i) for i in order[:k]]

    return chosen


def _one_at_a_time(wanted: float, lowest: float) -> Callable[[Replay], Sequence[int]]:
    """Train what is worth most, look at its score, and stop when the pick's expected regret is at most `wanted`.

    All such policies of a replay share one path, that to the lowest regret.
    """

    def chosen(replay: Replay) -> Sequence[int]:
        path = replay.path(lowest)
        stop = next((place for place, (_, regret) in enumerate(path) if regret <= wanted), len(path))
        return [design for design, _ in path[:stop]]

    return chosen
