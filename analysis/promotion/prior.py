"""What published studies tell of transfer, before a study has large-scale scores of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analysis.numbers import agreement
from analysis.tables import published, scale_size

if TYPE_CHECKING:
    from analysis.tables import ScoreTable


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


PRIOR_WEIGHT = 2.5
"""A published study of other designs and data counts as so many of one's own. Chosen by `make coverage`: with 5, 3 and
2.5 alike the chance to be the best is calibrated; with 2.5 `--regret` also holds where the true R^2 is 0.5 and the
prior says 0.80, for some more designs trained (docs/statistics.md)."""


@cache
def published_prior() -> Prior:
    """Rate, noise and growth fitted to the published tables: 21 designs at four sizes (Apollo, Tables 14 and 15)."""
    return fit_prior(published("apollo").select(), PRIOR_WEIGHT, "apollo (21 designs, 4 sizes)")


def vague_prior() -> Prior:
    """For studies that are part of the published prior themselves, which may not foretell their own answer.

    Assumed: R^2 of 0.63 over tenfold size without noise, no growth of the spread; it counts as much as a published one.
    """
    source = "assumed: R2 0.63 over tenfold size"
    return Prior(rate=0.1, noise_share=0.05, growth=0.0, weight=PRIOR_WEIGHT, source=source)


def fit_prior(table: ScoreTable, weight: float, source: str) -> Prior:
    """Least squares: -ln(correlation) of each pair of scales against ln(size ratio), ln(spread) against ln(size)."""
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
