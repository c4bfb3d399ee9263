"""What seeds do to scores and to R^2: noise, reliability, the highest R^2 that noise allows, seeds needed.

Two runs of one design differ by their seeds. That scatter hides the designs' own differences, so it lowers R^2; but
runs of equal seeds saw their data in the same order at both scales, and share what that did to them, which raises it.
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
"""Points: what is tried where no design has two seeds. Apollo's baseline scores 55.5 to 59.2 in experiments that should
agree (shared facts of arXiv 2412.10360), so differences below about 2 points are not established there."""


@dataclass(frozen=True, kw_only=True)
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
    design_sd: float | None
    """Of the designs' true scores: the variance of their means less noise / seeds; 0 where noise explains it all."""
    reliability: float | None
    """Share of the variance of the designs' means that another set of seeds would show again (0 to 1)."""
    reliability_interval: Interval | None
    """From the F distribution (Shrout and Fleiss 1979), for as many seeds as the harmonic mean."""
    signal_to_noise: float | None
    """Best less worst mean, in standard deviations of one run (Signal and Noise, arXiv 2508.13144)."""


def seed_noise(scale: str, scores_by_design: list[Floats]) -> SeedNoise:
    """Variance components of one-way analysis of variance: one noise for all designs of a scale.

    `detectable` is t(0.975, degrees of freedom) * sd * sqrt(2 / seeds per design), Fisher's least significant
    difference: for one pair chosen beforehand, not for the largest of many.
    """
    sizes = [len(scores) for scores in scores_by_design]
    freedom = sum(sizes) - len(sizes)
    harmonic = len(sizes) / sum(1 / size for size in sizes)
    names = ("sd", "detectable", "design_sd", "reliability", "reliability_interval", "signal_to_noise")
    known: dict[str, Any] = dict.fromkeys(names)
    if freedom > 0:
        # From the first seed: equal scores must not scatter by the rounding of their mean.
        moved = [scores - scores[0] for scores in scores_by_design]
        squares = math.fsum(float(((scores - scores.mean()) ** 2).sum()) for scores in moved)
        known = _components(np.array([s.mean() for s in scores_by_design]), squares / freedom, freedom, harmonic)
    return SeedNoise(
        scale=scale,
        degrees_of_freedom=freedom,
        num_designs=sum(size > 1 for size in sizes),
        seeds_per_design=harmonic,
        **known,
    )


def _components(mean_n: Floats, variance: float, freedom: int, seeds: float) -> dict[str, Any]:
    sd = math.sqrt(variance)
    found: dict[str, Any] = {"sd": sd, "detectable": t_quantile(freedom) * sd * math.sqrt(2 / seeds)}
    between = float(mean_n.var(ddof=1)) if len(mean_n) > 1 else 0.0
    if between <= 0:
        return found | dict.fromkeys(("design_sd", "reliability", "reliability_interval", "signal_to_noise"))
    return found | {
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
    """Variance components over seeds at one scale, and the difference between designs they let one see.

    Without a metric, of the one that the table was narrowed to, in whichever modality.
    """
    by_seed = (table if metric is None else table.select(metric, modality)).per_seed(scale).to_numpy()
    return seed_noise(scale, [scores[np.isfinite(scores)] for scores in by_seed])


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The R^2 that noise leaves, were the designs' true scores in perfect line."""

    noise: tuple[float, float]
    """Standard deviation of one run at the small and at the large scale, in points."""
    is_measured: bool
    """False where at one of the scales no design has two seeds: its `noise` is the stated one, else that of the other
    scale, else `ASSUMED_NOISE`."""
    reliability: tuple[float, float]
    r2: float
    """Product of the two reliabilities (Spearman 1904): the highest R^2 to be expected."""
    disattenuated_r: float | None
    """r / sqrt(r2): what would remain of Pearson's r without noise. Above 1 where noise is shared, or by chance."""


def ceiling(
    r: float | None,
    small: SeedNoise,
    large: SeedNoise,
    variances: tuple[float, float],
    stated: float | None = None,
) -> Ceiling:
    """What noise between seeds allows; where it cannot be known, what a stated or an assumed one would.

    Args:
        r: Pearson's correlation of the means over seeds, with its sign.
        small: noise at the small scale.
        large: noise at the large scale.
        variances: of the designs' means, at the small and at the large scale.
        stated: standard deviation of one run in points, where seeds do not tell it.
    """
    measured = [found.sd for found in (small, large) if found.sd is not None]
    assumed = stated if stated is not None else (measured or [ASSUMED_NOISE])[0]
    noise = [found.sd if found.sd is not None else assumed for found in (small, large)]
    reliability = [
        max(0.0, 1 - sd**2 / found.seeds_per_design / variance) if variance > 0 else 0.0
        for sd, found, variance in zip(noise, (small, large), variances, strict=True)
    ]
    most = reliability[0] * reliability[1]
    return Ceiling(
        noise=(noise[0], noise[1]),
        is_measured=len(measured) == 2,
        reliability=(reliability[0], reliability[1]),
        r2=most,
        disattenuated_r=r / math.sqrt(most) if r is not None and most > 0 else None,
    )


def seeds_for(resolution: float, noise: float) -> int:
    """Seeds of each of two designs with which a difference of `resolution` points is found in four studies of five."""
    return seeds_needed(resolution, noise) if noise > 0 else 1


@dataclass(frozen=True)
class SeedPair:
    """R^2 over designs between one seed of the small scale and one of the large."""

    small: int
    large: int
    r2: float | None


@dataclass(frozen=True, kw_only=True)
class AcrossSeeds:
    """R^2 with equal seeds at both scales, and with different ones, over the same designs."""

    n: int
    pairs: tuple[SeedPair, ...]
    same_seeds: float | None
    """Mean R^2 over pairs of equal seeds. Far above `different_seeds`, it owes something to shared data order."""
    different_seeds: float | None
    """Mean R^2 over pairs of different seeds: what one run at each scale may expect."""
    mean_of_seeds: float | None
    """R^2 of the means over the seeds of `pairs`: noise averaged away as far as the seeds allow."""
    left_out: dict[str, tuple[int, ...]]
    """Scale -> seeds that were not run for every design."""


def across_seeds(table: ScoreTable, small: str, large: str) -> AcrossSeeds:
    """R^2 between the scales with equal seeds, with different ones and with their mean.

    Compared are the designs that both scales share, with the seeds that all of them have at that scale; seeds that
    were run for some of them only are left out, and named.

    Args:
        table: narrowed to one metric.
        small: scale.
        large: scale.
    """
    by_seed = [table.per_seed(scale) for scale in (small, large)]
    shared = sorted(set(by_seed[0].index) & set(by_seed[1].index))
    started = [grid.loc[shared].dropna(axis="columns", how="all") for grid in by_seed]
    full = [grid.dropna(axis="columns") for grid in started]
    left_out = {
        scale: tuple(int(str(seed)) for seed in some if seed not in every)
        for scale, some, every in zip((small, large), started, full, strict=True)
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
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
