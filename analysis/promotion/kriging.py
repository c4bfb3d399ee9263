"""What the small scales together say of each design, in units in which designs of any scale can be compared.

A design's quality at each scale has variance 1; a run shows it with noise, whose variance over that of the qualities is
the scale's `share`. Between two sizes qualities are correlated by exp(-rate * |ln(size ratio)|).

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

FEWEST_FOR_UNIT, FEWEST_FOR_RATE = 3, 5
"""Designs at two scales from which one is put in the units of the other, and from which their correlation is heeded."""
_SMALLEST_SHARE, _SLOWEST = 1e-6, 0.005


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardised:
    """Scores of the small scales in units of the spread of qualities."""

    z_nS: Floats
    """NaN where not run."""
    share_S: Floats
    """Variance of one run's noise over that of the qualities."""
    rate: float
    """Of the drift, the prior's and that between the study's own small scales."""
    reference: int
    """The scale whose designs define mean 0 and variance 1."""
    spread: float
    """Standard deviation of the qualities there, in points."""


def standardised(found: Candidates, prior: Prior) -> Standardised:
    """Put all small scales in one unit.

    A scale that only some designs were run at, often the better ones, is put in place by what those designs have at the
    reference scale: as far as they lie above the mean there, they are expected to lie above it here, less what the
    correlation of the scales takes (regression to the mean). Where no design was run at both, the designs of both are
    taken to be equally good on average.

    Raises:
        TableError: all designs score alike at the reference scale.
    """
    ref = _reference(found)
    there = np.isfinite(found.score_nS[:, ref])
    spread = _spread(found, prior, ref)
    units_S = spread * np.exp(prior.growth * (found.log_size_S - found.log_size_S[ref]))
    rate = _own_rate(found, prior, ref, _shares(found, prior, units_S))
    share_ref = float(_shares(found, prior, units_S)[ref])
    z_nS = np.full_like(found.score_nS, np.nan)
    z_nS[:, ref] = (found.score_nS[:, ref] - found.score_nS[there, ref].mean()) / spread
    for s in range(len(found.scales)):
        here = np.isfinite(found.score_nS[:, s])
        both = here & there
        if s == ref or not here.any():
            continue
        seen = both if both.any() else here
        kept = math.exp(-rate * abs(float(found.log_size_S[s] - found.log_size_S[ref])))
        if both.any():
            kept /= 1 + share_ref * float((1 / found.seeds_nS[both, ref]).mean())
        if both.sum() >= FEWEST_FOR_UNIT and np.ptp(found.score_nS[both, s]) > 0:
            units_S[s] = _unit(found, prior, s, z_nS[:, ref], kept)
        mean = kept * float(z_nS[both, ref].mean()) if both.any() else 0.0
        z_nS[:, s] = mean + (found.score_nS[:, s] - found.score_nS[seen, s].mean()) / units_S[s]
    return Standardised(z_nS=z_nS, share_S=_shares(found, prior, units_S), rate=rate, reference=ref, spread=spread)


def _reference(found: Candidates) -> int:
    """The scale that most designs were run at, of several the largest: others are put in its units."""
    counts = np.isfinite(found.score_nS).sum(axis=0)
    return int(max(range(len(counts)), key=lambda s: (counts[s], found.log_size_S[s])))


def _spread(found: Candidates, prior: Prior, ref: int) -> float:
    """Standard deviation of the qualities at the reference scale, in points: that of the scores less noise."""
    there = np.isfinite(found.score_nS[:, ref])
    scores = found.score_nS[there, ref]
    variance = float(scores.var(ddof=1)) if there.sum() > 1 else 0.0
    if variance <= 1e-24 * float(np.abs(scores).max(initial=0.0)) ** 2:
        raise TableError(f"all designs score alike at {found.scales[ref]}: nothing to choose by")
    return math.sqrt(_less_noise(variance, 1.0, found, prior, ref, there))


def _less_noise(
    variance: float, expected: float, found: Candidates, prior: Prior, s: int, of_n: NDArray[np.bool_]
) -> float:
    """Points squared of one unit, where scores have this variance and qualities are expected to have `expected` units.

    Not below a tenth of the variance: noise that explains all leaves nothing to foretell with.
    """
    per_seed = float((1 / found.seeds_nS[of_n, s]).mean())
    noise = float(found.noise_S[s])
    if math.isfinite(noise):
        return max(0.1 * variance, variance - noise**2 * per_seed) / expected
    return variance / (expected + prior.noise_share * per_seed)


def _unit(found: Candidates, prior: Prior, s: int, z_n: Floats, kept: float) -> float:
    """Points of one unit at another scale, from the designs that were run there and at the reference scale (z_n).

    They may be a choice of all. Then their qualities at this scale are expected to have variance
    1 - kept^2 (variance of z of all - variance of z of the chosen).
    """
    both = np.isfinite(z_n) & np.isfinite(found.score_nS[:, s])
    lost = float(np.nanvar(z_n, ddof=1)) - float(z_n[both].var(ddof=1))
    expected = max(0.1, 1 - kept**2 * lost)
    return math.sqrt(_less_noise(float(found.score_nS[both, s].var(ddof=1)), expected, found, prior, s, both))


def _shares(found: Candidates, prior: Prior, units_S: Floats) -> Floats:
    """Variance of the noise of one run over that of the qualities, by scale."""
    measured_S = (found.noise_S / units_S) ** 2
    return np.maximum(np.where(np.isfinite(measured_S), measured_S, prior.noise_share), _SMALLEST_SHARE)


def _own_rate(found: Candidates, prior: Prior, ref: int, share_S: Floats) -> float:
    """The prior's rate and the one between the study's own small scales, weighed by their designs."""
    fall = ratio = designs = 0.0
    for a, b in combinations(range(len(found.scales)), 2):
        both = np.isfinite(found.score_nS[:, a]) & np.isfinite(found.score_nS[:, b])
        if both.sum() < FEWEST_FOR_RATE:
            continue
        r = agreement.once(agreement.weighted_pearson, found.score_nS[both, a], found.score_nS[both, b])
        if math.isfinite(r):
            if ref in (a, b):
                r = _of_all(r, found.score_nS[:, ref], both)
            noise = [1 + share_S[s] * float((1 / found.seeds_nS[both, s]).mean()) for s in (a, b)]
            fall -= math.log(max(r, 0.05)) + math.log(noise[0] * noise[1]) / 2
            ratio += abs(float(found.log_size_S[b] - found.log_size_S[a]))
            designs = max(designs, float(both.sum()))
    if ratio <= 0:
        return prior.rate
    own = max(fall / ratio, 0.0)
    return max((prior.weight * prior.rate + designs * own) / (prior.weight + designs), _SLOWEST)


def _of_all(r: float, score_n: Floats, chosen_n: NDArray[np.bool_]) -> float:
    """The correlation over all designs, from that over some that were chosen by this score (Thorndike 1949, case 2)."""
    wider = float(np.nanstd(score_n, ddof=1)) / max(float(score_n[chosen_n].std(ddof=1)), 1e-12)
    return r * wider / math.sqrt(1 - r * r + r * r * wider * wider)


def krige(z_nS: Floats, share_nS: Floats, found: Candidates, rate: float) -> tuple[Floats, Floats]:
    """Best linear prediction of the standardised quality at the large scale, and the share of variance it explains.

    Args:
        z_nS: standardised scores, NaN where missing.
        share_nS: variance of the noise of each (mean over seeds), over that of the qualities.
        found: the sizes of the scales.
        rate: of the drift.
    """
    apart_SS = np.exp(-rate * np.abs(found.log_size_S[:, None] - found.log_size_S))
    toward_S = np.exp(-rate * np.abs(found.log_size_S - found.log_size))
    index_n, explained_n = np.zeros(len(z_nS)), np.zeros(len(z_nS))
    noise_nS = np.where(np.isfinite(z_nS), share_nS, np.inf)
    kinds, kind_n = np.unique(noise_nS, axis=0, return_inverse=True)
    for kind, noise_S in enumerate(kinds):
        there, of_kind = np.isfinite(noise_S), kind_n.ravel() == kind
        k_S = toward_S[there]
        weights_S = np.linalg.solve(apart_SS[np.ix_(there, there)] + np.diag(noise_S[there]), k_S)
        index_n[of_kind] = z_nS[np.ix_(of_kind, there)] @ weights_S
        explained_n[of_kind] = weights_S @ k_S
    return index_n, explained_n
