"""What people see of `ablate consistency`, part by part, and its --json and --csv twins."""

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
    from analysis.consistency import Consistency, Effect, Pair, Report
    from analysis.numbers import Interval

_SOURCES = {"seeds": "their seeds", "items": "the test items", "stated": "the stated noise"}
MOST_ROWS = 24
"""Rows of a section that are printed; --json has all."""
MOST_HELD = 3
"""Promotions that are held against their outcome, the latest; --json has all."""
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
    """How the answer is wanted."""

    plot: Path | None
    as_json: bool
    as_csv: bool


def show_report(report: Report, held: Sequence[CheckedPromotion], output: Output) -> None:
    """Print all parts that the study has something for."""
    if output.plot is not None:
        from analysis.figures import report_figure

        save_plot(partial(report_figure, report), output.plot)
    if output.as_json:
        return print_json(report.to_json() | {"foretold": [_held_json(one) for one in held]})
    if output.as_csv:
        return print_csv(report)
    _print_main(report.consistency)
    _print_promoting(report.consistency)
    _print_influence(report)
    _print_axes(report)
    _print_noise(report)
    _print_scales(report)
    _print_metrics(report)
    for one in held[:MOST_HELD]:
        _print_held(one)
    if len(held) > MOST_HELD:
        OUT.print(f"\nand {len(held) - MOST_HELD} earlier promotions (--json)")
    for warning in (*report.consistency.warnings, *report.warnings):
        ERR.print(f"note: {warning}", style="yellow")
    if output.plot is not None:
        ERR.print(f"plot: {output.plot}")
    return None


def _held_json(one: CheckedPromotion) -> dict[str, Any]:
    about = {
        name: getattr(one.promotion, name)
        for name in ("made_at", "policy", "prior", "prior_share", "scales", "spec", "is_blind")
    }
    return one.check.to_json() | about


def _print_held(one: CheckedPromotion) -> None:
    promotion, found = one.promotion, one.check
    day = datetime.fromtimestamp(promotion.made_at, UTC).strftime("%Y-%m-%d")
    blind = ", as if none were known there" if promotion.is_blind else ""
    _head(f"foretold from {' and '.join(promotion.scales)} on {day}{blind}, observed at {promotion.large}")
    rows = table("design", "foretold", "+-", "observed", "", right=("foretold", "+-", "observed"))
    for o in found.outcomes[:MOST_ROWS]:
        inside = "within" if o.is_inside else "outside"
        rows.add_row(o.design, f"{o.predicted:.2f}", f"{o.half_width:.2f}", f"{o.observed:.2f}", inside)
    OUT.print(rows)
    if len(found.outcomes) > MOST_ROWS:
        OUT.print(f"  and {len(found.outcomes) - MOST_ROWS} more (--json)")
    level = ", once their level was taken from the scores" if found.level is not None else ""
    OUT.print(f"  {found.inside} of {len(found.outcomes)} within the 95% interval{level}; RMSE {found.rmse:.2f} points")


def print_csv(report: Report) -> None:
    """A row for each design that was compared: scores, prediction by the line, influence."""
    found = report.consistency
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = (f"score_{found.small}", f"score_{found.large}", f"line_{found.large}")
    writer.writerow(["design", *names, "leverage", "cooks_distance", "r2_without"])
    for p in found.points:
        line = None if found.slope is None or found.intercept is None else found.intercept + found.slope * p.x
        cells = (p.x, p.y, line, p.leverage, p.cooks_distance, p.r2_without)
        writer.writerow([p.design, *("" if cell is None else f"{cell:.12g}" for cell in cells)])


def _print_main(found: Consistency) -> None:
    name = f"{found.study}: {found.small} -> {found.large}"
    direction = ", lower is better" if found.lower_is_better else ""
    OUT.print(Text(f"{name}   {found.metric} ({found.modality}{direction}), {found.n} designs", style="bold"))
    rows = table("", "value", "95% interval", right=("value",))
    for label, key in _STATISTICS:
        digits = 2 if key in ("intercept", "rmse") else 3
        value = getattr(found, key)
        rows.add_row(
            label, f"{value:.{digits}f}" if value is not None else "undefined", _told(found.intervals[key], digits)
        )
    OUT.print(rows)
    if found.slope is not None and found.slope_se is not None and found.prediction is not None:
        line = f"score at {found.large} = {found.slope:.3f} x score at {found.small} {found.intercept:+.2f}"
        errors = f"standard errors {found.slope_se:.3f} and {found.intercept_se:.2f}"
        OUT.print(f"fitted line: {line} ({errors}); a new design within {found.prediction:.2f} points (95%)")
    if found.spearman_p is not None:
        OUT.print(
            f"shuffled designs would agree as well with a chance of {found.spearman_p:.2g} (permutation, Spearman)"
        )
    OUT.print(f"verdict: {found.verdict}")


def _print_promoting(found: Consistency) -> None:
    if not found.regret:
        return
    _head(f"promoting the k best of {found.small}, seen at {found.large}")
    numbers = ("k", "regret", "recall", "NDCG")
    rows = table("k", "regret", "expected regret", "recall", "expected recall", "NDCG", right=numbers)
    for k, lost in found.regret.items():
        mean = found.expected.get(k)
        regret = f"{mean.regret:.2f} ({_told(mean.regret_interval, 2)})" if mean else ""
        recall = f"{mean.recall:.2f} ({_told(mean.recall_interval, 2)})" if mean else ""
        rows.add_row(str(k), f"{lost:.2f}", regret, f"{found.recall[k]:.2f}", recall, f"{found.ndcg[k]:.3f}")
    OUT.print(rows)


def _print_influence(report: Report) -> None:
    found, told = report.consistency, []
    if found.r2_leave_one_out:
        told.append(f"without any one design {_told(found.r2_leave_one_out, 3)}")
    if removed := [r for r in found.influential if r.r2 is not None]:
        steps = ", ".join(f"{r.design} {r.r2:.3f}" for r in removed)
        told.append(f"without the most influential, one after another: {steps}")
    if report.within is not None:
        less = f", {len(report.within.left_out)} designs left out" if report.within.left_out else ""
        told.append(f"within {report.within_axis} {_number(report.within.r2)} ({report.within.n} designs{less})")
    if (rest := report.without_main_effects) is not None and rest.r2 is not None:
        told.append(f"once each axis had its own effect {rest.r2:.3f} ({rest.freedom} degrees of freedom left)")
    if told:
        _head("what R2 rests on")
        for line in told:
            OUT.print(f"  {line}")


def _print_axes(report: Report) -> None:
    shown = [axis for axis in report.axes if axis.choices]
    found = report.consistency
    if not shown:
        return
    _head("does each conclusion transfer? effects in points against the baseline")
    columns = ("axis", "choice", "against", "pairs", found.small, "95%", found.large, "95% ", "Holm p", "")
    rows = table(*columns, right=("pairs", found.small, found.large, "Holm p"))
    choices = [choice for axis in shown for choice in axis.choices]
    for c in choices[:MOST_ROWS]:
        ends = (
            f"{c.small.value:+.2f}",
            _told(c.small.interval, 1),
            f"{c.large.value:+.2f}",
            _told(c.large.interval, 1),
        )
        holm = "" if c.large.p_holm is None else f"{c.large.p_holm:.3f}"
        rows.add_row(_short(c.axis), _short(c.level), _short(c.baseline), str(c.pairs), *ends, holm, c.verdict)
    OUT.print(rows)
    if len(choices) > MOST_ROWS:
        OUT.print(f"  and {len(choices) - MOST_ROWS} more (--json)")
    for axis in shown:
        # a slope through effects that may be zero would be noise
        is_told = any(c.small.interval and c.small.interval.low * c.small.interval.high > 0 for c in axis.choices)
        slope = f", slope {axis.slope:.2f}" if axis.slope is not None and is_told else ""
        OUT.print(f"  {axis.axis}: both scales order {axis.sign_agreement:.0%} of {axis.pairs} pairs alike{slope}")
    if silent := [axis.axis for axis in report.axes if not axis.choices]:
        OUT.print(f"  no two designs differ in one of these alone: {', '.join(silent)}")
    for r in report.robustness:
        rho = "undefined" if r.spearman is None else f"{r.spearman:.3f}"
        OUT.print(
            f"  rankings at {r.scale} under {r.axis} {r.levels[0]} and {r.levels[1]}: Spearman {rho} ({r.n} designs)"
        )


def _print_noise(report: Report) -> None:
    _head("noise")
    for noise in report.noise:
        if noise.sd is not None:
            reliable = "" if noise.reliability is None else f", reliability {noise.reliability:.3f}"
            reliable += f" ({_told(noise.reliability_interval, 2)})" if noise.reliability_interval else ""
            snr = "" if noise.signal_to_noise is None else f", signal to noise {noise.signal_to_noise:.1f}"
            seeds = f"{noise.seeds_per_design:.2g} seeds"
            OUT.print(f"  {noise.scale}: {noise.sd:.2f} points between seeds, {seeds}{reliable}{snr}")
    _print_ceiling(report)
    if (across := report.across_seeds) is not None:
        told = f"equal seeds {_number(across.same_seeds)}, different seeds {_number(across.different_seeds)}"
        OUT.print(f"  R2 with {told}, means {_number(across.mean_of_seeds)}")
    if (items := report.items) is not None:
        told = f"the same half {items.same_half:.3f}, different halves {items.different_halves:.3f}"
        OUT.print(f"  R2 on {told} of {items.items} test items")
    if (three := report.three_way) is not None:
        right = "none" if three.accuracy is None else f"{three.accuracy:.1%} of them ordered alike at the large scale"
        decided = f"{three.decided} of {three.pairs} pairs told apart by {_SOURCES[three.source]}"
        OUT.print(f"  three-way: {decided} ({three.abstention:.0%} abstained), {right}")
    _print_needed(report)


def _print_needed(report: Report) -> None:
    """What more would tell: designs for R2, test items for a difference; and how firm the ranking is."""
    if (firm := report.stability) is not None:
        _, low, high = firm.ranks[0]
        OUT.print(
            f"  with other {' and '.join(firm.causes)} {firm.best} stays the best at {report.consistency.small} with a "
            f"chance of {firm.chance:.0%} (ranks {low} to {high} in 95 of 100)"
        )
    if report.items_needed is not None:
        OUT.print(f"  a difference of {report.resolution:g} points needs {report.items_needed:,} test items")
    if report.designs_needed is not None:
        r2, designs = _number(report.consistency.r2), report.designs_needed
        OUT.print(f"  to know an R2 of {r2} to {report.half_width:g} below it takes {designs} designs")


def _print_ceiling(report: Report) -> None:
    """The highest R2 that noise allows; where seeds do not tell the noise, what a stated or assumed one would."""
    most = report.ceiling
    if most is None:
        return
    seeds = f"{report.seeds_needed} seeds of each design"
    if most.is_measured:
        true = "" if most.disattenuated_r is None else f"; r without noise {most.disattenuated_r:.3f}"
        OUT.print(f"  highest R2 that noise allows {most.r2:.3f}{true}")
        OUT.print(f"  a difference of {report.resolution:g} points needs {seeds}")
        return
    silent = " and ".join(noise.scale for noise in report.noise if noise.sd is None)
    told = " and ".join(f"{points:.3g}" for points in dict.fromkeys(most.noise))
    OUT.print(f"  no design has two seeds at {silent}: the noise cannot be known there, nor what it does to R2")
    OUT.print(
        f"  were it {told} points, R2 could be {most.r2:.3f} at most, and a difference of {report.resolution:g} points "
        f"would need {seeds}"
    )


def _print_scales(report: Report) -> None:
    scaling = report.scaling
    if len(scaling.pairs) > 1:
        scales = list(dict.fromkeys(scale for pair in scaling.pairs for scale in (pair.small, pair.large)))
        _head("R2 between scales")
        rows = table("small", *scales[1:], right=scales[1:])
        found: dict[tuple[str, str], Pair] = {(pair.small, pair.large): pair for pair in scaling.pairs}
        for small in scales[:-1]:
            cells = [_number(found[small, large].r2) if (small, large) in found else "" for large in scales[1:]]
            rows.add_row(small, *cells)
        OUT.print(rows)
    if (fit := scaling.fit) is not None:
        told = f"R2 with {scaling.large} = {fit.slope:.2f} ln(size in billions) {fit.intercept:+.2f}"
        if fit.wanted_size is not None and fit.wanted_size < 1e15:
            out = ", extrapolated" if fit.is_extrapolated else ""
            told += f"; {fit.wanted:g} is expected at {short_number(fit.wanted_size)}{out}"
            told += f" ({_told(fit.at_wanted, 2)} there)" if fit.at_wanted else ""
        OUT.print(f"  {told} ({fit.sizes} sizes)")
    if (curve := report.by_samples) is not None:
        _head(
            f"R2 of {curve.small} with {curve.large} (trained on {curve.large_samples:,} samples), by training budget"
        )
        rows = table("samples", "R2", "95% interval", "lost to the highest budget", right=("samples", "R2"))
        for point in curve.points:
            rows.add_row(f"{point.samples:,}", _number(point.r2), _told(point.r2_interval, 3), _told(point.lost, 3))
        OUT.print(rows)
        if curve.levels_off is not None and curve.levels_off < curve.points[-1].samples:
            OUT.print(f"  levels off at {curve.levels_off:,} samples")
        else:
            OUT.print("  still changes at the highest budget, so far as these designs tell")


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
        cells = (str(p.n), _number(p.r2), _told(p.r2_interval, 2), _number(p.spearman), f"{p.decision_accuracy:.3f}")
        noise = "" if row.signal_to_noise is None else f"{row.signal_to_noise:.1f}"
        rows.add_row(row.metric, *cells, *((noise,) if has_noise else ()))
    OUT.print(rows)
    if len(report.metrics) > MOST_ROWS:
        OUT.print(f"  and {len(report.metrics) - MOST_ROWS} more (--json)")


def effect_told(effect: Effect) -> str:
    """+1.20 (0.3 to 2.1)."""
    return f"{effect.value:+.2f}" + (f" ({_told(effect.interval, 1)})" if effect.interval else "")


def _head(text: str) -> None:
    OUT.print(Text(f"\n{text}", style="bold"))


def _told(interval: Interval | None, digits: int) -> str:
    return "" if interval is None else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}~"
