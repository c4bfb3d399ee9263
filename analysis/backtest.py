"""What a policy would have cost and lost, replayed on a study whose large-scale scores are known.

A policy sees the small scales and those large-scale scores that it has paid for. So that one lucky winner does not
decide, the study is replayed many times on random subsets of its designs.

Costs are shares of training every design at the large scale: at `size / large size` for one design at a smaller scale,
as FLOPs of equal samples are proportional to parameters (Kaplan et al. 2020), unless the caller knows better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.selection import Policy, choose
from analysis.sequential import advise
from analysis.table import TableError
from analysis.transfer import Candidates, Prior, Transfer, foretell

if TYPE_CHECKING:
    from analysis.agreement import Floats

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


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """A policy as it is replayed: which designs of a sub-study are trained at the large scale."""

    name: str
    chosen: Callable[[Transfer, np.random.Generator], Sequence[int]]
    """Posterior before any large-scale score -> places of the designs that get trained."""
    needs_known: bool = False
    """Whether it looks at scores it has paid for: then it gets the true ones in `candidates.known_n`."""


def policies(n: int, regrets: Sequence[float], confidences: Sequence[float]) -> list[Chooser]:
    """The usual ones for n designs: top-k for each k, by regret, by confidence, one at a time, and at random."""
    top = [Chooser(name=f"top-{k}", chosen=_by(Policy(rule="top-k", value=k))) for k in range(1, n + 1)]
    by_regret = [Chooser(name=f"regret {r:g}", chosen=_by(Policy(rule="regret", value=r))) for r in regrets]
    by_chance = [Chooser(name=f"confidence {c:g}", chosen=_by(Policy(rule="confidence", value=c))) for c in confidences]
    steps = [Chooser(name=f"next, regret {r:g}", chosen=_one_at_a_time(r), needs_known=True) for r in regrets]
    random = [Chooser(name=f"random-{k}", chosen=_at_random(k)) for k in range(1, n + 1)]
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
    posteriors = [_blind(study_found, prior) for study_found in studies]
    small = float(np.exp(found.log_size_S - found.log_size).sum())
    rows = tuple(_replayed(chooser, studies, posteriors, small) for chooser in choosers if _fits(chooser.name, size))
    return Backtest(study=study, large=found.large, designs=len(there), subsets=subsets, prior=prior.source, rows=rows)


def _fits(name: str, size: int) -> bool:
    """Whether a sub-study has as many designs as a policy takes."""
    kind, _, number = name.partition("-")
    return kind not in ("top", "random") or int(number) <= size


def _blind(found: Candidates, prior: Prior) -> Transfer | None:
    """The posterior that knows no large-scale score; None where the small scale tells nothing."""
    try:
        return foretell(found.knowing(np.full(len(found.designs), math.nan)), prior)
    except TableError:
        return None


def _replayed(
    chooser: Chooser, studies: list[Candidates], posteriors: list[Transfer | None], small_cost: float
) -> Replayed:
    outcomes = []
    for number, (found, posterior) in enumerate(zip(studies, posteriors, strict=True)):
        rng = np.random.default_rng([_SEED, number])
        seen = posterior and (replace(posterior, candidates=found) if chooser.needs_known else posterior)
        chosen = list(chooser.chosen(seen, rng)) if seen else list(range(len(found.designs)))
        y_n = found.known_n
        lost = float(y_n.max() - y_n[chosen].max())
        outcomes.append((len(chosen), len(chosen) / len(y_n), lost, lost == 0))
    whole, rest = outcomes[0], np.array(outcomes[1:] or outcomes, dtype=np.float64)
    return Replayed(
        proxy="+".join(studies[0].scales),
        policy=chooser.name,
        promoted=float(rest[:, 0].mean()),
        cost=float(rest[:, 1].mean()),
        small_cost=small_cost,
        regret=float(rest[:, 2].mean()),
        regret_95=float(np.quantile(rest[:, 2], 0.95)),
        winner_in=float(rest[:, 3].mean()),
        whole=(int(whole[0]), float(f"{whole[2]:.12g}"), bool(whole[3])),
    )


def _by(policy: Policy) -> Callable[[Transfer, np.random.Generator], Sequence[int]]:
    def chosen(transfer: Transfer, _: np.random.Generator) -> Sequence[int]:
        if policy.rule == "top-k":  # needs no draws
            return np.argsort(-transfer.mean_n, kind="stable")[: int(policy.value)].tolist()
        return choose(transfer.draws(DRAWS), [], np.ones(len(transfer.index_n)), policy)

    return chosen


def _at_random(k: int) -> Callable[[Transfer, np.random.Generator], Sequence[int]]:
    def chosen(transfer: Transfer, rng: np.random.Generator) -> Sequence[int]:
        return rng.permutation(len(transfer.index_n))[:k].tolist()

    return chosen


def _one_at_a_time(wanted: float) -> Callable[[Transfer, np.random.Generator], Sequence[int]]:
    """Train what is worth most, look at its score, and stop when the pick's expected regret is below `wanted`."""

    def chosen(transfer: Transfer, _: np.random.Generator) -> Sequence[int]:
        true_n = transfer.candidates.known_n
        known_n = np.full(len(true_n), math.nan)
        costs: Floats = np.ones(len(true_n))
        taken: list[int] = []
        while len(taken) < len(true_n):
            posterior = foretell(transfer.candidates.knowing(known_n), transfer.prior)
            advice = advise(posterior, {transfer.candidates.large: costs}, wanted)
            if advice.is_enough:
                break
            # While the pick itself is not trained, its score is the first to want; then what else is worth most.
            pick = posterior.candidates.designs.index(advice.pick)
            place = pick if pick not in taken else posterior.candidates.designs.index(advice.steps[0].design)
            taken.append(place)
            known_n = known_n.copy()
            known_n[place] = true_n[place]
        return taken

    return chosen
