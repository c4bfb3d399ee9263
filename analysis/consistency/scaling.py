"""R^2 against the size of the small scale, and against its training budget: Apollo's Figure 3, left and right.

Reads score tables of one metric; asks consistency's statistics of every pair of scales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analysis.noise import noise_between_seeds
from analysis.numbers import Interval, agreement, fitted_line, uncertainty
from analysis.tables import TableError, scale_size

if TYPE_CHECKING:
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

FEWEST_DESIGNS, FEWEST_SIZES = 3, 3
WANTED = 0.9
"""The R^2 whose size is asked for."""
_SMALLEST, _LARGEST = math.log(1e3 / 1e9), math.log(1e15 / 1e9)
LEVEL_OFF = 0.02
"""R^2 below the highest within which a budget counts as levelled off."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two scales over the designs that both were scored at."""

    small: str
    large: str
    n: int
    r2: float | None
    r2_interval: Interval | None
    spearman: float | None
    decision_accuracy: float


@dataclass(frozen=True, kw_only=True)
class SizeFit:
    """R^2 = intercept + slope * ln(parameters / 1e9): least squares over the small scales (Apollo, Figure 3 left)."""

    slope: float
    slope_se: float
    intercept: float
    intercept_se: float
    residual_sd: float
    sizes: int
    wanted: float
    wanted_size: float | None
    """Parameters of the small scale at which `wanted` is expected; None if R^2 does not rise with size, or so slowly
    that it is no size of a model (1 thousand to 1,000 trillion)."""
    is_extrapolated: bool
    """Whether that size lies outside of the small scales."""
    at_wanted: Interval | None
    """95 % prediction interval of R^2 at that size, within 0 to 1: wide with three sizes, which leave one degree of
    freedom."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Every pair of scales, and the trend of those with the largest."""

    pairs: tuple[Pair, ...]
    large: str
    fit: SizeFit | None
    """None with fewer than three small scales whose labels are sizes."""
    left_out: tuple[str, ...]
    """Why pairs of scales are not there, in words."""


def every_pair(table: ScoreTable, large: str | None = None) -> Scaling:
    """The R^2 matrix, smaller scale first, and its trend towards one large scale.

    Args:
        table: narrowed to one metric; scales with fewer than three designs in common are left out, and scales where a
            design was trained on several budgets.
        large: the target of the trend, taken to be above scales whose labels are no sizes; the largest where left out.
    """
    target = large or table.scales[-1]
    means, pairs, left_out = {}, [], []
    for scale in sorted(table.scales, key=lambda scale: (scale_size(scale), scale == target, scale)):
        try:
            means[scale] = table.per_design(scale)["mean"]
        except TableError as error:
            left_out.append(str(error))
    for small, big in combinations(means, 2):
        shared = sorted(set(means[small].index) & set(means[big].index))
        if len(shared) >= FEWEST_DESIGNS:
            x_n, y_n = (means[scale].loc[shared].to_numpy(dtype=np.float64) for scale in (small, big))
            pairs.append(_pair(small, big, x_n, y_n))
        else:
            left_out.append(f"{small} and {big} have {len(shared)} designs in common")
    fit = size_fit([p for p in pairs if p.large == target])
    return Scaling(pairs=tuple(pairs), large=target, fit=fit, left_out=tuple(left_out))


def _pair(small: str, large: str, x_n: Floats, y_n: Floats) -> Pair:
    r = agreement.once(agreement.weighted_pearson, x_n, y_n)
    return Pair(
        small=small,
        large=large,
        n=len(x_n),
        r2=agreement.defined(r * r),
        r2_interval=uncertainty.r2_interval(r, agreement.jackknife(agreement.weighted_pearson, x_n, y_n)),
        spearman=agreement.defined(agreement.spearman(x_n, y_n)),
        decision_accuracy=agreement.decision_accuracy(x_n, y_n),
    )


def size_fit(pairs: list[Pair], wanted: float = WANTED) -> SizeFit | None:
    """The trend of R^2 over the sizes of the small scales, and the size at which `wanted` is expected."""
    known = [(scale_size(p.small) / 1e9, p.r2) for p in pairs if p.r2 is not None and scale_size(p.small) < math.inf]
    if len(known) < FEWEST_SIZES:
        return None
    size_n, r2_n = np.array(known, dtype=np.float64).T
    line = fitted_line(np.log(size_n), r2_n)
    if line is None:
        return None
    log_size = (wanted - line.intercept) / line.slope if line.slope > 0 else math.inf
    size = math.exp(log_size) if _SMALLEST <= log_size <= _LARGEST else None
    return SizeFit(
        slope=line.slope,
        slope_se=line.slope_se,
        intercept=line.intercept,
        intercept_se=line.intercept_se,
        residual_sd=line.residual_sd,
        sizes=len(known),
        wanted=wanted,
        wanted_size=size * 1e9 if size else None,
        is_extrapolated=size is not None and not size_n.min() <= size <= size_n.max(),
        at_wanted=_around(wanted, float(line.prediction(math.log(size)))) if size else None,
    )


def _around(r2: float, half: float) -> Interval:
    return Interval(max(0.0, r2 - half), min(1.0, r2 + half))


@dataclass(frozen=True, kw_only=True)
class SamplesPoint:
    """R^2 of the small scale trained on so many samples."""

    samples: int
    n: int
    r2: float | None
    r2_interval: Interval | None
    lost: Interval | None
    """R^2 at the highest budget less R^2 here: 95 % BCa interval, both over the same resampled designs."""


@dataclass(frozen=True, kw_only=True)
class SamplesCurve:
    """R^2 against the training budget of the small scale (Apollo, Figure 3 right)."""

    small: str
    large: str
    large_samples: int
    points: tuple[SamplesPoint, ...]
    """By budget, over the designs that have all of them."""
    levels_off: int | None
    """Smallest budget from which on R^2 stays within `LEVEL_OFF` of the highest budget's; the highest itself where it
    does not level off below; None if R^2 is undefined."""
    left_out: tuple[str, ...]
    """Budgets, designs and scores that are not in it, in words."""


def by_samples(table: ScoreTable, small: str, large: str) -> SamplesCurve | None:
    """How much training the small scale needs.

    Args:
        table: narrowed to one metric, with all its budgets.
        small: scale with several budgets.
        large: scale; its largest budget counts.

    Returns:
        None if the small scale has one budget only, or too few designs have two or more of its budgets and are scored
        at the large scale. Budgets of fewer than three designs are left out, then designs that lack one of the rest.
    """
    budgets = sorted(int(b) for b in table.at(small)["samples"].dropna().unique())
    at_large = sorted(int(b) for b in table.at(large)["samples"].dropna().unique())
    if len(budgets) < 2 or not at_large:
        return None
    y = table.only(samples=at_large[-1]).per_design(large)["mean"]
    means = {budget: table.only(samples=budget).per_design(small)["mean"] for budget in budgets}
    means = {budget: x for budget in budgets if len(set((x := means[budget]).index) & set(y.index)) >= FEWEST_DESIGNS}
    shared = sorted(set(y.index).intersection(*(mean.index for mean in means.values())))
    if len(shared) < FEWEST_DESIGNS or len(means) < 2:
        return None
    columns = {budget: mean.loc[shared].to_numpy(dtype=np.float64) for budget, mean in means.items()}
    y_n, full_n = y.loc[shared].to_numpy(dtype=np.float64), list(columns.values())[-1]
    points = tuple(_samples_point(budget, x_n, full_n, y_n) for budget, x_n in columns.items())
    return SamplesCurve(
        small=small,
        large=large,
        large_samples=at_large[-1],
        points=points,
        levels_off=_levels_off(points),
        left_out=tuple(_not_by_samples(table, (small, large), [b for b in budgets if b not in means], shared)),
    )


def _levels_off(points: tuple[SamplesPoint, ...]) -> int | None:
    highest, level = points[-1].r2, None
    for point in reversed(points):
        if highest is None or point.r2 is None or abs(highest - point.r2) > LEVEL_OFF:
            break
        level = point.samples
    return level


def _not_by_samples(table: ScoreTable, scales: tuple[str, str], few: list[int], shared: list[str]) -> list[str]:
    rows = table.frame[table.frame["scale"].isin(scales)]
    notes = [f"budget {budget}: fewer than {FEWEST_DESIGNS} designs" for budget in few]
    if unknown := int(rows["samples"].isna().sum()):
        notes.append(f"{unknown} scores without a training budget")
    if lacking := sorted(set(rows["design"]) - set(shared)):
        notes.append(f"{len(lacking)} designs without a score for each of the budgets: {', '.join(lacking)}")
    return notes


def _samples_point(budget: int, x_n: Floats, full_n: Floats, y_n: Floats) -> SamplesPoint:
    pair = _pair("", "", x_n, y_n)

    def loss(weights_Bn: Floats) -> Floats:
        return agreement.weighted_r2(full_n, y_n, weights_Bn) - agreement.weighted_r2(x_n, y_n, weights_Bn)

    resampled = len(x_n) >= uncertainty.FEWEST_FOR_INTERVAL and x_n is not full_n
    lost = uncertainty.bca_interval(loss, uncertainty.bootstrap_weights(len(x_n))) if resampled else None
    return SamplesPoint(samples=budget, n=pair.n, r2=pair.r2, r2_interval=pair.r2_interval, lost=lost)


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One benchmark and category: the same pair of scales, seen through another score."""

    metric: str
    pair: Pair
    with_metric: float | None
    """Spearman's correlation with the study's metric at the small scale; below zero it may be one where lower is
    better."""
    missing: int
    """Designs that the study's metric has at both scales and this one has not."""
    signal_to_noise: float | None
    """At the small scale, best less worst in standard deviations of one run; None without replicates. Benchmarks with
    little of it seldom order designs rightly (Signal and Noise, arXiv 2508.13144)."""


def by_metric(table: ScoreTable, small: str, large: str, metric: str, modality: str = "video") -> tuple[MetricRow, ...]:
    """Consistency per benchmark and per category.

    Args:
        table: all metrics of one study.
        small: scale.
        large: scale.
        metric: the study's own, to compare with; it comes first.
        modality: video, frame or text.
    """
    own = table.select(metric, modality)
    mine = {scale: own.per_design(scale)["mean"] for scale in (small, large)}
    compared = set(mine[small].index) & set(mine[large].index)
    rows = []
    for name in sorted(table.metrics(modality), key=lambda name: (name != metric, name)):
        chosen = table.select(name, modality)
        try:
            x, y = (chosen.per_design(scale)["mean"] for scale in (small, large))
        except TableError:
            continue  # not scored at one of the scales: the metric has no row
        shared = sorted(set(x.index) & set(y.index))
        if len(shared) < FEWEST_DESIGNS:
            continue
        both = sorted(set(shared) & compared)
        rho = (
            agreement.spearman(x.loc[both].to_numpy(), mine[small].loc[both].to_numpy()) if len(both) > 2 else math.nan
        )
        pair = _pair(small, large, x.loc[shared].to_numpy(), y.loc[shared].to_numpy())
        rows.append(
            MetricRow(
                metric=name,
                pair=pair,
                with_metric=agreement.defined(rho),
                missing=len(compared - set(shared)),
                signal_to_noise=noise_between_seeds(chosen, small, name, modality).signal_to_noise,
            )
        )
    return tuple(rows)
