"""Everything that a study can tell about two of its scales, in one answer: what `ablate consistency` shows.

Only gathers: each part is computed, explained and sourced where it is imported from. A part is None or empty where the
study has nothing for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import agreement, effects, omissions
from analysis.consistency import TOO_FEW, Consistency, compare
from analysis.decisions import (
    ThreeWay,
    half_from_items,
    half_from_noise,
    half_from_seeds,
    items_for,
    paired_seeds,
    three_way,
)
from analysis.effects import AxisConsistency, Robustness, axes_consistency, robustness
from analysis.influence import Adjusted, within, without_main_effects
from analysis.items import FEWEST_ITEMS, ItemHalves, item_halves
from analysis.noise import AcrossSeeds, Ceiling, SeedNoise, across_seeds, ceiling, noise_between_seeds, seeds_for
from analysis.scaling import BudgetCurve, MetricRow, Scaling, by_budget, by_metric, every_pair
from analysis.stability import Stability, stability
from analysis.table import ScoreTable, TableError
from analysis.uncertainty import designs_for

if TYPE_CHECKING:
    import pandas as pd

    from analysis.agreement import Floats


_PARTS = ("within", "without_main_effects", "ceiling", "across_seeds", "stability", "items", "scaling", "budget")
_NUMBERS = ("seeds_needed", "items_needed", "designs_needed", "resolution", "half_width")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a study."""

    small: str
    large: str
    metric: str | None = None
    modality: str = "video"
    without: tuple[str, ...] = ()
    """Designs to leave out."""
    within: str | None = None
    """An axis: R^2 within its levels."""
    baselines: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the value that its other values are compared with."""
    noise: float | None = None
    """Standard deviation of one run in points, where no seeds tell it."""
    resolution: float = 1.0
    """Points: a difference for which the seeds and test items needed are told."""
    half_width: float = 0.1
    """Of R^2: how far its interval may reach down, for the designs needed."""

    def __post_init__(self) -> None:
        for name in ("noise", "resolution"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TableError(f"{name} is {value:g} points: it must be a number above 0")
        if not 0 < self.half_width < 1:
            raise TableError(f"half_width is {self.half_width:g}: R2 is between 0 and 1, and so must it be")


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Mean scores on each test item, of designs that have them at both scales; see items.py."""

    designs: tuple[str, ...]
    x_nI: Floats
    y_nI: Floats
    weight_I: Floats

    def __post_init__(self) -> None:
        scores = (self.x_nI, self.y_nI)
        if any(score_nI.shape != (len(self.designs), len(self.weight_I)) for score_nI in scores):
            raise TableError("scores on test items: one for each design and item is needed at both scales")

    def of(self, names: Sequence[str]) -> ItemScores:
        """Those of some designs, in the order given, on the items that all of these answered at both scales.

        Designs without scores are passed over.
        """
        there = [name for name in names if name in self.designs]
        rows = [self.designs.index(name) for name in there]
        x_nI, y_nI = self.x_nI[rows], self.y_nI[rows]
        known_I = np.isfinite(x_nI).all(axis=0) & np.isfinite(y_nI).all(axis=0) & (self.weight_I > 0)
        return ItemScores(tuple(there), x_nI[:, known_I], y_nI[:, known_I], self.weight_I[known_I])


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer, part by part."""

    consistency: Consistency
    within: Adjusted | None
    within_axis: str | None
    without_main_effects: Adjusted | None
    """None for designs whose axes are not known."""
    axes: tuple[AxisConsistency, ...]
    three_way: ThreeWay | None
    """None where neither seeds, nor items, nor the user tell the noise."""
    noise: tuple[SeedNoise, SeedNoise]
    ceiling: Ceiling
    seeds_needed: int
    """Of each of two designs, for a difference of `resolution` points, at the noisier scale; by `ceiling.noise`."""
    resolution: float
    items_needed: int | None
    """Test items for a difference of `resolution` points, the seeds as they are; None without answers to each."""
    designs_needed: int | None
    """Designs with which the interval of R^2, were it as it is, would reach down by `half_width`; None at 0 or 1."""
    half_width: float
    stability: Stability | None
    """None where neither test items nor noise are known."""
    across_seeds: AcrossSeeds | None
    """None with one seed at both scales."""
    items: ItemHalves | None
    robustness: tuple[Robustness, ...]
    scaling: Scaling
    metrics: tuple[MetricRow, ...]
    budget: BudgetCurve | None
    warnings: tuple[str, ...]
    """Beside those of `consistency`."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: the comparison's own fields on top, the other parts by name."""
        parts = {name: None if (part := getattr(self, name)) is None else asdict(part) for name in _PARTS}
        told = self.three_way
        return self.consistency.to_json() | parts | {
            "within_axis": self.within_axis,
            "axes": effects.to_json(self.axes),
            "three_way": None if told is None else asdict(told) | {"abstention": told.abstention},
            "noise": [asdict(noise) for noise in self.noise],
            **{name: getattr(self, name) for name in _NUMBERS},
            "robustness": [asdict(found) for found in self.robustness],
            "metrics": [asdict(row) for row in self.metrics],
            "warnings": [*self.consistency.warnings, *self.warnings],
        }  # fmt: skip


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
        budget=by_budget(several, small, large) if several else None,
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
