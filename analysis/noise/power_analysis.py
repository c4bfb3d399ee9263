"""Power analysis before a sweep: the difference that a number of seeds detects, and the seeds that a difference needs.

Designs are compared seed by seed, since trials with the same seed share the order of their data. The stated noise is
taken as known (normal test, two-sided); for comparison, a paired t test has to estimate it from the seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

ALPHA = 0.05
"""Level of the tests."""
POWER = 0.8
"""Probability of detecting a true difference."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """Differences between designs that a sweep can detect, in points."""

    noise: float
    """Stated standard deviation of a design's score between seeds."""
    seeds: int
    designs: int
    detectable: float
    """Smallest difference of one pair, chosen beforehand, that is detected with a probability of `POWER`."""
    detectable_any: float
    """As `detectable`, for every design compared with a baseline: the smallest p-value must pass Holm's first step."""
    detectable_paired: float | None
    """As `detectable`, by a paired t test, which estimates the noise; None with one seed."""
    seeds_for_noise: int
    """Seeds needed to detect a difference as large as the noise."""


def power(noise: float, seeds: int, designs: int) -> Power:
    """Differences that a sweep can detect under a stated noise.

    Args:
        noise: standard deviation of a design's score between seeds, in points.
        seeds: seeds per design.
        designs: number of designs.
    """
    comparisons = max(1, designs - 1)
    return Power(
        noise=noise,
        seeds=seeds,
        designs=designs,
        detectable=detectable(noise, seeds),
        detectable_any=detectable(noise, seeds, ALPHA / comparisons),
        detectable_paired=detectable_paired(noise, seeds) if seeds > 1 else None,
        seeds_for_noise=seeds_needed(noise, noise),
    )


def detectable(noise: float, seeds: int, alpha: float = ALPHA, target: float = POWER) -> float:
    """Smallest true difference of two designs that a normal test detects, in the unit of the noise.

    Args:
        noise: standard deviation of one run, taken as known.
        seeds: seeds per design.
        alpha: level of the two-sided test.
        target: power, the probability of detecting the difference.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(target)) * noise * math.sqrt(2 / seeds)


def detectable_paired(noise: float, seeds: int, alpha: float = ALPHA, target: float = POWER) -> float:
    """As `detectable`, for a paired t test over two or more seeds."""
    low, high = 0.0, 1.0
    while paired_test_power(high, seeds, alpha) < target:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if paired_test_power(middle, seeds, alpha) < target else (low, middle)
    return high * math.sqrt(2) * noise


def paired_test_power(effect: float, seeds: int, alpha: float = ALPHA) -> float:
    """Probability that a paired two-sided t test is significant.

    Args:
        effect: true difference / standard deviation of the difference of one seed.
        seeds: number of seeds, two or more.
        alpha: level of the test.
    """
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtrit  # takes a third of a second, and only plans need it

    freedom, shift = seeds - 1, effect * math.sqrt(seeds)
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    # Mean over the midpoints of 1,000 equally likely intervals of the estimated variance: scipy's noncentral t
    # (special.nctdtr) is wrong for one degree of freedom.
    quantiles = (np.arange(1000) + 0.5) / 1000
    limits = critical * np.sqrt(2 * gammaincinv(freedom / 2, quantiles) / freedom)
    return float(np.mean(ndtr(shift - limits) + ndtr(-shift - limits)))


def seeds_needed(difference: float, noise: float) -> int:
    """Fewest seeds per design with which a normal test detects a difference with a probability of `POWER`."""
    return max(1, math.ceil((detectable(noise, 1) / difference) ** 2 - 1e-9))
