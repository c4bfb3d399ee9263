"""Three-way decisions: a pair of designs counts only if its difference at the small scale is significant.

Legend: `n` designs; `I` test items. A pair is decided if the 95 % interval of its difference at the small scale
excludes zero. The interval is based on one of
  seeds    residuals after the means of design and seed, pooled: trials with the same seed share the order of their data
  items    differences per item, clustered by item: the uncertainty due to the choice of test items, not due to seeds
  stated   a standard deviation of one run that the user states
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
    """Decision accuracy over the pairs that are decided; the others count as abstentions."""

    source: Source
    pairs: int
    decided: int
    """Pairs whose difference at the small scale is significant."""
    accuracy: float | None
    """Share of the decided pairs that the large scale orders alike, with ties counting half; None if there are none."""
    smallest: float
    """Smallest significant difference, in points: the half-width of the interval, its median over pairs."""

    @property
    def abstention(self) -> float:
        """Share of the pairs that are not decided."""
        return 1 - self.decided / self.pairs


def three_way(x_n: Floats, y_n: Floats, half_nn: Floats, source: Source) -> ThreeWay:
    """Decision accuracy over the decided pairs.

    Args:
        x_n: scores at the small scale, in points.
        y_n: scores at the large scale, in points.
        half_nn: half-width of the 95 % interval of each difference at the small scale.
        source: data that `half_nn` is based on.
    """
    upper = np.triu_indices(len(x_n), k=1)
    dx, dy, half = (x_n[:, None] - x_n)[upper], (y_n[:, None] - y_n)[upper], half_nn[upper]
    is_decided = np.abs(dx) > half
    agreement = (1 + np.sign(dx[is_decided]) * np.sign(dy[is_decided])) / 2
    return ThreeWay(
        source=source,
        pairs=len(dx),
        decided=int(is_decided.sum()),
        accuracy=float(agreement.mean()) if is_decided.any() else None,
        smallest=float(np.median(half)),
    )


def paired_seeds(grid: pd.DataFrame) -> pd.DataFrame:
    """The columns of seeds that every design has, if there are two or more of them; else the whole grid.

    Means and their errors must be computed from the same seeds.

    Args:
        grid: scores of designs (rows) by seeds (columns), NaN for missing trials.
    """
    paired = grid.dropna(axis="columns")
    return paired if paired.shape[1] > 1 else grid


def half_widths_from_seeds(grid: pd.DataFrame) -> Floats | None:
    """Half-widths of the 95 % intervals of all differences (n x n), from scores by seed.

    Seeds that all designs have are paired: an effect of a seed on all designs alike is not noise. With fewer than two
    of them, the variance within designs is used without pairing.

    Args:
        grid: scores of designs (rows) by seeds (columns), from `paired_seeds`.

    Returns:
        None if no design has two seeds.
    """
    paired = grid.dropna(axis="columns")
    if paired.shape[1] > 1 and len(paired) > 1:
        scores = paired.to_numpy(dtype=np.float64)
        residuals = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
        n, seeds = scores.shape
        variance, freedom = float((residuals**2).sum()) / ((n - 1) * (seeds - 1)), (n - 1) * (seeds - 1)
        counts = np.full(n, seeds, dtype=np.float64)
    else:
        scores = grid.to_numpy(dtype=np.float64)
        counts = np.isfinite(scores).sum(axis=1).astype(np.float64)
        freedom = int((counts - 1).sum())
        if freedom < 1:
            return None
        variance = float(np.nansum((scores - np.nanmean(scores, axis=1, keepdims=True)) ** 2)) / freedom
    return np.asarray(t_quantile(freedom) * np.sqrt(variance * (1 / counts[:, None] + 1 / counts)))


def half_widths_from_items(score_nI: Floats, weight_I: Floats) -> Floats:
    """Half-widths of the 95 % intervals of all differences (n x n), from scores by test item.

    Args:
        score_nI: mean score of each design on each test item (a video with its questions), in points; one seed per
            design, none missing.
        weight_I: number of questions of each item.
    """
    share = weight_I / weight_I.sum()
    centred = score_nI - (score_nI @ share)[:, None]
    covariance_nn = (centred * share**2) @ centred.T  # covariance of the weighted means
    variance_n = np.diag(covariance_nn)
    factor = len(weight_I) / max(1, len(weight_I) - 1)
    variance_nn = np.maximum(0.0, factor * (variance_n[:, None] + variance_n - 2 * covariance_nn))
    return np.asarray(NORMAL_QUANTILE * np.sqrt(variance_nn))


def half_widths_from_noise(noise: float, seeds_n: Floats) -> Floats:
    """Half-widths of the 95 % intervals of all differences (n x n), from a stated noise.

    Args:
        noise: standard deviation of one run, in points.
        seeds_n: number of seeds of each design.
    """
    return np.asarray(NORMAL_QUANTILE * noise * np.sqrt(1 / seeds_n[:, None] + 1 / seeds_n))


def items_for(resolution: float, smallest: float, items: int) -> int:
    """Test items needed to detect a true difference with a power of 80 %, with unchanged seeds.

    Args:
        resolution: the difference, in points.
        smallest: current half-width of the interval of a difference, in points.
        items: current number of test items.
    """
    detectable = (NORMAL_QUANTILE + NormalDist().inv_cdf(POWER)) / NORMAL_QUANTILE * smallest
    return math.ceil(items * (detectable / resolution) ** 2)


def verdict_of(low: float | None, high: float | None) -> str:
    """Verdict on a scale as a proxy, by the interval of its decision accuracy.

    The threshold of 0.75 is a convention: halfway between a random order and a perfect one.

    Args:
        low: lower end, a share of pairs; None without an interval.
        high: upper end.
    """
    if low is None or high is None:
        return "no verdict: too few designs"
    if low >= 0.75:
        return "transfers: the small scale orders at least 3 pairs of 4 as the large one does"
    if high < 0.75:
        start = "transfers weakly: better than chance, but" if low > 0.5 else "does not transfer:"
        return f"{start} the small scale orders fewer than 3 pairs of 4 as the large one does"
    if low > 0.5:
        return "better than chance, but it is not established that 3 pairs of 4 keep their order"
    return "inconclusive: the order may transfer, or agree by chance"
