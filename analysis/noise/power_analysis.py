"""Before anything runs: which difference between designs a number of seeds can show, and how many a difference needs.

Designs are compared seed by seed, since trials of one seed share the order of their data. The noise is stated, so taken
for known (normal test, two-sided); beside it stands what a paired t test sees, which must find it from the seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a sweep can see."""

    noise: float
    """Standard deviation of a design's score between seeds, in points: as stated."""
    seeds: int
    designs: int
    detectable: float
    """Smallest difference of one pair, chosen beforehand, that is found with a chance of `POWER`."""
    detectable_any: float
    """The same where every design is compared with a baseline and the smallest p-value must pass Holm's first step."""
    detectable_paired: float | None
    """As `detectable`, by a paired t test that knows nothing of the noise; None with one seed, which shows none."""
    seeds_for_noise: int
    """Seeds that show a difference as large as the noise."""


def power(noise: float, seeds: int, designs: int) -> Power:
    """What so many seeds of so many designs can see under a stated noise."""
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


def detectable(noise: float, seeds: int, alpha: float = ALPHA, chance: float = POWER) -> float:
    """Smallest true difference of two designs that is found with this chance if the noise is known, in its unit."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(chance)) * noise * math.sqrt(2 / seeds)


def detectable_paired(noise: float, seeds: int, alpha: float = ALPHA, chance: float = POWER) -> float:
    """The same for a paired t test over two or more seeds."""
    low, high = 0.0, 1.0
    while chance_to_find(high, seeds, alpha) < chance:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_to_find(middle, seeds, alpha) < chance else (low, middle)
    return high * math.sqrt(2) * noise


def chance_to_find(effect: float, seeds: int, alpha: float = ALPHA) -> float:
    """Chance that a paired two-sided t test at level alpha is significant.

    Args:
        effect: true difference / standard deviation of the difference of one seed.
        seeds: two or more.
        alpha: level.
    """
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtrit  # a third of a second, and only plans need it

    freedom, shift = seeds - 1, effect * math.sqrt(seeds)
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    # Over the middles of 1,000 equally likely spans of the estimated variance: scipy's own noncentral t
    # (special.nctdtr) is wrong for one degree of freedom.
    spans = (np.arange(1000) + 0.5) / 1000
    limits = critical * np.sqrt(2 * gammaincinv(freedom / 2, spans) / freedom)
    return float(np.mean(ndtr(shift - limits) + ndtr(-shift - limits)))


def seeds_needed(difference: float, noise: float) -> int:
    """Fewest seeds with which a difference of two designs is found if the noise is known."""
    return max(1, math.ceil((detectable(noise, 1) / difference) ** 2 - 1e-9))
