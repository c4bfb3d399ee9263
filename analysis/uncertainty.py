"""How sure a number is: bootstrap intervals over designs, noise between seeds. Knows arrays, not score tables.

Legend: `n` designs; `B` resamples; weights_Bn says how often each design was drawn (see agreement.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.agreement import Floats

LEVEL = 0.95
NUM_RESAMPLES = 4999
FEWEST_FOR_INTERVAL = 5
"""Designs below which no interval is given: four have 35 different resamples, too few for a 2.5 % tail."""
_SEED = 20241213
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A two-sided interval at `LEVEL`."""

    low: float
    high: float


def bootstrap_weights(n: int) -> Floats:
    """weights_Bn of resamples with replacement, the same ones on every call.

    A resample with fewer than three different designs is left out: two points correlate perfectly, whatever they are.
    """
    counts_Bn = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1.0 / n), size=NUM_RESAMPLES)
    weights_Bn: Floats = counts_Bn[(counts_Bn > 0).sum(axis=1) >= 3].astype(np.float64)
    return weights_Bn


def bca_interval(statistic: Callable[[Floats], Floats], weights_Bn: Floats) -> Interval | None:
    """Bias-corrected and accelerated bootstrap (Efron 1987; Efron and Tibshirani 1993, section 14.3).

    Resamples in which the statistic is undefined are left out. The estimate itself is always inside: where the bias
    correction would push an end past it, the interval ends at the estimate.

    Args:
        statistic: weights_Bn -> B values, NaN where undefined.
        weights_Bn: from `bootstrap_weights`.

    Returns:
        None if the bootstrap has nothing to say: too few designs, a statistic that is undefined in the data or in
        more than half of the resamples, or the same in all of them (a perfect order stays perfect in every resample).
    """
    n = weights_Bn.shape[1]
    estimate = float(statistic(np.ones((1, n)))[0])
    values_B = statistic(weights_Bn)
    values_B = values_B[np.isfinite(values_B)]
    too_few = n < FEWEST_FOR_INTERVAL or 2 * len(values_B) < len(weights_Bn)
    if too_few or not math.isfinite(estimate) or np.ptp(values_B) < 1e-12:
        return None
    below = float(np.mean(values_B < estimate) + np.mean(values_B == estimate) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(values_B)), 1 - 1 / len(values_B)))
    acceleration = _acceleration(statistic(1.0 - np.eye(n)))
    tail = _NORMAL.inv_cdf((1 + LEVEL) / 2)
    low, high = np.quantile(values_B, [_corrected(bias + z, bias, acceleration) for z in (-tail, tail)])
    return Interval(min(float(low), estimate), max(float(high), estimate))


@dataclass(frozen=True)
class SeedNoise:
    """How far the same design scatters when only its seed changes, in units of the score."""

    scale: str
    sd: float | None
    """Pooled: sqrt(sum of squares within designs / degrees of freedom). None if no design has two seeds."""
    degrees_of_freedom: int
    num_designs: int
    """Designs with two or more seeds: those that say anything about noise."""
    seeds_per_design: float
    """Harmonic mean over all designs: what the variance of a difference of means depends on."""
    detectable: float | None
    """Smallest difference between the means of two designs whose own 95 % t interval leaves out zero."""


def seed_noise(scale: str, scores_by_design: list[Floats]) -> SeedNoise:
    """Pool the variance within designs, as one-way analysis of variance does: one noise for all designs of a scale.

    `detectable` is t(0.975, degrees of freedom) * sd * sqrt(2 / seeds per design), Fisher's least significant
    difference: for one pair chosen beforehand, not for the largest of many.
    """
    sizes = [len(scores) for scores in scores_by_design]
    freedom = sum(sizes) - len(sizes)
    harmonic = len(sizes) / sum(1 / size for size in sizes)
    sd = detectable = None
    if freedom > 0:
        from scipy.special import stdtrit  # a third of a second, and only studies with several seeds need it

        squares = math.fsum(float(((scores - scores.mean()) ** 2).sum()) for scores in scores_by_design)
        sd = math.sqrt(squares / freedom)
        detectable = float(stdtrit(freedom, (1 + LEVEL) / 2)) * sd * math.sqrt(2 / harmonic)
    return SeedNoise(scale, sd, freedom, sum(size > 1 for size in sizes), harmonic, detectable)


def _acceleration(jackknife_n: Floats) -> float:
    """Skewness of the jackknife over 6; designs whose removal leaves the statistic undefined are left out."""
    values = jackknife_n[np.isfinite(jackknife_n)]
    deviation = values.mean() - values if len(values) else np.zeros(1)
    spread = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def _corrected(shifted: float, bias: float, acceleration: float) -> float:
    """The quantile of the resamples to read in place of the nominal one."""
    room = 1 - acceleration * shifted
    if room <= 0:  # the limit as the acceleration grows
        return 1.0 if shifted > 0 else 0.0
    return _NORMAL.cdf(bias + shifted / room)
