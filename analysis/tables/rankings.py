"""Designs at one scale: their ranking, and those that failed to learn."""

from __future__ import annotations

import pandas as pd

from analysis.tables.table import ScoreTable

OUTLIER_SDS = 3.0
"""Robust standard deviations below the median from which a design counts as collapsed."""
FEWEST_DESIGNS = 5
"""Designs below which none is called collapsed."""
_MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation, for normal scores


def ranking(table: ScoreTable, scale: str, metric: str | None = None, modality: str = "video") -> pd.DataFrame:
    """Designs at one scale, best first; equal means share the better rank and are sorted by name.

    Returns:
        Columns scale, rank, design, mean, sd (over seeds, NaN for a single one), seeds (their number), then the mean
        of every other category of the benchmark, under its full name `benchmark/category` (NaN where not scored).

    Raises:
        TableError: no such metric, or no trials at the scale.
    """
    chosen = table.select(metric, modality)
    frame = chosen.per_design(scale).drop(columns="samples")
    benchmark = chosen.metric.split("/", 1)[0]
    for name in table.metrics(modality):
        other = table.select(name, modality)
        if name.startswith(f"{benchmark}/") and name != chosen.metric and scale in other.scales:
            frame[name] = other.per_design(scale)["mean"]
    better = frame["mean"] * (1 if chosen.lower_is_better else -1)
    frame.insert(0, "rank", better.rank(method="min").astype("int64"))
    frame = frame.rename_axis("design").reset_index().sort_values(["rank", "design"], ignore_index=True)
    front = ["rank", "design"]
    frame = frame[front + [column for column in frame.columns if column not in front]]
    frame.insert(0, "scale", scale)
    return frame


def collapsed(table: ScoreTable, scale: str, metric: str | None = None, modality: str = "video") -> tuple[str, ...]:
    """Designs that failed to learn at a scale: worse than the median by more than 3 robust standard deviations.

    The robust standard deviation is 1.4826 times the median absolute deviation (Hampel's identifier, one-sided), which
    outliers cannot mask up to half of the designs. If more than half of them tie it is zero, and no design is reported.

    The rule uses scores alone and detects failures far from the rest of the table. On `apollo` it detects none: the
    weakest, v07 at 7B, lies 2.0 such deviations below the median, because the scores differ widely between the three
    data mixes; and v05, which is not one of the three that collapsed (v07, v14, v21), lies below two of them there, so
    no threshold on scores can separate them. Designs that are poor due to their data mix can be identified by their
    configs: pass them to `without`.
    """
    chosen = table.select(metric, modality)
    return far_below(chosen.per_design(scale)["mean"], lower_is_better=chosen.lower_is_better)


def far_below(mean: pd.Series[float], *, lower_is_better: bool) -> tuple[str, ...]:
    """The rule of `collapsed`, applied to scores by design; empty with fewer than `FEWEST_DESIGNS` designs."""
    if len(mean) < FEWEST_DESIGNS:
        return ()
    distance = mean - mean.median()
    robust_sd = _MAD_TO_SD * float(distance.abs().median())
    shortfall = distance * (1 if lower_is_better else -1)
    return tuple(str(design) for design in mean.index[shortfall > OUTLIER_SDS * robust_sd]) if robust_sd else ()
