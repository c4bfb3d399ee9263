"""Everything that a study can tell about two of its scales, in one answer: what `ablate consistency` shows.

Only gathers: each part is computed, explained and sourced where it is imported from. A part is None or empty where the
study has nothing for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.consistency import omissions
from analysis.consistency.answer import ItemScores, Report, Request
from analysis.consistency.comparison import TOO_FEW, compare
from analysis.consistency.effects import axes_consistency, robustness
from analysis.consistency.influence import within, without_main_effects
from analysis.consistency.scaling import by_metric, by_samples, every_pair
from analysis.noise import (
    FEWEST_ITEMS,
    Stability,
    ThreeWay,
    across_seeds,
    ceiling,
    half_from_items,
    half_from_noise,
    half_from_seeds,
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
    table: ScoreTable, asked: Request, *, all_budgets: ScoreTable | None = None, items: ItemScores | None = None
) -> Report:
    """Answer a request from the scores of one study.

    Args:
        table: all metrics and scales, of one training budget.
        asked: the request.
        all_budgets: the same study with all its budgets, if it has several.
        items: scores on each test item, if they are at hand.

    Raises:
        TableError: a scale, metric, axis, value or design that the study has not; too few designs.
    """
    small, large = asked.small, asked.large
    table, all_budgets = _without(table, asked.without), all_budgets and all_budgets.without(asked.without)
    found = compare(table, small, large, asked.metric, asked.modality)
    chosen = table.select(found.metric, asked.modality)
    names = [point.design for point in found.points]
    x_n, y_n = (np.array([getattr(point, axis) for point in found.points]) for axis in ("x", "y"))
    noise = noise_between_seeds(chosen, small), noise_between_seeds(chosen, large)
    most = ceiling(found.pearson, *noise, (float(x_n.var(ddof=1)), float(y_n.var(ddof=1))), asked.noise)
    several = all_budgets.select(found.metric, asked.modality) if all_budgets else None
    seeds, of_items = across_seeds(chosen, small, large), items.of(names) if items else None
    report = Report(
        consistency=found,
        noise=noise,
        ceiling=most,
        seeds_needed=seeds_for(asked.resolution, max(most.noise)),
        resolution=asked.resolution,
        items_needed=_items_needed(asked, of_items),
        designs_needed=designs_for(found.r2, asked.half_width) if found.r2 and found.r2 < 1 - 1e-9 else None,
        half_width=asked.half_width,
        stability=_stability(chosen, asked, names, most.noise[0], of_items),
        across_seeds=seeds if len(seeds.pairs) > 1 else None,
        warnings=(),
        three_way=_three_way(chosen, asked, names, of_items) if found.n >= TOO_FEW else None,
        items=item_halves(of_items.x_nI, of_items.y_nI, of_items.weight_I) if of_items else None,
        scaling=every_pair(chosen, large),
        metrics=by_metric(table, small, large, found.metric, asked.modality),
        by_samples=by_samples(several, small, large) if several else None,
        **_of_axes(chosen, asked, names, x_n, y_n),
    )
    return replace(report, warnings=tuple(omissions.notes(report, table, asked, seeds, items)))


def _stability(
    table: ScoreTable, asked: Request, names: list[str], noise: float, items: ItemScores | None
) -> Stability | None:
    """With the noise that seeds tell at the small scale, or the user states; an assumed one would be circular."""
    sign = -1.0 if table.lower_is_better else 1.0
    found = table.per_design(asked.small).loc[names]
    grid = table.per_seed(asked.small)
    is_known = asked.noise is not None or bool((grid.count(axis="columns") > 1).any())
    all_there = items is not None and list(items.designs) == names and len(items.weight_I) >= FEWEST_ITEMS
    return stability(
        names,
        sign * found["mean"].to_numpy(dtype=np.float64),
        noise / np.sqrt(found["seeds"].to_numpy(dtype=np.float64)) if is_known else None,
        (sign * items.x_nI, items.weight_I) if items is not None and all_there else None,
    )


def _items_needed(asked: Request, items: ItemScores | None) -> int | None:
    if items is None or len(items.weight_I) < FEWEST_ITEMS or len(items.designs) < TOO_FEW:
        return None
    half_nn = half_from_items(items.x_nI, items.weight_I)
    smallest = float(np.median(half_nn[np.triu_indices(len(half_nn), k=1)]))
    return items_for(asked.resolution, smallest, len(items.weight_I))


def _of_axes(table: ScoreTable, asked: Request, names: list[str], x_n: Floats, y_n: Floats) -> dict[str, Any]:
    """The parts that need to know what the designs are."""
    inside = within(names, x_n, y_n, _factor(table, asked.within)) if asked.within else None
    parts = {"within": inside, "within_axis": asked.within}
    if table.factors.empty:
        return parts | {"without_main_effects": None, "axes": (), "robustness": ()}
    return parts | {
        "without_main_effects": without_main_effects(names, x_n, y_n, table.factors),
        "axes": axes_consistency(table, asked.small, asked.large, asked.baselines, asked.noise),
        "robustness": robustness(table, asked.small),
    }


def _without(table: ScoreTable, designs: tuple[str, ...]) -> ScoreTable:
    there = sorted(set(table.frame["design"]))
    if strangers := [design for design in designs if design not in there]:
        raise TableError(f"cannot leave out {strangers[0]!r}: the study holds {', '.join(there)}")
    return table.without(designs) if designs else table


def _factor(table: ScoreTable, axis: str | None) -> pd.Series[Any]:
    if axis not in table.factors:
        raise TableError(f"no axis {axis!r}; there are: {', '.join(map(str, table.factors)) or 'none'}")
    return table.factors[axis]


def _three_way(table: ScoreTable, asked: Request, names: list[str], items: ItemScores | None) -> ThreeWay | None:
    """By seeds where they tell the noise, else by what the user states, else by the test items."""
    grid = paired_seeds(table.per_seed(asked.small).loc[names])
    x_n, y_n = (table.per_design(scale)["mean"].loc[names].to_numpy() for scale in (asked.small, asked.large))
    half_nn = half_from_seeds(grid)
    if half_nn is not None:
        # The means of the very seeds that the error is taken from.
        return three_way(
            np.array([agreement.twelve_digits(mean) for mean in grid.mean(axis="columns")]), y_n, half_nn, "seeds"
        )
    if asked.noise is not None:
        seeds_n = np.asarray(grid.count(axis="columns"), dtype=np.float64)
        return three_way(x_n, y_n, half_from_noise(asked.noise, seeds_n), "stated")
    if items is not None and list(items.designs) == names and len(items.weight_I) >= FEWEST_ITEMS:
        return three_way(x_n, y_n, half_from_items(items.x_nI, items.weight_I), "items")
    return None
