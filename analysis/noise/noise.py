"""Effect of seeds on scores and on R^2: noise, reliability, the highest R^2 that noise allows, seeds needed.

Two runs of one design differ by their seeds. This noise hides differences between designs, so it lowers R^2. However,
runs with equal seeds are trained on data in the same order at both scales; this shared effect raises R^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.noise.power_analysis import seeds_needed
from analysis.numbers import LEVEL, Interval, agreement, t_quantile

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

ASSUMED_NOISE = 2.0
"""Noise assumed if no design has two seeds, in points. Apollo's baseline scores 55.5 to 59.2 in experiments that should
agree (tables of arXiv 2412.10360), so differences below about 2 points are not established there."""


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Variation of the scores of a design when only its seed changes, in units of the score."""

    scale: str
    sd: float | None
    """Pooled: sqrt(sum of squares within designs / degrees of freedom). None if no design has two seeds."""
    degrees_of_freedom: int
    num_designs: int
    """Designs with two or more seeds; the others provide no estimate of noise."""
    seeds_per_design: float
    """Harmonic mean over all designs, which determines the variance of a difference of means."""
    detectable: float | None
    """Smallest difference between the means of two designs whose 95 % t interval excludes zero."""
    design_sd: float | None
    """Standard deviation of the designs' true scores, sqrt(variance of their means - sd^2 / seeds per design); 0 if
    noise explains all of that variance."""
    reliability: float | None
    """Share of the variance of the designs' means that is not due to noise (0 to 1)."""
    reliability_interval: Interval | None
    """95 % interval from the F distribution (Shrout and Fleiss 1979), for `seeds_per_design` seeds."""
    signal_to_noise: float | None
    """Best minus worst mean, in standard deviations of one run (Signal and Noise, arXiv 2508.13144)."""


def seed_noise(scale: str, scores_by_design: list[Floats]) -> SeedNoise:
    """Variance components of a one-way analysis of variance, with one noise for all designs of a scale.

    `detectable` is t(0.975, degrees of freedom) * sd * sqrt(2 / seeds per design), Fisher's least significant
    difference: for one pair chosen beforehand, not for the largest of many.

    Args:
        scale: its label.
        scores_by_design: an array of scores, one per seed, for each design.
    """
    sizes = [len(scores) for scores in scores_by_design]
    freedom = sum(sizes) - len(sizes)
    harmonic = len(sizes) / sum(1 / size for size in sizes)
    names = ("sd", "detectable", "design_sd", "reliability", "reliability_interval", "signal_to_noise")
    components: dict[str, Any] = dict.fromkeys(names)
    if freedom > 0:
        # Relative to the first seed: rounding of the mean must not give equal scores a variance.
        shifted = [scores - scores[0] for scores in scores_by_design]
        squares = math.fsum(float(((scores - scores.mean()) ** 2).sum()) for scores in shifted)
        components = _components(np.array([s.mean() for s in scores_by_design]), squares / freedom, freedom, harmonic)
    return SeedNoise(
        scale=scale,
        degrees_of_freedom=freedom,
        num_designs=sum(size > 1 for size in sizes),
        seeds_per_design=harmonic,
        **components,
    )


def _components(mean_n: Floats, variance: float, freedom: int, seeds: float) -> dict[str, Any]:
    """The fields of `SeedNoise` that depend on the noise within designs."""
    sd = math.sqrt(variance)
    components: dict[str, Any] = {"sd": sd, "detectable": t_quantile(freedom) * sd * math.sqrt(2 / seeds)}
    between = float(mean_n.var(ddof=1)) if len(mean_n) > 1 else 0.0
    if between <= 0:
        return components | dict.fromkeys(("design_sd", "reliability", "reliability_interval", "signal_to_noise"))
    return components | {
        "design_sd": math.sqrt(max(0.0, between - variance / seeds)),
        "reliability": max(0.0, 1 - variance / seeds / between),
        "reliability_interval": _reliability_interval(between, variance / seeds, len(mean_n) - 1, freedom),
        "signal_to_noise": float(np.ptp(mean_n)) / sd if sd > 0 else None,
    }


def _reliability_interval(between: float, noise: float, freedom_between: int, freedom: int) -> Interval:
    if noise <= 0:
        return Interval(1.0, 1.0)
    from scipy.special import fdtri

    ratio, tail = between / noise, (1 - LEVEL) / 2
    low = 1 - float(fdtri(freedom_between, freedom, 1 - tail)) / ratio
    high = 1 - float(fdtri(freedom_between, freedom, tail)) / ratio
    return Interval(max(0.0, low), max(0.0, high))


def noise_between_seeds(table: ScoreTable, scale: str, metric: str | None = None, modality: str = "video") -> SeedNoise:
    """Variance components over seeds at one scale, and the smallest detectable difference between designs.

    Args:
        table: scores of one study.
        scale: its label.
        metric: `benchmark/category`; None if the table is narrowed to one metric already, in any modality.
        modality: unused without a metric.

    Raises:
        TableError: no such scores, or several metrics.
    """
    by_seed = (table if metric is None else table.select(metric, modality)).per_seed(scale).to_numpy()
    return seed_noise(scale, [scores[np.isfinite(scores)] for scores in by_seed])


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Highest R^2 expected under noise, if the true scores at both scales were perfectly correlated."""

    noise: tuple[float, float]
    """Standard deviation of one run at the small and at the large scale, in points."""
    is_measured: bool
    """False if no design has two seeds at one of the scales: its `noise` is then the stated one, else that of the other
    scale, else `ASSUMED_NOISE`."""
    reliability: tuple[float, float]
    """Reliability of the means over seeds at the small and at the large scale, 0 to 1."""
    r2: float
    """Product of the two reliabilities (Spearman 1904)."""
    disattenuated_r: float | None
    """r / sqrt(r2), an estimate of Pearson's r without noise. Above 1 if the scales share noise, or by chance."""


def ceiling(
    r: float | None,
    small: SeedNoise,
    large: SeedNoise,
    variances: tuple[float, float],
    stated: float | None = None,
) -> Ceiling:
    """Highest R^2 that noise between seeds allows; noise that is not measured is stated or assumed.

    Args:
        r: Pearson's correlation of the means over seeds, with its sign.
        small: noise at the small scale.
        large: noise at the large scale.
        variances: variance of the designs' means at the small and at the large scale.
        stated: standard deviation of one run in points, used at scales where no design has two seeds.
    """
    measured = [estimate.sd for estimate in (small, large) if estimate.sd is not None]
    assumed = stated if stated is not None else (measured or [ASSUMED_NOISE])[0]
    noise = [estimate.sd if estimate.sd is not None else assumed for estimate in (small, large)]
    reliability = [
        max(0.0, 1 - sd**2 / estimate.seeds_per_design / variance) if variance > 0 else 0.0
        for sd, estimate, variance in zip(noise, (small, large), variances, strict=True)
    ]
    r2 = reliability[0] * reliability[1]
    return Ceiling(
        noise=(noise[0], noise[1]),
        is_measured=len(measured) == 2,
        reliability=(reliability[0], reliability[1]),
        r2=r2,
        disattenuated_r=r / math.sqrt(r2) if r is not None and r2 > 0 else None,
    )


def seeds_for(resolution: float, noise: float) -> int:
    """Seeds per design needed to detect a difference of two designs with a power of 80 %.

    Args:
        resolution: the difference, in points.
        noise: standard deviation of one run, in points.
    """
    return seeds_needed(resolution, noise) if noise > 0 else 1


@dataclass(frozen=True)
class SeedPair:
    """R^2 over designs between one seed at the small scale and one at the large scale."""

    small: int
    large: int
    r2: float | None


@dataclass(frozen=True, kw_only=True)
class AcrossSeeds:
    """R^2 with equal seeds at both scales, and with different ones, over the same designs."""

    n: int
    pairs: tuple[SeedPair, ...]
    same_seeds: float | None
    """Mean R^2 over pairs of equal seeds. Far above `different_seeds`, part of it is due to shared order of data."""
    different_seeds: float | None
    """Mean R^2 over pairs of different seeds, the expected R^2 of a single run at each scale."""
    mean_of_seeds: float | None
    """R^2 of the means over the seeds of `pairs`."""
    left_out: dict[str, tuple[int, ...]]
    """Scale -> seeds that were not run for every design."""


def across_seeds(table: ScoreTable, small: str, large: str) -> AcrossSeeds:
    """R^2 between two scales with equal seeds, with different seeds and with means over seeds.

    It uses the designs that both scales share, and the seeds that all of them have at a scale; seeds that were run for
    some of them only are left out and listed.

    Args:
        table: narrowed to one metric.
        small: label of the small scale.
        large: label of the large scale.

    Raises:
        TableError: no trials at one of the scales, or several metrics.
    """
    by_seed = [table.per_seed(scale) for scale in (small, large)]
    shared = sorted(set(by_seed[0].index) & set(by_seed[1].index))
    started = [grid.loc[shared].dropna(axis="columns", how="all") for grid in by_seed]
    full = [grid.dropna(axis="columns") for grid in started]
    left_out = {
        scale: tuple(int(str(seed)) for seed in seeds if seed not in complete)
        for scale, seeds, complete in zip((small, large), started, full, strict=True)
    }
    pairs = tuple(
        SeedPair(int(a), int(b), _r2(full[0][a], full[1][b])) for a in full[0].columns for b in full[1].columns
    )
    same, different = ([p.r2 for p in pairs if (p.small == p.large) is equal] for equal in (True, False))
    return AcrossSeeds(
        n=len(shared),
        pairs=pairs,
        same_seeds=_mean(same),
        different_seeds=_mean(different),
        mean_of_seeds=_r2(*(grid.mean(axis=1) for grid in full)) if pairs else None,
        left_out={scale: seeds for scale, seeds in left_out.items() if seeds},
    )


def _r2(x: pd.Series[float], y: pd.Series[float]) -> float | None:
    value = agreement.r2(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)) if len(x) > 2 else math.nan
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None
