"""Everything that a study can tell about two of its scales, in one answer: what `ablate consistency` shows.

Only gathers: each part is computed, explained and sourced where it is imported from. A part is None or empty where the
study has nothing for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import effects
from analysis.consistency import TOO_FEW, Consistency, compare, without
from analysis.decisions import Source, ThreeWay, half_from_items, half_from_noise, half_from_seeds, three_way
from analysis.effects import AxisConsistency, Robustness, axes_consistency, robustness
from analysis.influence import Adjusted, within, without_main_effects
from analysis.items import ItemHalves, item_halves
from analysis.noise import AcrossSeeds, Ceiling, SeedNoise, across_seeds, ceiling, noise_between_seeds, seeds_for
from analysis.scaling import BudgetCurve, MetricRow, Scaling, by_budget, by_metric, every_pair
from analysis.table import ScoreTable, TableError

if TYPE_CHECKING:
    from analysis.agreement import Floats

AGAINST = -0.5
"""Spearman's correlation with the study's metric below which a metric is asked whether it is a loss."""


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
    """Points: a difference for which the seeds needed are told."""


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Mean scores on each test item, of designs that have them at both scales; see items.py."""

    designs: tuple[str, ...]
    x_nI: Floats  # noqa: N815 - the legend's letters
    y_nI: Floats  # noqa: N815
    weight_I: Floats  # noqa: N815


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
    ceiling: Ceiling | None
    seeds_needed: int
    """Of each of two designs, for a difference of `resolution` points, at the noisier scale."""
    resolution: float
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
        parts = {
            name: None if (part := getattr(self, name)) is None else asdict(part)
            for name in ("within", "without_main_effects", "ceiling", "across_seeds", "items", "scaling", "budget")
        }
        told = self.three_way
        return self.consistency.to_json() | parts | {
            "within_axis": self.within_axis,
            "axes": effects.to_json(self.axes),
            "three_way": None if told is None else asdict(told) | {"abstention": told.abstention},
            "noise": [asdict(noise) for noise in self.noise],
            "seeds_needed": self.seeds_needed,
            "resolution": self.resolution,
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
    table = _without(table, asked.without)
    found = compare(table, small, large, asked.metric, asked.modality)
    if asked.without:
        found = without(found, ())
    chosen = table.select(found.metric, asked.modality)
    names = [point.design for point in found.points]
    x_n, y_n = (np.array([getattr(point, axis) for point in found.points]) for axis in ("x", "y"))
    noise = (noise_between_seeds(chosen, small), noise_between_seeds(chosen, large))
    metrics = by_metric(table, small, large, found.metric, asked.modality)
    several = all_budgets.select(found.metric, asked.modality) if all_budgets else None
    is_known = not chosen.factors.empty
    seeds = across_seeds(chosen, small, large)
    return Report(
        consistency=found,
        within=within(names, x_n, y_n, _factor(chosen, asked.within)) if asked.within else None,
        within_axis=asked.within,
        without_main_effects=without_main_effects(names, x_n, y_n, chosen.factors) if is_known else None,
        axes=axes_consistency(chosen, small, large, asked.baselines, asked.noise) if is_known else (),
        three_way=_three_way(chosen, asked, names, items) if found.n >= TOO_FEW else None,
        noise=noise,
        ceiling=ceiling(found.pearson, *noise, (float(x_n.var(ddof=1)), float(y_n.var(ddof=1)))),
        seeds_needed=seeds_for(asked.resolution, max(one.sd or asked.noise or 0.0 for one in noise)),
        resolution=asked.resolution,
        across_seeds=seeds if len(seeds.pairs) > 1 else None,
        items=item_halves(items.x_nI, items.y_nI, items.weight_I) if items else None,
        robustness=robustness(chosen, small) if is_known else (),
        scaling=every_pair(chosen, large),
        metrics=metrics,
        budget=by_budget(several, small, large) if several else None,
        warnings=tuple(_warnings(metrics, seeds, found.lower_is_better)),
    )


def _without(table: ScoreTable, designs: tuple[str, ...]) -> ScoreTable:
    there = set(table.frame["design"])
    if strangers := [design for design in designs if design not in there]:
        raise TableError(f"cannot leave out {strangers[0]!r}: the study holds {', '.join(sorted(there))}")
    kept = table.frame[~table.frame["design"].isin(designs)]
    return ScoreTable(kept, lower_is_better=table.lower_is_better, factors=table.factors) if designs else table


def _factor(table: ScoreTable, axis: str | None) -> Any:
    if axis not in table.factors:
        raise TableError(f"no axis {axis!r}; there are: {', '.join(table.factors) or 'none'}")
    return table.factors[axis]


def _three_way(table: ScoreTable, asked: Request, names: list[str], items: ItemScores | None) -> ThreeWay | None:
    """By seeds where they tell the noise, else by what the user states, else by the test items."""
    grid = table.per_seed(asked.small).loc[names]
    x_n, y_n = (table.per_design(scale)["mean"].loc[names].to_numpy() for scale in (asked.small, asked.large))
    half_nn, source = half_from_seeds(grid), "seeds"
    if half_nn is None and asked.noise is not None:
        half_nn, source = half_from_noise(asked.noise, grid.count(axis=1).to_numpy(dtype=np.float64)), "stated"
    elif half_nn is None and items is not None and set(items.designs) == set(names):
        order = [items.designs.index(name) for name in names]
        half_nn, source = half_from_items(items.x_nI[order], items.weight_I), "items"
    return None if half_nn is None else three_way(x_n, y_n, half_nn, _source(source))


def _source(name: str) -> Source:
    match name:
        case "seeds" | "items" | "stated":
            return name
    raise AssertionError(name)


def _warnings(metrics: tuple[MetricRow, ...], seeds: AcrossSeeds, lower_is_better: bool) -> list[str]:
    notes = [
        f"seeds left out at {scale} when seeds are paired, not run for every design: {', '.join(map(str, gone))}"
        for scale, gone in seeds.left_out.items()
    ]
    if against := [row.metric for row in metrics if row.with_metric is not None and row.with_metric < AGAINST]:
        way = "lower" if lower_is_better else "higher"
        notes.append(
            f"{', '.join(against)} runs against {metrics[0].metric}, though {way} is taken to be better for both; "
            "keep scores and losses in studies of their own (ablate import --lower-is-better)"
        )
    if short := {row.metric: row.missing for row in metrics if row.missing}:
        listed = ", ".join(f"{name} ({number})" for name, number in short.items())
        notes.append(f"designs without a score, left out for that metric alone: {listed}")
    return notes
