"""The consistency report of two scales of a study: what `ablate consistency` shows.

This module only assembles; each part is computed and documented in the module it is imported from. A part is None or
empty where the study has no data for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.consistency import omissions
from analysis.consistency.answer import ItemScores, Report, Request
from analysis.consistency.caveats import MIN_FOR_VERDICT
from analysis.consistency.comparison import Consistency, compare
from analysis.consistency.effects import axes_consistency, robustness
from analysis.consistency.influence import within, without_main_effects
from analysis.consistency.scaling import by_metric, by_samples, every_pair
from analysis.noise import (
    FEWEST_ITEMS,
    Stability,
    ThreeWay,
    across_seeds,
    ceiling,
    half_widths_from_items,
    half_widths_from_noise,
    half_widths_from_seeds,
    item_halves,
    items_for,
    noise_between_seeds,
    paired_seeds,
    seeds_for,
    stability,
    three_way,
)
from analysis.numbers import agreement, designs_for
from analysis.tables import ScoreTable, TableError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.numbers import Floats


def study_report(
    table: ScoreTable, request: Request, *, all_samples: ScoreTable | None = None, items: ItemScores | None = None
) -> Report:
    """Compute the consistency report of one study.

    Args:
        table: all metrics and scales, with one number of training samples at each scale.
        request: what to report.
        all_samples: the same study with all its numbers of training samples, if it has several.
        items: scores on each test item, if available.

    Raises:
        TableError: a requested scale, metric, axis, value or design does not exist, or too few designs are comparable.
    """
    small, large = request.small, request.large
    table, all_samples = _without(table, request.without), all_samples and all_samples.without(request.without)
    consistency = compare(table, small, large, request.metric, request.modality)
    chosen = table.select(consistency.metric, request.modality)
    curves = all_samples.select(consistency.metric, request.modality) if all_samples else None
    seeds, item_scores = across_seeds(chosen, small, large), items.of(_names(consistency)) if items else None
    r2 = consistency.r2
    report = Report(
        consistency=consistency,
        resolution=request.resolution,
        designs_needed=designs_for(r2, request.half_width) if r2 and r2 < 1 - 1e-9 else None,
        half_width=request.half_width,
        across_seeds=seeds if len(seeds.pairs) > 1 else None,
        warnings=(),
        scaling=every_pair(chosen, large),
        metrics=by_metric(table, small, large, consistency.metric, request.modality),
        by_samples=by_samples(curves, small, large) if curves else None,
        **_noise_parts(chosen, request, consistency, item_scores),
        **_axis_parts(chosen, request, consistency),
    )
    return replace(report, warnings=tuple(omissions.notes(report, table, request, seeds, items)))


def _names(consistency: Consistency) -> list[str]:
    return [point.design for point in consistency.points]


def _scores(consistency: Consistency) -> tuple[Floats, Floats]:
    """x_n and y_n of the compared designs."""
    x_n, y_n = (np.array([getattr(point, axis) for point in consistency.points]) for axis in ("x", "y"))
    return x_n, y_n


def _noise_parts(
    table: ScoreTable, request: Request, consistency: Consistency, items: ItemScores | None
) -> dict[str, Any]:
    """The fields of `Report` about noise between seeds and about test items."""
    names, (x_n, y_n) = _names(consistency), _scores(consistency)
    noise = noise_between_seeds(table, request.small), noise_between_seeds(table, request.large)
    variances = float(x_n.var(ddof=1)), float(y_n.var(ddof=1))
    limit = ceiling(consistency.pearson, *noise, variances, request.noise)
    return {
        "noise": noise,
        "ceiling": limit,
        "seeds_needed": seeds_for(request.resolution, max(limit.noise)),
        "items_needed": _items_needed(request, items),
        "stability": _stability(table, request, names, limit.noise[0], items),
        "three_way": _three_way(table, request, names, items) if consistency.n >= MIN_FOR_VERDICT else None,
        "items": item_halves(items.x_nI, items.y_nI, items.weight_I) if items else None,
    }


def _axis_parts(table: ScoreTable, request: Request, consistency: Consistency) -> dict[str, Any]:
    """The fields of `Report` that need the axes of the designs."""
    names, (x_n, y_n) = _names(consistency), _scores(consistency)
    adjusted = within(names, x_n, y_n, _factor(table, request.within)) if request.within else None
    parts = {"within": adjusted, "within_axis": request.within}
    if table.factors.empty:
        return parts | {"without_main_effects": None, "axes": (), "robustness": ()}
    return parts | {
        "without_main_effects": without_main_effects(names, x_n, y_n, table.factors),
        "axes": axes_consistency(table, request.small, request.large, request.baselines, request.noise),
        "robustness": robustness(table, request.small),
    }


def _stability(
    table: ScoreTable, request: Request, names: list[str], noise: float, items: ItemScores | None
) -> Stability | None:
    """With the noise between seeds at the small scale, or the stated one; an assumed one would be circular."""
    sign = -1.0 if table.lower_is_better else 1.0
    scores = table.per_design(request.small).loc[names]
    grid = table.per_seed(request.small)
    has_noise = request.noise is not None or bool((grid.count(axis="columns") > 1).any())
    return stability(
        names,
        sign * scores["mean"].to_numpy(dtype=np.float64),
        noise / np.sqrt(scores["seeds"].to_numpy(dtype=np.float64)) if has_noise else None,
        (sign * items.x_nI, items.weight_I) if items is not None and _is_complete(items, names) else None,
    )


def _is_complete(items: ItemScores, names: list[str]) -> bool:
    """Whether all compared designs have scores on enough test items."""
    return list(items.designs) == names and len(items.weight_I) >= FEWEST_ITEMS


def _items_needed(request: Request, items: ItemScores | None) -> int | None:
    """Test items to resolve a difference of `request.resolution` points, by the median noise of a pair of designs."""
    if items is None or len(items.weight_I) < FEWEST_ITEMS or len(items.designs) < MIN_FOR_VERDICT:
        return None
    half_nn = half_widths_from_items(items.x_nI, items.weight_I)
    smallest = float(np.median(half_nn[np.triu_indices(len(half_nn), k=1)]))
    return items_for(request.resolution, smallest, len(items.weight_I))


def _without(table: ScoreTable, designs: tuple[str, ...]) -> ScoreTable:
    existing = sorted(set(table.frame["design"]))
    if unknown := [design for design in designs if design not in existing]:
        raise TableError(f"cannot leave out {unknown[0]!r}: the designs of the study are {', '.join(existing)}")
    return table.without(designs) if designs else table


def _factor(table: ScoreTable, axis: str | None) -> pd.Series[Any]:
    if axis not in table.factors:
        raise TableError(f"no axis {axis!r}; there are: {', '.join(map(str, table.factors)) or 'none'}")
    return table.factors[axis]


def _three_way(table: ScoreTable, request: Request, names: list[str], items: ItemScores | None) -> ThreeWay | None:
    """By the noise between seeds where there are several, else the stated one, else that over test items."""
    grid = paired_seeds(table.per_seed(request.small).loc[names])
    x_n, y_n = (table.per_design(scale)["mean"].loc[names].to_numpy() for scale in (request.small, request.large))
    half_nn = half_widths_from_seeds(grid)
    if half_nn is not None:
        # The means are over the same seeds as the error.
        return three_way(
            np.array([agreement.twelve_digits(mean) for mean in grid.mean(axis="columns")]), y_n, half_nn, "seeds"
        )
    if request.noise is not None:
        seeds_n = np.asarray(grid.count(axis="columns"), dtype=np.float64)
        return three_way(x_n, y_n, half_widths_from_noise(request.noise, seeds_n), "stated")
    if items is not None and _is_complete(items, names):
        return three_way(x_n, y_n, half_widths_from_items(items.x_nI, items.weight_I), "items")
    return None
