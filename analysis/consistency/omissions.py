"""Warnings of a report: which data are left out of its parts, and why.

Warnings about the comparison itself are in caveats.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.consistency.caveats import abbreviated
from analysis.consistency.scaling import MIN_DESIGNS
from analysis.noise import FEWEST_ITEMS
from analysis.tables import factors_as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.consistency.answer import ItemScores, Report, Request
    from analysis.noise import AcrossSeeds
    from analysis.tables import ScoreTable

OPPOSITE_SPEARMAN, MIN_FOR_OPPOSITE = -0.5, 5
"""Spearman's correlation with the study's metric below which a metric may be a loss, and designs needed to say so."""


def notes(
    report: Report, table: ScoreTable, request: Request, seeds: AcrossSeeds, items: ItemScores | None
) -> Iterator[str]:
    """Warnings of a report beside those of its comparison.

    Args:
        report: the report, complete except for these warnings.
        table: the scores it was computed from.
        request: the request.
        seeds: R^2 across seeds, also where the report does not contain it.
        items: scores on each test item, of all designs that have them.
    """
    if request.without:
        yield f"left out on request: {', '.join(sorted(request.without))}"
    for scale, left_out in seeds.left_out.items():
        names = ", ".join(map(str, left_out))
        yield f"seeds left out at {scale} when seeds are paired, since not every design ran them: {names}"
    yield from _on_axes(report, table)
    yield from _on_metrics(report, table)
    yield from _on_scales(report, request)
    yield from _on_items(report, items)


def _on_axes(report: Report, table: ScoreTable) -> Iterator[str]:
    names = [point.design for point in report.consistency.points]
    if not table.factors.empty and (unknown := sorted(set(names) - set(factors_as_text(table.factors, names).index))):
        yield f"no axis values for {abbreviated(unknown)}: left out of the analyses of axes"
    if report.within and report.within.left_out:
        left_out = abbreviated(report.within.left_out)
        yield f"left out within {report.within_axis}, alone in their level or without a value: {left_out}"
    for axis in report.axes:
        if axis.confused:
            yield f"{axis.confused} designs left out of {axis.axis}: another design has the same values of all axes"


def _on_metrics(report: Report, table: ScoreTable) -> Iterator[str]:
    consistency, rows = report.consistency, report.metrics
    opposite = [
        row.metric
        for row in rows
        if row.with_metric is not None and row.with_metric < OPPOSITE_SPEARMAN and row.pair.n >= MIN_FOR_OPPOSITE
    ]
    if opposite:
        better = "lower" if consistency.lower_is_better else "higher"
        yield (
            f"order of designs opposite to {consistency.metric}, although {better} counts as better for all metrics of "
            f"a study: {', '.join(opposite)}; import losses as a separate study (ablate import --lower-is-better)"
        )
    if incomplete := [f"{row.metric} ({row.missing})" for row in rows if row.missing]:
        yield f"designs without a score, left out for that metric only: {', '.join(incomplete)}"
    dropped = table.dropped[table.dropped["modality"] == consistency.modality]
    named = (dropped["benchmark"] + "/" + dropped["category"]).value_counts()
    if nan := [f"{name} ({named[name]})" for name in sorted(named.index) if name != consistency.metric]:
        yield f"scores that are NaN, left out: {', '.join(nan)}"
    skipped = sorted({*table.metrics(consistency.modality), *named.index} - {row.metric for row in rows})
    if skipped:
        scales = f"both {consistency.small} and {consistency.large}"
        yield f"fewer than {MIN_DESIGNS} designs have a score at {scales}, not compared: {', '.join(skipped)}"


def _on_scales(report: Report, request: Request) -> Iterator[str]:
    scaling, curve = report.scaling, report.by_samples
    for reason in scaling.left_out:
        yield f"left out of the pairs of scales: {reason}"
    if scaling.fit and len({pair.n for pair in scaling.pairs if pair.large == scaling.large}) > 1:
        yield f"R2 with {scaling.large} is over different designs at different scales, which affects the trend"
    for reason in curve.left_out if curve else ():
        yield f"left out of the curve over training samples: {reason}"
    if request.noise is not None and report.three_way and report.three_way.source != "stated":
        yield f"the stated noise of {request.noise:g} points is not used for pairs of designs: seeds give an estimate"


def _on_items(report: Report, items: ItemScores | None) -> Iterator[str]:
    if items is None:
        return
    if unscored := sorted({point.design for point in report.consistency.points} - set(items.designs)):
        yield f"no scores by test item for {abbreviated(unscored)}: left out of the comparison of item halves"
    complete = len(items.of([point.design for point in report.consistency.points]).weight_I)
    if complete < len(items.weight_I):
        yield f"{len(items.weight_I) - complete} test items left out, not scored for every design at both scales"
    if report.items is None:
        yield (
            f"test items are not split in halves: this needs {FEWEST_ITEMS} items or more ({complete} here) "
            "and three designs with different scores"
        )
