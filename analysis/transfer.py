"""From small-scale scores to predictions at a large scale that no design, or few, were trained at.

The model, in standardised scores. A design's quality drifts as the LLM grows: between two sizes its correlation is
exp(-rate * |ln(size ratio)|), an Ornstein-Uhlenbeck process in ln(size). A run shows the quality with noise between seeds
on top. So all smaller scales together foretell a design by kriging (Rasmussen and Williams 2006, section 2.2): the
nearest scale weighs most, the others help as far as it is noisy, and a design that lacks one is foretold less surely.
What that foretelling is worth in points of the large scale is a Bayesian linear regression (conjugate, Gelman et al.
2013, section 14.8), y = level + slope * index + residual: the prior comes from published studies and counts as so many
designs, each score at the large scale counts as one more. The level is unknown before the first.

Legend: `n` designs; `S` small scales; `M` draws. Higher is better for all scores here: losses come in negated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import agreement
from analysis.noise import noise_between_seeds
from analysis.table import ScoreTable, TableError, published, scale_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.agreement import Floats

FEWEST = 3
NUM_DRAWS = 4000
_SEED = 20241216
_TINY = 1e-9
_PINNED = 1e6
"""Weight of the level where nothing tells it: as good as given."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is taken for known of transfer before the study's own large-scale scores."""

    rate: float
    """Fall of ln(correlation) for one unit of ln(size ratio)."""
    noise_share: float
    """Variance of one run's noise / variance of the designs' qualities, where no seeds tell it."""
    growth: float
    """Rise of ln(spread of scores) for one unit of ln(size)."""
    weight: float
    """Designs that it counts as beside the study's own at the large scale."""
    source: str


PRIOR_WEIGHT = 5.0
"""Assumed: a published study of other designs and data is worth five designs of one's own. `make coverage` shows that
chances are calibrated with it, and what happens where the transfer is worse than in the published study."""


@cache
def published_prior() -> Prior:
    """Rate, noise and growth fitted to the published tables: 21 designs at four sizes (Apollo, Tables 14 and 15)."""
    return fit_prior(published("apollo").select(), PRIOR_WEIGHT, "apollo (21 designs, 4 sizes)")


def vague_prior() -> Prior:
    """For studies that are part of the published prior themselves, which may not foretell their own answer.

    Assumed: R^2 of 0.63 over tenfold size, no growth of the spread; and it counts as three designs.
    """
    return Prior(rate=0.1, noise_share=0.05, growth=0.0, weight=3.0, source="assumed: R2 0.63 over tenfold size")


def fit_prior(table: ScoreTable, weight: float, source: str) -> Prior:
    """Least squares over all pairs of scales: -ln(correlation) against ln(size ratio), and ln(spread) against ln(size)."""
    means = {scale: table.per_design(scale)["mean"] for scale in table.scales}
    ratios, falls = [], []
    for small, large in combinations(table.scales, 2):
        shared = sorted(set(means[small].index) & set(means[large].index))
        r = math.sqrt(agreement.r2(means[small].loc[shared].to_numpy(), means[large].loc[shared].to_numpy()))
        ratios.append(math.log(scale_size(large) / scale_size(small)))
        falls.append(-math.log(r))
    rate, start = np.polyfit(ratios, falls, 1)
    sizes = [math.log(scale_size(scale)) for scale in table.scales]
    growth, _ = np.polyfit(sizes, [math.log(float(means[scale].std())) for scale in table.scales], 1)
    return Prior(
        rate=max(float(rate), 0.01),
        noise_share=max(math.expm1(float(start)), 0.01),  # two scales' noise: each takes half of the fall, squared
        growth=float(growth),
        weight=weight,
        source=source,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What is known of the designs that may be promoted."""

    designs: tuple[str, ...]
    scales: tuple[str, ...]
    """The small ones, by size."""
    log_size_S: Floats  # noqa: N815
    score_nS: Floats  # noqa: N815
    """Means over seeds, NaN where not run."""
    seeds_nS: Floats  # noqa: N815
    noise_S: Floats  # noqa: N815
    """Standard deviation of one run, NaN where no design has two seeds."""
    large: str
    log_size: float
    """Of the large scale."""
    known_n: Floats
    """Scores at the large scale, NaN where not trained there."""
    lower_is_better: bool

    def only(self, places: Sequence[int] | Floats) -> Candidates:
        """Some of the designs."""
        index = np.asarray(places, dtype=np.intp)
        return replace(
            self,
            designs=tuple(self.designs[i] for i in index),
            score_nS=self.score_nS[index],
            seeds_nS=self.seeds_nS[index],
            known_n=self.known_n[index],
        )

    def knowing(self, known_n: Floats) -> Candidates:
        """The same with other scores at the large scale."""
        return replace(self, known_n=known_n)


def candidates(table: ScoreTable, large: str, scales: Sequence[str] | None = None) -> Candidates:
    """The designs with a score at any of the small scales.

    Args:
        table: narrowed to one metric.
        large: label of the large scale, with scores or without.
        scales: the small ones to look at; all that are smaller where left out.

    Raises:
        TableError: no such small scale, none smaller, or fewer than three designs; or `large` is no size.
    """
    if not math.isfinite(scale_size(large)):
        raise TableError(f"{large!r} is no size such as 7B, so nothing can be said of what lies between it and others")
    smaller = [scale for scale in table.scales if scale_size(scale) < scale_size(large)]
    chosen = sorted(scales, key=scale_size) if scales else smaller
    if wrong := [scale for scale in chosen if scale not in smaller]:
        raise TableError(f"no scores at {wrong[0]} below {large}; smaller scales are: {', '.join(smaller) or 'none'}")
    if not chosen:
        raise TableError(f"no scores at a scale smaller than {large}; there are: {', '.join(table.scales)}")
    sign = -1.0 if table.lower_is_better else 1.0
    tables = {scale: table.per_design(scale) for scale in chosen}
    names = sorted({str(design) for frame in tables.values() for design in frame.index})
    if len(names) < FEWEST:
        raise TableError(f"{len(names)} designs at {', '.join(chosen)}; a promotion chooses among {FEWEST} or more")
    known = table.per_design(large)["mean"].reindex(names) if large in table.scales else None
    noises = [noise_between_seeds(table, scale).sd for scale in chosen]
    return Candidates(
        designs=tuple(names),
        scales=tuple(chosen),
        log_size_S=np.log([scale_size(scale) for scale in chosen]),
        score_nS=np.column_stack([sign * tables[s]["mean"].reindex(names).to_numpy(dtype=np.float64) for s in chosen]),
        seeds_nS=np.column_stack([tables[s]["seeds"].reindex(names).fillna(0).to_numpy(np.float64) for s in chosen]),
        noise_S=np.array([math.nan if noise is None else noise for noise in noises]),
        large=large,
        log_size=math.log(scale_size(large)),
        known_n=np.full(len(names), math.nan) if known is None else sign * known.to_numpy(dtype=np.float64),
        lower_is_better=table.lower_is_better,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """The posterior: what the large scale would show."""

    candidates: Candidates
    prior: Prior
    rate: float
    """Of the drift, the prior's and that between the study's own small scales."""
    index_n: Floats
    """The foretelling in standardised units: what all small scales together say of a design."""
    explained_n: Floats
    """Share of the variance at the large scale that it is expected to explain, by design."""
    level: float
    slope: float
    covariance: Floats
    """2 x 2, of level and slope, over the residual variance."""
    residual_sd: float
    """Of a design with the most complete small-scale scores, in points."""
    freedom: float
    relative_n: Floats
    """Residual variance of each design, over `residual_sd`^2."""
    num_known: int
    unit: float
    """Points of the large scale that one standardised unit is expected to be, before its own scores."""
    z_nS: Floats  # noqa: N815
    """Standardised scores at the small scales, NaN where missing."""
    share_nS: Floats  # noqa: N815
    """Variance of their noise over that of the qualities, for a single run."""

    @property
    def is_relative(self) -> bool:
        """Whether no design is known at the large scale: predictions are then differences to the designs' mean."""
        return self.num_known == 0

    @property
    def prior_share(self) -> float:
        """Share of what is known of the transfer that is prior: its weight among all designs it rests on."""
        return self.prior.weight / (self.prior.weight + max(0, self.num_known - 1))

    @property
    def mean_n(self) -> Floats:
        """Predicted scores; known ones as they are."""
        predicted = self.level + self.slope * self.index_n
        known = self.candidates.known_n
        return np.where(np.isfinite(known), known, predicted)

    @property
    def sd_n(self) -> Floats:
        """Standard deviation of the prediction of a run; 0 where known. With few degrees of freedom its tails are
        those of Student's t."""
        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        spread_n = ((x_n2 @ self.covariance) * x_n2).sum(axis=1) + self.relative_n
        heavy = self.freedom / (self.freedom - 2) if self.freedom > 2 else 3.0
        return np.where(np.isfinite(self.candidates.known_n), 0.0, self.residual_sd * np.sqrt(heavy * spread_n))

    def half_width_n(self) -> Floats:
        """Half-width of the 95 % prediction interval of a run; 0 where known."""
        from analysis.line import t_quantile

        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        spread_n = ((x_n2 @ self.covariance) * x_n2).sum(axis=1) + self.relative_n
        half_n = t_quantile(self.freedom) * self.residual_sd * np.sqrt(spread_n)
        return np.where(np.isfinite(self.candidates.known_n), 0.0, half_n)

    def draws(self, num: int = NUM_DRAWS, seed: int = _SEED) -> Floats:
        """y_Mn: scores at the large scale as they may turn out, jointly; known ones are the same in all draws.

        The small scale may tell nothing, but is not taken for reversed unless known scores say so: slopes stop at 0.
        """
        rng = np.random.default_rng(seed)
        n = len(self.index_n)
        sd_M = self.residual_sd * np.sqrt(self.freedom / rng.chisquare(self.freedom, num))
        root = np.linalg.cholesky(self.covariance + np.eye(2) * 1e-14)
        line_M2 = np.array([self.level, self.slope]) + sd_M[:, None] * (rng.standard_normal((num, 2)) @ root.T)
        if self.slope > 0:
            line_M2[:, 1] = np.maximum(line_M2[:, 1], 0.0)
        noise_Mn = rng.standard_normal((num, n)) * np.sqrt(self.relative_n)
        y_Mn = line_M2[:, :1] + line_M2[:, 1:] * self.index_n + sd_M[:, None] * noise_Mn
        known_n = self.candidates.known_n
        return np.asarray(np.where(np.isfinite(known_n), known_n, y_Mn))


def foretell(found: Candidates, prior: Prior) -> Transfer:
    """The posterior of all scores at the large scale.

    Raises:
        TableError: all designs score alike at the small scales.
    """
    z_nS, spread = _standardised(found, prior.growth)
    rate = _own_rate(found, prior)
    share_nS = _noise_shares(found, prior, spread)
    index_n, explained_n = krige(z_nS, share_nS / np.maximum(found.seeds_nS, 1.0), found, rate)
    large_share = float(share_nS[:, -1].min())
    unit = spread * math.exp(prior.growth * (found.log_size - found.log_size_S[_reference(found)]))
    unexplained_n = np.maximum(1 - explained_n, 0.01) + large_share
    relative_n = unexplained_n / unexplained_n.min()
    known = _regression(found, prior, index_n, relative_n, unit, float(unexplained_n.min()))
    return Transfer(
        candidates=found,
        prior=prior,
        rate=rate,
        index_n=index_n,
        explained_n=explained_n,
        relative_n=relative_n,
        unit=unit,
        z_nS=z_nS,
        share_nS=share_nS,
        **known,
    )


def explained_with_run(transfer: Transfer, scale: int) -> Floats:
    """Share of variance that would be explained after one more run of each design at a small scale, n values.

    Args:
        transfer: the posterior.
        scale: place among the small scales; a first run there, or a further seed.
    """
    found = transfer.candidates
    z_nS, seeds_nS = transfer.z_nS.copy(), found.seeds_nS.copy()
    z_nS[:, scale] = np.nan_to_num(z_nS[:, scale])
    seeds_nS[:, scale] += 1
    _, explained_n = krige(z_nS, transfer.share_nS / np.maximum(seeds_nS, 1.0), found, transfer.rate)
    return explained_n


def krige(z_nS: Floats, share_nS: Floats, found: Candidates, rate: float) -> tuple[Floats, Floats]:  # noqa: N803
    """Best linear prediction of the standardised quality at the large scale, and the share of variance it explains.

    Args:
        z_nS: standardised scores, NaN where missing.
        share_nS: variance of the noise of each (mean over seeds), over that of the qualities.
        found: the sizes of the scales.
        rate: of the drift.
    """
    apart_SS = np.exp(-rate * np.abs(found.log_size_S[:, None] - found.log_size_S))  # noqa: N806
    toward_S = np.exp(-rate * np.abs(found.log_size_S - found.log_size))  # noqa: N806
    index_n, explained_n = np.zeros(len(z_nS)), np.zeros(len(z_nS))
    for i, z_S in enumerate(z_nS):  # noqa: N806
        there = np.isfinite(z_S)
        k_S = toward_S[there]  # noqa: N806
        weights_S = np.linalg.solve(apart_SS[np.ix_(there, there)] + np.diag(share_nS[i, there]), k_S)  # noqa: N806
        index_n[i], explained_n[i] = weights_S @ z_S[there], weights_S @ k_S
    return index_n, explained_n


def _reference(found: Candidates) -> int:
    """The scale that most designs were run at, of several the largest: others are put in its units."""
    counts = np.isfinite(found.score_nS).sum(axis=0)
    return int(max(range(len(counts)), key=lambda s: (counts[s], found.log_size_S[s])))


def _standardised(found: Candidates, growth: float) -> tuple[Floats, float]:
    """Scores in units of the designs' spread of quality at the reference scale, and that spread in points.

    A scale that some designs were run at only, often the better ones, is put in place by what those designs have at
    the reference scale.
    """
    ref = _reference(found)
    reference_n = found.score_nS[:, ref]
    there = np.isfinite(reference_n)
    variance = float(reference_n[there].var(ddof=1)) if there.sum() > 1 else 0.0
    if variance <= 0:
        raise TableError(f"all designs score alike at {found.scales[ref]}: nothing to choose by")
    noise = found.noise_S[ref]
    if math.isfinite(noise):  # not below a tenth: noise that explains all leaves nothing to foretell with
        variance = max(0.1 * variance, variance - float(noise**2 / found.seeds_nS[there, ref].mean()))
    spread, centre = math.sqrt(variance), float(reference_n[there].mean())
    z_nS = np.full_like(found.score_nS, np.nan)
    z_nS[:, ref] = (reference_n - centre) / spread
    for s in range(len(found.scales)):
        both = there & np.isfinite(found.score_nS[:, s])
        if s == ref or not np.isfinite(found.score_nS[:, s]).any():
            continue
        base = z_nS[both, ref] if both.any() else np.zeros(1)
        here = found.score_nS[both, s] if both.any() else found.score_nS[np.isfinite(found.score_nS[:, s]), s]
        if both.sum() >= FEWEST and here.std() > _TINY:
            unit = here.std() / base.std() if base.std() > _TINY else here.std()
        else:
            unit = spread * math.exp(growth * (found.log_size_S[s] - found.log_size_S[ref]))
        z_nS[:, s] = base.mean() + (found.score_nS[:, s] - here.mean()) / unit
    return z_nS, spread


def _noise_shares(found: Candidates, prior: Prior, spread: float) -> Floats:
    """Variance of the noise of one run over that of the qualities."""
    ref = _reference(found)
    units_S = spread * np.exp(prior.growth * (found.log_size_S - found.log_size_S[ref]))
    single_S = np.where(np.isfinite(found.noise_S), (found.noise_S / units_S) ** 2, prior.noise_share)
    return np.broadcast_to(np.maximum(single_S, _TINY), found.score_nS.shape)


def _own_rate(found: Candidates, prior: Prior) -> float:
    """The prior's rate and the one between the study's own small scales, weighed by their designs."""
    fall = ratio = designs = 0.0
    for a, b in combinations(range(len(found.scales)), 2):
        both = np.isfinite(found.score_nS[:, [a, b]]).all(axis=1)
        if both.sum() < 5:
            continue
        r = agreement.once(agreement.weighted_pearson, found.score_nS[both, a], found.score_nS[both, b])
        if math.isfinite(r):
            fall -= math.log(max(r, 0.05)) - math.log(1 / (1 + prior.noise_share))
            ratio += abs(float(found.log_size_S[b] - found.log_size_S[a]))
            designs = max(designs, float(both.sum()))
    if not ratio:
        return prior.rate
    own = max(fall / ratio, 0.0)
    return max((prior.weight * prior.rate + designs * own) / (prior.weight + designs), 0.005)


def _regression(
    found: Candidates, prior: Prior, index_n: Floats, relative_n: Floats, unit: float, unexplained: float
) -> dict[str, Any]:
    """Normal-inverse-gamma regression of the known scores on the index; each counts by its own residual variance.

    The prior of the slope is that of `prior.weight` designs spread like the candidates; that of the level is flat.
    """
    known = np.isfinite(found.known_n)
    variance = max(float(index_n.var()), _TINY)
    precision = np.diag([0.0, prior.weight * variance])
    weighted = np.array([0.0, prior.weight * variance * unit])
    x, y, w = np.column_stack([np.ones(known.sum()), index_n[known]]), found.known_n[known], 1 / relative_n[known]
    if not known.any():  # no level: differences to the mean of the designs
        x, y, w = np.array([[1.0, float(index_n.mean())]]), np.zeros(1), np.array([_PINNED])
    total = precision + (x * w[:, None]).T @ x
    mean = np.linalg.solve(total, weighted + (x * w[:, None]).T @ y)
    rest = y - x @ mean
    squares = prior.weight * unit**2 * unexplained + float((w * rest**2).sum())
    squares += prior.weight * variance * float((mean[1] - unit) ** 2)
    freedom = prior.weight + max(0, int(known.sum()) - 1)
    return {
        "level": float(mean[0]),
        "slope": float(mean[1]),
        "covariance": np.linalg.inv(total),
        "residual_sd": math.sqrt(max(squares, _TINY) / freedom),
        "freedom": freedom,
        "num_known": int(known.sum()),
    }
