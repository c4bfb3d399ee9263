"""What a report leaves out or could not tell, in words: nothing is dropped in silence.

What concerns the two score lists themselves is in `Consistency.warnings`; here are the other parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.consistency.scaling import FEWEST_DESIGNS
from analysis.noise import FEWEST_ITEMS
from analysis.tables import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analysis.consistency.answer import ItemScores, Report, Request
    from analysis.noise import AcrossSeeds
    from analysis.tables import ScoreTable

AGAINST, FEWEST_AGAINST = -0.5, 5
"""Spearman's correlation with the study's metric, of so many designs, below which a metric may be a loss."""


def notes(
    report: Report, table: ScoreTable, asked: Request, seeds: AcrossSeeds, items: ItemScores | None
) -> Iterator[str]:
    """Everything to be said of a report beside its comparison.

    Args:
        report: all of it, but for these notes.
        table: what it was made from.
        asked: what was asked for.
        seeds: R^2 across seeds, even where the report has no use for it.
        items: scores on each test item, of whichever designs have them.
    """
    if asked.without:
        yield f"left out on request: {', '.join(sorted(asked.without))}"
    for scale, gone in seeds.left_out.items():
        yield f"seeds left out at {scale} when seeds are paired, not run for every design: {', '.join(map(str, gone))}"
    yield from _of_axes(report, table)
    yield from _of_metrics(report, table)
    yield from _of_scales(report, asked)
    yield from _of_items(report, items)


def _of_axes(report: Report, table: ScoreTable) -> Iterator[str]:
    names = [point.design for point in report.consistency.points]
    if not table.factors.empty and (strange := sorted(set(names) - set(told(table.factors, names).index))):
        yield f"no axis is known of {_some(strange)}: left out wherever axes are looked at"
    if report.within and report.within.left_out:
        gone = _some(report.within.left_out)
        yield f"left out within {report.within_axis}, alone in their level or without one: {gone}"
    for axis in report.axes:
        if axis.confused:
            yield f"{axis.confused} designs left out of {axis.axis}: the axes do not tell them from another design"


def _of_metrics(report: Report, table: ScoreTable) -> Iterator[str]:
    found, rows = report.consistency, report.metrics
    against = [
        row.metric
        for row in rows
        if row.with_metric is not None and row.with_metric < AGAINST and row.pair.n >= FEWEST_AGAINST
    ]
    if against:
        way = "lower" if found.lower_is_better else "higher"
        yield (
            f"{', '.join(against)} runs against {found.metric}, though {way} is taken to be better for both; "
            "keep scores and losses in studies of their own (ablate import --lower-is-better)"
        )
    if short := [f"{row.metric} ({row.missing})" for row in rows if row.missing]:
        yield f"designs without a score, left out for that metric alone: {', '.join(short)}"
    dropped = table.dropped[table.dropped["modality"] == found.modality]
    named = (dropped["benchmark"] + "/" + dropped["category"]).value_counts()
    if nan := [f"{name} ({named[name]})" for name in sorted(named.index) if name != found.metric]:
        yield f"scores that are NaN, left out: {', '.join(nan)}"
    asked_for = sorted({*table.metrics(found.modality), *named.index} - {row.metric for row in rows})
    if asked_for:
        scales = f"both {found.small} and {found.large}"
        yield f"fewer than {FEWEST_DESIGNS} designs have a score at {scales}, not compared: {', '.join(asked_for)}"


def _of_scales(report: Report, asked: Request) -> Iterator[str]:
    scaling, curve = report.scaling, report.by_samples
    for reason in scaling.left_out:
        yield f"not among the pairs of scales: {reason}"
    if scaling.fit and len({pair.n for pair in scaling.pairs if pair.large == scaling.large}) > 1:
        yield f"R2 with {scaling.large} is over other designs for some scales than for others: the trend mixes both"
    for reason in curve.left_out if curve else ():
        yield f"not in the curve over training budgets: {reason}"
    if asked.noise is not None and report.three_way and report.three_way.source != "stated":
        yield f"the stated noise of {asked.noise:g} points is not used for pairs of designs: seeds tell it"


def _of_items(report: Report, items: ItemScores | None) -> Iterator[str]:
    if items is None:
        return
    if lacking := sorted({point.design for point in report.consistency.points} - set(items.designs)):
        yield f"no scores on each test item for {_some(lacking)}: left out where items are split in halves"
    answered = len(items.of([point.design for point in report.consistency.points]).weight_I)
    if answered < len(items.weight_I):
        yield f"{len(items.weight_I) - answered} test items left out, not scored for every design at both scales"
    if report.items is None:
        yield (
            f"test items not split in halves: that takes {FEWEST_ITEMS} items or more ({answered} here), "
            "and three designs with unlike scores"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
