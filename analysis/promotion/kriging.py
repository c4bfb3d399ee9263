"""One index of quality for each design, from its scores at all small scales, in standardised units.

A design's quality at each scale has variance 1; a run observes it with noise, whose variance over that of the qualities
is the scale's `share`. Between two sizes, qualities are correlated by exp(-rate * |ln(size ratio)|).

Legend: `n` designs; `S` small scales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analysis.numbers import agreement
from analysis.tables import TableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.numbers import Floats
    from analysis.promotion.candidate_designs import Candidates
    from analysis.promotion.prior import Prior

MIN_FOR_UNIT, MIN_FOR_RATE = 3, 5
"""Numbers of designs at two scales from which one scale is put in the units of the other, and from which the
correlation between them is used."""
_MIN_SHARE, _MIN_RATE = 1e-6, 0.005


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardised:
    """Scores at the small scales in units of the standard deviation of qualities."""

    z_nS: Floats
    """Standardised scores, NaN where a design was not trained."""
    share_S: Floats
    """Variance of one run's noise over that of the qualities."""
    rate: float
    """Rate at which correlation decays with size: the prior's, averaged with that between the study's small scales."""
    reference: int
    """Index of the scale whose designs define mean 0 and variance 1."""
    sd: float
    """Standard deviation of the qualities there, in points."""


def standardise(candidates: Candidates, prior: Prior) -> Standardised:
    """Put the scores at all small scales in one unit.

    At a scale where only some designs were trained, often the better ones, the mean is set by those designs' scores at
    the reference scale: as far as they lie above the mean there, they are expected to lie above it here, reduced by the
    correlation of the scales (regression to the mean). Where no design was trained at both scales, the designs of both
    are assumed to be equally good on average.

    Raises:
        TableError: all designs have equal scores at the reference scale.
    """
    ref = _reference(candidates)
    at_ref = np.isfinite(candidates.score_nS[:, ref])
    sd = _quality_sd(candidates, prior, ref)
    units_S = sd * np.exp(prior.growth * (candidates.log_size_S - candidates.log_size_S[ref]))
    rate = _pooled_rate(candidates, prior, ref, _shares(candidates, prior, units_S))
    share_ref = float(_shares(candidates, prior, units_S)[ref])
    z_nS = np.full_like(candidates.score_nS, np.nan)
    z_nS[:, ref] = (candidates.score_nS[:, ref] - candidates.score_nS[at_ref, ref].mean()) / sd
    for s in range(len(candidates.scales)):
        here = np.isfinite(candidates.score_nS[:, s])
        both = here & at_ref
        if s == ref or not here.any():
            continue
        centred = both if both.any() else here
        correlation = math.exp(-rate * abs(float(candidates.log_size_S[s] - candidates.log_size_S[ref])))
        if both.any():
            correlation /= 1 + share_ref * float((1 / candidates.seeds_nS[both, ref]).mean())
        if both.sum() >= MIN_FOR_UNIT and np.ptp(candidates.score_nS[both, s]) > 0:
            units_S[s] = _unit(candidates, prior, s, z_nS[:, ref], correlation)
        mean = correlation * float(z_nS[both, ref].mean()) if both.any() else 0.0
        z_nS[:, s] = mean + (candidates.score_nS[:, s] - candidates.score_nS[centred, s].mean()) / units_S[s]
    return Standardised(z_nS=z_nS, share_S=_shares(candidates, prior, units_S), rate=rate, reference=ref, sd=sd)


def _reference(candidates: Candidates) -> int:
    """Index of the scale with the most designs, the largest of several: others are put in its units."""
    counts = np.isfinite(candidates.score_nS).sum(axis=0)
    return int(max(range(len(counts)), key=lambda s: (counts[s], candidates.log_size_S[s])))


def _quality_sd(candidates: Candidates, prior: Prior, ref: int) -> float:
    """Standard deviation of the qualities at the reference scale, in points: that of the scores less noise."""
    at_ref = np.isfinite(candidates.score_nS[:, ref])
    scores = candidates.score_nS[at_ref, ref]
    variance = float(scores.var(ddof=1)) if at_ref.sum() > 1 else 0.0
    if variance <= 1e-24 * float(np.abs(scores).max(initial=0.0)) ** 2:
        raise TableError(f"all designs have equal scores at {candidates.scales[ref]}, so they cannot be ranked")
    return math.sqrt(_less_noise(variance, 1.0, candidates, prior, ref, at_ref))


def _less_noise(
    variance: float, expected: float, candidates: Candidates, prior: Prior, s: int, used_n: NDArray[np.bool_]
) -> float:
    """Squared points of one unit, where scores have this variance and qualities are expected to have `expected` units.

    Not below a tenth of the variance: noise that explains all of it would leave nothing to predict with.
    """
    per_seed = float((1 / candidates.seeds_nS[used_n, s]).mean())
    noise = float(candidates.noise_S[s])
    if math.isfinite(noise):
        return max(0.1 * variance, variance - noise**2 * per_seed) / expected
    return variance / (expected + prior.noise_share * per_seed)


def _unit(candidates: Candidates, prior: Prior, s: int, z_n: Floats, correlation: float) -> float:
    """Points of one unit at another scale, from the designs that were trained there and at the reference scale (z_n).

    These may be a selection. Then their qualities at this scale are expected to have variance
    1 - correlation^2 (variance of z over all designs - variance of z over the selected ones).
    """
    both = np.isfinite(z_n) & np.isfinite(candidates.score_nS[:, s])
    lost = float(np.nanvar(z_n, ddof=1)) - float(z_n[both].var(ddof=1))
    expected = max(0.1, 1 - correlation**2 * lost)
    variance = float(candidates.score_nS[both, s].var(ddof=1))
    return math.sqrt(_less_noise(variance, expected, candidates, prior, s, both))


def _shares(candidates: Candidates, prior: Prior, units_S: Floats) -> Floats:
    """Variance of the noise of one run over that of the qualities, by scale."""
    measured_S = (candidates.noise_S / units_S) ** 2
    return np.maximum(np.where(np.isfinite(measured_S), measured_S, prior.noise_share), _MIN_SHARE)


def _pooled_rate(candidates: Candidates, prior: Prior, ref: int, share_S: Floats) -> float:
    """The prior's rate and the one between the study's own small scales, weighted by their numbers of designs."""
    fall = ratio = designs = 0.0
    for a, b in combinations(range(len(candidates.scales)), 2):
        both = np.isfinite(candidates.score_nS[:, a]) & np.isfinite(candidates.score_nS[:, b])
        if both.sum() < MIN_FOR_RATE:
            continue
        r = agreement.once(agreement.weighted_pearson, candidates.score_nS[both, a], candidates.score_nS[both, b])
        if math.isfinite(r):
            if ref in (a, b):
                r = _unrestricted(r, candidates.score_nS[:, ref], both)
            noise = [1 + share_S[s] * float((1 / candidates.seeds_nS[both, s]).mean()) for s in (a, b)]
            fall -= math.log(max(r, 0.05)) + math.log(noise[0] * noise[1]) / 2
            ratio += abs(float(candidates.log_size_S[b] - candidates.log_size_S[a]))
            designs = max(designs, float(both.sum()))
    if ratio <= 0:
        return prior.rate
    own = max(fall / ratio, 0.0)
    return max((prior.weight * prior.rate + designs * own) / (prior.weight + designs), _MIN_RATE)


def _unrestricted(r: float, score_n: Floats, selected_n: NDArray[np.bool_]) -> float:
    """The correlation over all designs, from that over some selected by this score (Thorndike 1949, case 2)."""
    wider = float(np.nanstd(score_n, ddof=1)) / max(float(score_n[selected_n].std(ddof=1)), 1e-12)
    return r * wider / math.sqrt(1 - r * r + r * r * wider * wider)


def krige(z_nS: Floats, share_nS: Floats, candidates: Candidates, rate: float) -> tuple[Floats, Floats]:
    """Best linear prediction of the standardised quality at the large scale, and the share of variance it explains.

    Args:
        z_nS: standardised scores, NaN where missing.
        share_nS: variance of the noise of each score (mean over seeds), over that of the qualities.
        candidates: for the sizes of the scales.
        rate: rate at which correlation decays with size.

    Returns:
        Two arrays of n values.
    """
    between_SS = np.exp(-rate * np.abs(candidates.log_size_S[:, None] - candidates.log_size_S))
    to_large_S = np.exp(-rate * np.abs(candidates.log_size_S - candidates.log_size))
    index_n, explained_n = np.zeros(len(z_nS)), np.zeros(len(z_nS))
    noise_nS = np.where(np.isfinite(z_nS), share_nS, np.inf)
    patterns, pattern_n = np.unique(noise_nS, axis=0, return_inverse=True)
    for pattern, noise_S in enumerate(patterns):
        scored, rows = np.isfinite(noise_S), pattern_n.ravel() == pattern
        k_S = to_large_S[scored]
        weights_S = np.linalg.solve(between_SS[np.ix_(scored, scored)] + np.diag(noise_S[scored]), k_S)
        index_n[rows] = z_nS[np.ix_(rows, scored)] @ weights_S
        explained_n[rows] = weights_S @ k_S
    return index_n, explained_n
