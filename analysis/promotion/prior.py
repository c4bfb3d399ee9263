"""Priors of the transfer model, from published studies, for studies with few large-scale scores of their own."""

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
    """Parameters of the transfer model that are assumed before the study's own large-scale scores."""

    rate: float
    """Decrease of ln(correlation) for one unit of ln(size ratio)."""
    noise_share: float
    """Variance of one run's noise / variance of the designs' qualities, where no design has several seeds."""
    growth: float
    """Increase of ln(standard deviation of scores) for one unit of ln(size)."""
    weight: float
    """Number of designs at the large scale that the prior is worth, beside the study's own."""
    source: str
    """Where the parameters come from, for people."""


PRIOR_WEIGHT = 2.5
"""Number of a study's own designs that a published study of other designs and data is worth. Chosen by `make coverage`:
with 5, 3 and 2.5 the probability to be the best is calibrated; with 2.5 `--regret` also holds where the true R^2 is 0.5
and the prior says 0.80, at the cost of some more trained designs (docs/statistics.md)."""


@cache
def published_prior() -> Prior:
    """Rate, noise and growth fitted to the published tables: 21 designs at four sizes (Apollo, Tables 14 and 15)."""
    return fit_prior(published("apollo").select(), PRIOR_WEIGHT, "apollo (21 designs, 4 sizes)")


def vague_prior() -> Prior:
    """The prior for studies that the published prior was fitted to: their own scores must not predict themselves.

    Assumed: R^2 of 0.63 over tenfold size without noise, and no growth of the standard deviation. Its weight is that of
    the published prior.
    """
    source = "assumed: R2 0.63 over tenfold size"
    return Prior(rate=0.1, noise_share=0.05, growth=0.0, weight=PRIOR_WEIGHT, source=source)


def fit_prior(table: ScoreTable, weight: float, source: str) -> Prior:
    """Least squares: -ln(correlation) of each pair of scales on ln(size ratio), ln(standard deviation) on ln(size)."""
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
        noise_share=max(math.expm1(float(start)), 0.01),  # at equal sizes, noise alone makes r = 1 / (1 + noise_share)
        growth=float(growth),
        weight=weight,
        source=source,
    )
