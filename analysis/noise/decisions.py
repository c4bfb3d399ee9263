"""Three answers instead of two: a pair of designs counts only where the small scale tells them apart.

Legend: `n` designs; `S` seeds; `I` test items. A pair is told apart where the 95 % interval of its difference at the
small scale leaves out zero. What that interval is made of is one of
  seeds    scores less the mean of their design and of their seed, pooled: trials of one seed share the order of data
  items    differences item by item, clustered by item: what other test items could have said, not other seeds
  stated   a standard deviation of one run that the user gives
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.noise.power_analysis import POWER
from analysis.numbers import NORMAL_QUANTILE, t_quantile

if TYPE_CHECKING:
    import pandas as pd

    from analysis.numbers import Floats

Source = Literal["seeds", "items", "stated"]


@dataclass(frozen=True, kw_only=True)
class ThreeWay:
    """Decision accuracy with the right to abstain."""

    source: Source
    pairs: int
    decided: int
    """Pairs that the small scale tells apart."""
    accuracy: float | None
    """Share of the decided pairs that the large scale orders alike, ties there counting half; None if none is."""
    smallest: float
    """The smallest difference that is told apart, in points: the half-width of the interval, its median over pairs."""

    @property
    def abstention(self) -> float:
        """Share of pairs of which the small scale cannot tell."""
        return 1 - self.decided / self.pairs


def three_way(x_n: Floats, y_n: Floats, half_nn: Floats, source: Source) -> ThreeWay:
    """Decision accuracy over the pairs told apart.

    Args:
        x_n: scores at the small scale.
        y_n: scores at the large scale.
        half_nn: half-width of the 95 % interval of each difference at the small scale.
        source: what `half_nn` was made of.
    """
    upper = np.triu_indices(len(x_n), k=1)
    dx, dy, half = (x_n[:, None] - x_n)[upper], (y_n[:, None] - y_n)[upper], half_nn[upper]
    decided = np.abs(dx) > half
    agreed = (1 + np.sign(dx[decided]) * np.sign(dy[decided])) / 2
    return ThreeWay(
        source=source,
        pairs=len(dx),
        decided=int(decided.sum()),
        accuracy=float(agreed.mean()) if decided.any() else None,
        smallest=float(np.median(half)),
    )


def paired_seeds(grid: pd.DataFrame) -> pd.DataFrame:
    """The seeds that all designs (down) have, if those are two or more; else all of them.

    Means and their errors are to be taken from the same seeds.
    """
    paired = grid.dropna(axis="columns")
    return paired if paired.shape[1] > 1 else grid


def half_from_seeds(grid: pd.DataFrame) -> Floats | None:
    """From the scores of designs (down) by seeds (across); None where no design has two.

    Seeds that all designs have are paired: what they do to all designs alike is no noise. Without two of those, the
    scatter within designs is taken as it is.

    Args:
        grid: from `paired_seeds`.
    """
    paired = grid.dropna(axis="columns")
    if paired.shape[1] > 1 and len(paired) > 1:
        scores = paired.to_numpy(dtype=np.float64)
        rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
        n, seeds = scores.shape
        variance, freedom = float((rest**2).sum()) / ((n - 1) * (seeds - 1)), (n - 1) * (seeds - 1)
        counts = np.full(n, seeds, dtype=np.float64)
    else:
        scores = grid.to_numpy(dtype=np.float64)
        counts = np.isfinite(scores).sum(axis=1).astype(np.float64)
        freedom = int((counts - 1).sum())
        if freedom < 1:
            return None
        variance = float(np.nansum((scores - np.nanmean(scores, axis=1, keepdims=True)) ** 2)) / freedom
    return np.asarray(t_quantile(freedom) * np.sqrt(variance * (1 / counts[:, None] + 1 / counts)))


def half_from_items(score_nI: Floats, weight_I: Floats) -> Floats:
    """From each design's mean score on each test item (a video with its questions), in points.

    Args:
        score_nI: in points; one seed each, none missing.
        weight_I: questions of each item.
    """
    share = weight_I / weight_I.sum()
    centred = score_nI - (score_nI @ share)[:, None]
    covariance_nn = (centred * share**2) @ centred.T  # of the weighted means
    spread = np.diag(covariance_nn)
    factor = len(weight_I) / max(1, len(weight_I) - 1)
    variance_nn = np.maximum(0.0, factor * (spread[:, None] + spread - 2 * covariance_nn))
    return np.asarray(NORMAL_QUANTILE * np.sqrt(variance_nn))


def half_from_noise(noise: float, seeds_n: Floats) -> Floats:
    """From a stated standard deviation of one run, in points, and each design's number of seeds."""
    return np.asarray(NORMAL_QUANTILE * noise * np.sqrt(1 / seeds_n[:, None] + 1 / seeds_n))


def items_for(resolution: float, smallest: float, items: int) -> int:
    """Test items with which a true difference is told apart in four studies of five, the seeds being what they are.

    Args:
        resolution: the difference, in points.
        smallest: the half-width of the interval of a difference now, in points.
        items: how many there are now.
    """
    found = (NORMAL_QUANTILE + NormalDist().inv_cdf(POWER)) / NORMAL_QUANTILE * smallest
    return math.ceil(items * (found / resolution) ** 2)


def verdict_of(low: float | None, high: float | None) -> str:
    """What the interval of decision accuracy lets one say of a scale as a proxy.

    A share of 3 pairs in 4 parts a proxy that orders most pairs rightly from one that seldom beats a coin.
    """
    if low is None or high is None:
        return "no verdict: too few designs"
    if low >= 0.75:
        return "transfers: the small scale orders at least 3 pairs of 4 as the large one does"
    if high < 0.75:
        weak = "weakly: more than a coin would, but" if low > 0.5 else "not:"
        return f"transfers {weak} the small scale orders fewer than 3 pairs of 4 as the large one does"
    if low > 0.5:
        return "better than a coin, but not established that 3 pairs of 4 keep their order"
    return "cannot tell: the order may transfer, or be chance"
