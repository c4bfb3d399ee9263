"""R^2 by the size and by the training samples of the small scale (Apollo, Figure 3, left and right), and by metric."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.noise import noise_between_seeds
from analysis.numbers import Interval, agreement, fitted_line, uncertainty
from analysis.tables import TableError, scale_size

if TYPE_CHECKING:
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

MIN_DESIGNS, MIN_SIZES = 3, 3
TARGET_R2 = 0.9
"""The R^2 for which the size of the small scale is estimated."""
_MIN_LOG_SIZE, _MAX_LOG_SIZE = math.log(1e3 / 1e9), math.log(1e15 / 1e9)
LEVEL_OFF = 0.02
"""Largest difference to the R^2 of the largest number of samples at which the curve counts as levelled off."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Agreement of two scales over the designs that were scored at both."""

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
    target_r2: float
    target_size: float | None
    """Number of parameters of the small scale at which R^2 is expected to reach the target; None if R^2 does not rise
    with size, or if the size is not one of a model (1 thousand to 1,000 trillion)."""
    is_extrapolated: bool
    """Whether `target_size` lies outside the sizes of the small scales."""
    target_interval: Interval | None
    """95 % prediction interval of R^2 at `target_size`, clipped to 0 to 1; wide for three sizes (one degree of
    freedom)."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        names = {"target_r2": "wanted", "target_size": "wanted_size", "target_interval": "at_wanted"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """R^2 of every pair of scales, and its trend for the pairs with one large scale."""

    pairs: tuple[Pair, ...]
    large: str
    fit: SizeFit | None
    """None with fewer than `MIN_SIZES` small scales whose labels are sizes."""
    left_out: tuple[str, ...]
    """Pairs of scales that are missing, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self) | {"fit": self.fit.to_json() if self.fit else None}


def every_pair(table: ScoreTable, large: str | None = None) -> Scaling:
    """The R^2 matrix, smaller scale first, and its trend towards one large scale.

    Args:
        table: narrowed to one metric; scales with fewer than three designs in common are left out, and scales where a
            design was trained on several numbers of samples.
        large: the target of the trend, taken to be above scales whose labels are no sizes; the largest where left out.
    """
    target = large or table.scales[-1]
    means, pairs, left_out = {}, [], []
    for scale in sorted(table.scales, key=lambda scale: (scale_size(scale), scale == target)):
        try:
            means[scale] = table.per_design(scale)["mean"]
        except TableError as error:
            left_out.append(str(error))
    for small, big in combinations(means, 2):
        shared = sorted(set(means[small].index) & set(means[big].index))
        if len(shared) >= MIN_DESIGNS:
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


def size_fit(pairs: list[Pair], target_r2: float = TARGET_R2) -> SizeFit | None:
    """Fit R^2 over the sizes of the small scales, and estimate the size at which it reaches a target.

    Args:
        pairs: small scales with the same large one; those without a size or with undefined R^2 are ignored.
        target_r2: the target.

    Returns:
        None with fewer than `MIN_SIZES` sizes, or if all sizes are equal.
    """
    points = [(scale_size(p.small) / 1e9, p.r2) for p in pairs if p.r2 is not None and scale_size(p.small) < math.inf]
    if len(points) < MIN_SIZES:
        return None
    size_n, r2_n = np.array(points, dtype=np.float64).T
    line = fitted_line(np.log(size_n), r2_n)
    if line is None:
        return None
    log_size = (target_r2 - line.intercept) / line.slope if line.slope > 0 else math.inf
    size = math.exp(log_size) if _MIN_LOG_SIZE <= log_size <= _MAX_LOG_SIZE else None
    return SizeFit(
        slope=line.slope,
        slope_se=line.slope_se,
        intercept=line.intercept,
        intercept_se=line.intercept_se,
        residual_sd=line.residual_sd,
        sizes=len(points),
        target_r2=target_r2,
        target_size=size * 1e9 if size else None,
        is_extrapolated=size is not None and not size_n.min() <= size <= size_n.max(),
        target_interval=_around(target_r2, float(line.prediction(math.log(size)))) if size else None,
    )


def _around(r2: float, half: float) -> Interval:
    """R^2 +- half, clipped to 0 to 1."""
    return Interval(max(0.0, r2 - half), min(1.0, r2 + half))


@dataclass(frozen=True, kw_only=True)
class SamplesPoint:
    """R^2 of the small scale after training on a number of samples."""

    samples: int
    n: int
    r2: float | None
    r2_interval: Interval | None
    lost: Interval | None
    """R^2 at the largest number of samples less R^2 here: 95 % BCa interval, both over the same resampled designs."""


@dataclass(frozen=True, kw_only=True)
class SamplesCurve:
    """R^2 against the number of training samples of the small scale (Apollo, Figure 3 right)."""

    small: str
    large: str
    large_samples: int
    points: tuple[SamplesPoint, ...]
    """In the order of `samples`, over the designs that were scored after each of these numbers of samples."""
    levels_off: int | None
    """Smallest number of samples from which on R^2 stays within `LEVEL_OFF` of the last point; the largest number if
    the curve does not level off before; None if R^2 is undefined."""
    left_out: tuple[str, ...]
    """Numbers of samples, designs and scores that are left out, with the reason."""


def by_samples(table: ScoreTable, small: str, large: str) -> SamplesCurve | None:
    """R^2 against the number of training samples of the small scale.

    Args:
        table: scores of one metric, with all numbers of training samples.
        small: label of the small scale.
        large: label of the large scale; its scores after the largest number of samples are used.

    Returns:
        None if the small scale has a single number of samples, or fewer than `MIN_DESIGNS` designs remain. Numbers of
        samples with fewer designs are left out first, then designs without a score at one of the remaining numbers.
    """
    at_small = sorted(int(b) for b in table.at(small)["samples"].dropna().unique())
    at_large = sorted(int(b) for b in table.at(large)["samples"].dropna().unique())
    if len(at_small) < 2 or not at_large:
        return None
    y = table.only(samples=at_large[-1]).per_design(large)["mean"]
    means = {samples: table.only(samples=samples).per_design(small)["mean"] for samples in at_small}
    means = {samples: x for samples, x in means.items() if len(set(x.index) & set(y.index)) >= MIN_DESIGNS}
    shared = sorted(set(y.index).intersection(*(mean.index for mean in means.values())))
    if len(shared) < MIN_DESIGNS or len(means) < 2:
        return None
    columns = {samples: mean.loc[shared].to_numpy(dtype=np.float64) for samples, mean in means.items()}
    y_n, full_n = y.loc[shared].to_numpy(dtype=np.float64), list(columns.values())[-1]
    points = tuple(_samples_point(samples, x_n, full_n, y_n) for samples, x_n in columns.items())
    return SamplesCurve(
        small=small,
        large=large,
        large_samples=at_large[-1],
        points=points,
        levels_off=_levels_off(points),
        left_out=tuple(_not_by_samples(table, (small, large), [s for s in at_small if s not in means], shared)),
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
    notes = [f"{samples:,} samples: fewer than {MIN_DESIGNS} designs" for samples in few]
    if unknown := int(rows["samples"].isna().sum()):
        notes.append(f"{unknown} scores without a number of training samples")
    if incomplete := sorted(set(rows["design"]) - set(shared)):
        notes.append(f"{len(incomplete)} designs without a score for every number of samples: {', '.join(incomplete)}")
    return notes


def _samples_point(samples: int, x_n: Floats, full_n: Floats, y_n: Floats) -> SamplesPoint:
    pair = _pair("", "", x_n, y_n)

    def loss(weights_Bn: Floats) -> Floats:
        return agreement.weighted_r2(full_n, y_n, weights_Bn) - agreement.weighted_r2(x_n, y_n, weights_Bn)

    resampled = len(x_n) >= uncertainty.FEWEST_FOR_INTERVAL and x_n is not full_n
    lost = uncertainty.bca_interval(loss, uncertainty.bootstrap_weights(len(x_n))) if resampled else None
    return SamplesPoint(samples=samples, n=pair.n, r2=pair.r2, r2_interval=pair.r2_interval, lost=lost)


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One benchmark and category: the agreement of the same two scales by another metric."""

    metric: str
    pair: Pair
    with_metric: float | None
    """Spearman's correlation with the study's metric at the small scale; a negative one suggests that lower is better
    for one of the two."""
    missing: int
    """Number of designs that have the study's metric at both scales, but not this one."""
    signal_to_noise: float | None
    """At the small scale, best less worst score in standard deviations of one run; None without replicates. Benchmarks
    with a low ratio rarely order designs correctly (Signal and Noise, arXiv 2508.13144)."""


def by_metric(table: ScoreTable, small: str, large: str, metric: str, modality: str = "video") -> tuple[MetricRow, ...]:
    """Agreement of two scales by benchmark and category.

    Args:
        table: all metrics of one study.
        small: label of the small scale.
        large: label of the large scale.
        metric: the study's metric, which the others are compared with; it comes first.
        modality: video, frame or text.
    """
    reference = table.select(metric, modality)
    means = {scale: reference.per_design(scale)["mean"] for scale in (small, large)}
    compared = set(means[small].index) & set(means[large].index)
    rows = []
    for name in sorted(table.metrics(modality), key=lambda name: (name != metric, name)):
        chosen = table.select(name, modality)
        try:
            x, y = (chosen.per_design(scale)["mean"] for scale in (small, large))
        except TableError:
            continue  # The metric has no scores at one of the scales.
        shared = sorted(set(x.index) & set(y.index))
        if len(shared) < MIN_DESIGNS:
            continue
        both = sorted(set(shared) & compared)
        rho = (
            agreement.spearman(x.loc[both].to_numpy(), means[small].loc[both].to_numpy()) if len(both) > 2 else math.nan
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
