"""Output of `ablate consistency`: text by section, --json and --csv."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ablate.cli.views.out import ERR, OUT, print_json, save_plot, short_number, table

if TYPE_CHECKING:
    from ablate.record import CheckedPromotion
    from analysis.consistency import Choice, Consistency, Pair, Report, SamplesCurve
    from analysis.numbers import Interval

_SOURCES = {"seeds": "the seeds", "items": "the test items", "stated": "the stated noise"}
MOST_ROWS = 24
"""Rows that are printed of a section; --json has all."""
MOST_PROMOTIONS = 3
"""Promotions whose predictions are printed, the latest; --json has all."""
_STATISTICS = (
    ("R2", "r2"),
    ("Spearman", "spearman"),
    ("Kendall tau-b", "kendall"),
    ("decision accuracy", "decision_accuracy"),
    ("slope", "slope"),
    ("intercept", "intercept"),
    ("RMSE", "rmse"),
)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Output options."""

    plot: Path | None
    as_json: bool
    as_csv: bool


def show_report(report: Report, promotions: Sequence[CheckedPromotion], output: Output) -> None:
    """Print a report, with the predictions of earlier promotions, and write its plot.

    Raises:
        UsageError: the plot cannot be written.
    """
    if output.plot is not None:
        from analysis.figures import report_figure

        save_plot(partial(report_figure, report), output.plot)
    if output.as_json:
        return print_json(report.to_json() | {"predictions": [_check_json(checked) for checked in promotions]})
    if output.as_csv:
        return print_csv(report)
    _print_main(report.consistency)
    _print_promoting(report.consistency)
    _print_influence(report)
    _print_axes(report)
    _print_noise(report)
    _print_scales(report)
    _print_metrics(report)
    for checked in promotions[:MOST_PROMOTIONS]:
        _print_check(checked)
    if len(promotions) > MOST_PROMOTIONS:
        OUT.print(f"\nand {len(promotions) - MOST_PROMOTIONS} earlier promotions (--json)")
    for warning in (*report.consistency.warnings, *report.warnings):
        ERR.print(f"note: {warning}", style="yellow")
    if output.plot is not None:
        ERR.print(f"plot: {output.plot}")
    return None


def _check_json(checked: CheckedPromotion) -> dict[str, Any]:
    about = {
        name: getattr(checked.promotion, name)
        for name in ("made_at", "policy", "prior", "prior_share", "scales", "spec", "is_blind")
    }
    return checked.check.to_json() | about


def _print_check(checked: CheckedPromotion) -> None:
    promotion, result = checked.promotion, checked.check
    day = datetime.fromtimestamp(promotion.made_at, UTC).strftime("%Y-%m-%d")
    blind = f", ignoring the scores at {promotion.large}" if promotion.is_blind else ""
    _head(f"predicted from {' and '.join(promotion.scales)} on {day}{blind}, observed at {promotion.large}")
    rows = table("design", "predicted", "+-", "observed", "", right=("predicted", "+-", "observed"))
    for o in result.outcomes[:MOST_ROWS]:
        inside = "within" if o.is_inside else "outside"
        rows.add_row(o.design, f"{o.predicted:.2f}", f"{o.half_width:.2f}", f"{o.observed:.2f}", inside)
    OUT.print(rows)
    total = len(result.outcomes)
    if total > MOST_ROWS:
        OUT.print(f"  and {total - MOST_ROWS} more (--json)")
    level = ", with the mean of the predictions set to that of the scores" if result.level is not None else ""
    OUT.print(f"  {result.inside} of {total} within the 95% interval{level}; RMSE {result.rmse:.2f} points")


def print_csv(report: Report) -> None:
    """Print one row for each compared design: scores, value of the fitted line, influence."""
    consistency = report.consistency
    small, large = consistency.small, consistency.large
    slope, intercept = consistency.slope, consistency.intercept
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = (f"score_{small}", f"score_{large}", f"line_{large}")
    writer.writerow(["design", *names, "leverage", "cooks_distance", "r2_without"])
    for p in consistency.points:
        line = None if slope is None or intercept is None else intercept + slope * p.x
        cells = (p.x, p.y, line, p.leverage, p.cooks_distance, p.r2_without)
        writer.writerow([p.design, *("" if cell is None else f"{cell:.12g}" for cell in cells)])


def _print_main(consistency: Consistency) -> None:
    small, large = consistency.small, consistency.large
    name = f"{consistency.study}: {small} -> {large}"
    direction = ", lower is better" if consistency.lower_is_better else ""
    metric = f"{consistency.metric} ({consistency.modality}{direction})"
    OUT.print(Text(f"{name}   {metric}, {consistency.n} designs", style="bold"))
    rows = table("", "value", "95% interval", right=("value",))
    for label, key in _STATISTICS:
        digits = 2 if key in ("intercept", "rmse") else 3
        value = getattr(consistency, key)
        interval = _range(consistency.intervals[key], digits)
        rows.add_row(label, f"{value:.{digits}f}" if value is not None else "undefined", interval)
    OUT.print(rows)
    slope, slope_se, intercept_se = consistency.slope, consistency.slope_se, consistency.intercept_se
    if slope is not None and slope_se is not None and consistency.prediction is not None:
        line = f"score at {large} = {slope:.3f} x score at {small} {consistency.intercept:+.2f}"
        errors = f"standard errors {slope_se:.3f} and {intercept_se:.2f}"
        OUT.print(f"fitted line: {line} ({errors}); a new design within {consistency.prediction:.2f} points (95%)")
    if consistency.spearman_p is not None:
        OUT.print(f"permutation test of Spearman's correlation: p = {consistency.spearman_p:.2g}")
    OUT.print(f"verdict: {consistency.verdict}")


def _print_promoting(consistency: Consistency) -> None:
    if not consistency.regret:
        return
    _head(f"promoting the k best designs of {consistency.small}, evaluated at {consistency.large}")
    numbers = ("k", "regret", "recall", "NDCG")
    rows = table("k", "regret", "expected regret", "recall", "expected recall", "NDCG", right=numbers)
    for k, lost in consistency.regret.items():
        mean = consistency.expected.get(k)
        regret = f"{mean.regret:.2f} ({_range(mean.regret_interval, 2)})" if mean else ""
        recall = f"{mean.recall:.2f} ({_range(mean.recall_interval, 2)})" if mean else ""
        observed = f"{consistency.recall[k]:.2f}"
        rows.add_row(str(k), f"{lost:.2f}", regret, observed, recall, f"{consistency.ndcg[k]:.3f}")
    OUT.print(rows)


def _print_influence(report: Report) -> None:
    consistency, lines = report.consistency, []
    if consistency.r2_leave_one_out:
        lines.append(f"without any single design: {_range(consistency.r2_leave_one_out, 3)}")
    if removed := [r for r in consistency.influential if r.r2 is not None]:
        steps = ", ".join(f"{r.design} {r.r2:.3f}" for r in removed)
        lines.append(f"without the most influential designs, removed one after another: {steps}")
    if report.within is not None:
        less = f", {len(report.within.left_out)} left out" if report.within.left_out else ""
        lines.append(f"within {report.within_axis}: {_number(report.within.r2)} ({report.within.n} designs{less})")
    if (rest := report.without_main_effects) is not None and rest.r2 is not None:
        lines.append(f"without the main effects of all axes: {rest.r2:.3f} ({rest.freedom} degrees of freedom)")
    if lines:
        _head("sensitivity of R2")
        for line in lines:
            OUT.print(f"  {line}")


def _print_axes(report: Report) -> None:
    axes = [axis for axis in report.axes if axis.choices]
    if not axes:
        return
    _head("does each conclusion transfer? effects in points relative to the baseline")
    _print_choices([choice for axis in axes for choice in axis.choices], report.consistency)
    for axis in axes:
        # A slope through effects that may all be zero would be noise.
        is_clear = any(c.small.interval and c.small.interval.low * c.small.interval.high > 0 for c in axis.choices)
        slope = f", slope {axis.slope:.2f}" if axis.slope is not None and is_clear else ""
        OUT.print(f"  {axis.axis}: both scales order {axis.sign_agreement:.0%} of {axis.pairs} pairs alike{slope}")
    if unpaired := [axis.axis for axis in report.axes if not axis.choices]:
        OUT.print(f"  axes without two designs that differ in nothing else: {', '.join(unpaired)}")
    for r in report.robustness:
        rho = "undefined" if r.spearman is None else f"{r.spearman:.3f}"
        OUT.print(
            f"  rankings at {r.scale} under {r.axis} {r.levels[0]} and {r.levels[1]}: Spearman {rho} ({r.n} designs)"
        )


def _print_choices(choices: Sequence[Choice], consistency: Consistency) -> None:
    small, large = consistency.small, consistency.large
    columns = ("axis", "choice", "baseline", "pairs", small, "95%", large, "95% ", "Holm p", "")
    rows = table(*columns, right=("pairs", small, large, "Holm p"))
    for c in choices[:MOST_ROWS]:
        effects = (
            f"{c.small.value:+.2f}",
            _range(c.small.interval, 1),
            f"{c.large.value:+.2f}",
            _range(c.large.interval, 1),
        )
        holm = "" if c.large.p_holm is None else f"{c.large.p_holm:.3f}"
        rows.add_row(_short(c.axis), _short(c.level), _short(c.baseline), str(c.pairs), *effects, holm, c.verdict)
    OUT.print(rows)
    if len(choices) > MOST_ROWS:
        OUT.print(f"  and {len(choices) - MOST_ROWS} more (--json)")


def _print_noise(report: Report) -> None:
    _head("noise")
    for noise in report.noise:
        if noise.sd is not None:
            reliability = "" if noise.reliability is None else f", reliability {noise.reliability:.3f}"
            reliability += f" ({_range(noise.reliability_interval, 2)})" if noise.reliability_interval else ""
            snr = "" if noise.signal_to_noise is None else f", signal to noise {noise.signal_to_noise:.1f}"
            sd = f"standard deviation between seeds {noise.sd:.2f} points"
            OUT.print(f"  {noise.scale}: {sd}, {noise.seeds_per_design:.2g} seeds per design{reliability}{snr}")
    _print_ceiling(report)
    if (across := report.across_seeds) is not None:
        same, different = _number(across.same_seeds), _number(across.different_seeds)
        OUT.print(
            f"  R2 with equal seeds {same}, different seeds {different}, seed means {_number(across.mean_of_seeds)}"
        )
    if (items := report.items) is not None:
        halves = f"same half {items.same_half:.3f}, different halves {items.different_halves:.3f}"
        OUT.print(f"  R2 on halves of {items.items} test items: {halves}")
    if (three := report.three_way) is not None:
        alike = "" if three.accuracy is None else f"; {three.accuracy:.1%} of them ordered alike at the large scale"
        decided = f"{three.decided} of {three.pairs} pairs resolved by {_SOURCES[three.source]}"
        OUT.print(f"  three-way: {decided} ({three.abstention:.0%} abstentions){alike}")
    _print_needed(report)


def _print_needed(report: Report) -> None:
    """Stability of the ranking; test items and designs needed for more precise results."""
    small, r2 = report.consistency.small, report.consistency.r2
    if (firm := report.stability) is not None:
        _, low, high = firm.ranks[0]
        OUT.print(
            f"  with other {' and '.join(firm.causes)} {firm.best} remains the best at {small} with probability "
            f"{firm.chance:.0%} (ranks {low} to {high} in 95% of repetitions)"
        )
    if report.items_needed is not None:
        OUT.print(f"  resolving a difference of {_points(report.resolution)} needs {report.items_needed:,} test items")
    if report.designs_needed is not None:
        interval = f"a 95% interval that reaches {report.half_width:g} below an R2 of {_number(r2)}"
        OUT.print(f"  {interval} needs {report.designs_needed} designs")


def _print_ceiling(report: Report) -> None:
    """Highest R2 that the noise allows; where seeds do not give the noise, that of a stated or assumed one."""
    limit = report.ceiling
    if limit is None:
        return
    seeds, difference = f"{report.seeds_needed} seeds per design", f"a difference of {_points(report.resolution)}"
    if limit.is_measured:
        r = "" if limit.disattenuated_r is None else f"; r without noise: {limit.disattenuated_r:.3f}"
        OUT.print(f"  highest R2 that the noise allows: {limit.r2:.3f}{r}")
        OUT.print(f"  resolving {difference} needs {seeds}")
        return
    scales = " and ".join(noise.scale for noise in report.noise if noise.sd is None)
    noise = " and ".join(f"{points:.3g}" for points in dict.fromkeys(limit.noise))
    OUT.print(f"  no design has two seeds at {scales}: the noise there, and its effect on R2, cannot be estimated")
    OUT.print(
        f"  with a noise of {noise} points R2 could be {limit.r2:.3f} at most, and resolving {difference} would need "
        f"{seeds}"
    )


def _print_scales(report: Report) -> None:
    scaling = report.scaling
    if len(scaling.pairs) > 1:
        scales = list(dict.fromkeys(scale for pair in scaling.pairs for scale in (pair.small, pair.large)))
        _head("R2 between scales")
        rows = table("small", *scales[1:], right=scales[1:])
        by_scales: dict[tuple[str, str], Pair] = {(pair.small, pair.large): pair for pair in scaling.pairs}
        for small in scales[:-1]:
            cells = [_number(by_scales[small, large].r2) if (small, large) in by_scales else "" for large in scales[1:]]
            rows.add_row(small, *cells)
        OUT.print(rows)
    if (fit := scaling.fit) is not None:
        trend = (
            f"R2 with {scaling.large} = {fit.slope:.2f} ln(size in billions) {fit.intercept:+.2f} ({fit.sizes} sizes)"
        )
        if fit.target_size is not None and fit.target_size < 1e15:
            out = ", extrapolated" if fit.is_extrapolated else ""
            trend += f"; {fit.target_r2:g} is expected at {short_number(fit.target_size)}{out}"
            trend += f" (95% interval {_range(fit.target_interval, 2)})" if fit.target_interval else ""
        OUT.print(f"  {trend}")
    if report.by_samples is not None:
        _print_samples(report.by_samples)


def _print_samples(curve: SamplesCurve) -> None:
    pair = f"{curve.small} with {curve.large} (trained on {curve.large_samples:,} samples)"
    _head(f"R2 of {pair}, by number of training samples")
    rows = table("samples", "R2", "95% interval", "lost against the last row", right=("samples", "R2"))
    for point in curve.points:
        rows.add_row(f"{point.samples:,}", _number(point.r2), _range(point.r2_interval, 3), _range(point.lost, 3))
    OUT.print(rows)
    if curve.levels_off is not None and curve.levels_off < curve.points[-1].samples:
        OUT.print(f"  levels off at {curve.levels_off:,} samples")
    else:
        OUT.print("  does not level off within these numbers of samples")


def _print_metrics(report: Report) -> None:
    if len(report.metrics) < 2:
        return
    _head("by benchmark and category")
    has_noise = any(row.signal_to_noise is not None for row in report.metrics)
    columns = (
        "",
        "n",
        "R2",
        "95% interval",
        "Spearman",
        "decision accuracy",
        *(("signal/noise",) if has_noise else ()),
    )
    rows = table(*columns, right=("n", "R2", "Spearman", "signal/noise"))
    for row in report.metrics[:MOST_ROWS]:
        p = row.pair
        cells = (str(p.n), _number(p.r2), _range(p.r2_interval, 2), _number(p.spearman), f"{p.decision_accuracy:.3f}")
        noise = "" if row.signal_to_noise is None else f"{row.signal_to_noise:.1f}"
        rows.add_row(row.metric, *cells, *((noise,) if has_noise else ()))
    OUT.print(rows)
    if len(report.metrics) > MOST_ROWS:
        OUT.print(f"  and {len(report.metrics) - MOST_ROWS} more (--json)")


def _head(text: str) -> None:
    OUT.print(Text(f"\n{text}", style="bold"))


def _range(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _points(value: float) -> str:
    return f"{value:g} point" if value == 1 else f"{value:g} points"


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}~"
