"""Panels beside a scatter plot: R^2 by model size and by training samples, and the effect of each choice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures import style
from analysis.figures.labels import shortened
from analysis.tables import scale_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from analysis.consistency import Choice, Pair, Report, SamplesCurve, SizeFit
    from analysis.numbers import Interval

MOST_EFFECTS = 12
"""Largest number of choices drawn below one another."""
_FURTHEST = 30.0
"""A size for the target R^2 is drawn up to this many times the largest small scale, or below the smallest one."""
_LONGEST_CHOICE = 40
_VERDICT_LOOK = {"transfers": (style.GREEN, "bold"), "reverses": (style.ORANGE, "bold")}
"""Colour and font weight of the significant verdicts; the others are less prominent."""


def sized_pairs(report: Report) -> list[Pair]:
    """Pairs of the large scale and a small scale with an R^2, where the label of the small scale is a size."""
    defined = [pair for pair in report.scaling.pairs if pair.large == report.scaling.large and pair.r2 is not None]
    return [pair for pair in defined if math.isfinite(scale_size(pair.small))]


def draw_size_panel(axes: Axes, report: Report) -> None:
    """Draw R^2 with the large scale against the size of the small one, with the fitted trend if there is one."""
    pairs, fit = sized_pairs(report), report.scaling.fit
    sizes = [scale_size(pair.small) for pair in pairs]
    axes.set_xscale("log")
    reach = _reach(fit, sizes) if fit else []
    _set_log_ticks(axes, dict(zip(sizes, [pair.small for pair in pairs], strict=True)), reach)
    _draw_r2(axes, sizes, [(pair.r2, pair.r2_interval) for pair in pairs])
    if fit:
        _draw_trend(axes, fit, sizes, reach)
    notes = _trend_notes(fit, reach) if fit else ["", "too few sizes for a trend"]
    axes.set_xlabel("Small scale")
    _finish(axes, f"R\u00b2 with {shortened(report.scaling.large, 12)}, by size", notes)


def _reach(fit: SizeFit, sizes: Sequence[float]) -> list[float]:
    """The size at which the target R^2 is expected; empty if it is too far away to be drawn, or to be credible."""
    size = fit.target_size
    return [size] if size is not None and min(sizes) / _FURTHEST <= size <= max(sizes) * _FURTHEST else []


def _draw_trend(axes: Axes, fit: SizeFit, sizes: Sequence[float], reach: Sequence[float]) -> None:
    """Draw the trend, dashed outside of the small scales, and the size at which the target R^2 is expected."""
    low, high, every = min(sizes), max(sizes), [*sizes, *reach]
    for start, stop, dashes in ((low, high, "-"), (min(every), low, "--"), (high, max(every), "--")):
        if stop > start:
            across = np.geomspace(start, stop, 50)
            r2 = fit.intercept + fit.slope * np.log(across / 1e9)
            axes.plot(across, r2, color=style.BLUE, linewidth=1.3, linestyle=dashes, zorder=3)
    for size in reach:
        axes.axvline(size, color=style.GREY, lw=0.9, ls=":", zorder=1)
        axes.axhline(fit.target_r2, color=style.GREY, lw=0.9, ls=":", zorder=1)
        axes.scatter([size], [fit.target_r2], s=40, marker="D", c="white", ec=style.ORANGE, lw=1.4, zorder=5)


def _trend_notes(fit: SizeFit, reach: Sequence[float]) -> list[str]:
    sign = "+" if fit.intercept >= 0 else "\u2212"
    line = f"R\u00b2 = {fit.slope:.2f} ln x {sign} {abs(fit.intercept):.2f}, x in B".replace("-", "\u2212")
    if reach:
        return [line, f"{fit.target_r2:g} expected at {size_label(reach[0])}"]
    return [
        line,
        "does not rise with size" if fit.target_size is None else f"{fit.target_r2:g} expected far from these sizes",
    ]


def draw_samples_panel(axes: Axes, curve: SamplesCurve) -> None:
    """Draw R^2 against the number of training samples of the small scale, and where it levels off."""
    points = [point for point in curve.points if point.r2 is not None]
    samples = [float(point.samples) for point in points]
    axes.set_xscale("log")
    _set_log_ticks(axes, {float(point.samples): count_label(point.samples) for point in curve.points}, [])
    axes.plot(samples, [point.r2 or 0.0 for point in points], color=style.BLUE, linewidth=1.3, zorder=3)
    _draw_r2(axes, samples, [(point.r2, point.r2_interval) for point in points])
    axes.set_xlabel(f"Training samples at {shortened(curve.small, 12)}", parse_math=False)
    last = curve.points[-1].samples
    note = "R\u00b2 is undefined" if curve.levels_off is None else f"no plateau below {count_label(last)}"
    if curve.levels_off is not None and curve.levels_off < last:
        axes.axvline(curve.levels_off, color=style.ORANGE, linewidth=1.2, linestyle="--", zorder=2)
        is_first = curve.levels_off == curve.points[0].samples
        note = "plateau from the first point on" if is_first else f"levels off at {count_label(curve.levels_off)}"
    large = shortened(curve.large, 12)
    _finish(axes, f"R\u00b2 with {large}, by samples", [note, f"{large} trained on {count_label(curve.large_samples)}"])


def _finish(axes: Axes, title: str, notes: Sequence[str]) -> None:
    """Draw the title and set the vertical limits: from the multiple of 0.25 below the lowest R^2 to 1."""
    style.grid(axes)
    style.panel_title(axes, title, notes)
    low = math.floor(max(0.0, min(axes.dataLim.y0, 0.77) - 0.02) * 4) / 4
    axes.set_ylim(low, 1 + 0.03 * (1 - low))
    ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if tick >= low]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    style.small_ticks(axes)


def _draw_r2(axes: Axes, x: Sequence[float], values: Sequence[tuple[float | None, Interval | None]]) -> None:
    """Draw R^2 with its interval at each x; undefined values are left out."""
    for position, (r2, interval) in zip(x, values, strict=True):
        if r2 is None:
            continue
        if interval is not None and math.isfinite(interval.low) and math.isfinite(interval.high):
            axes.plot([position] * 2, [interval.low, interval.high], color=style.BLUE, lw=1.6, alpha=0.45, zorder=3)
        axes.scatter([position], [r2], s=36, c=style.BLUE, ec="white", lw=0.8, zorder=4)


def _set_log_ticks(axes: Axes, labels: dict[float, str], reach: Sequence[float]) -> None:
    """Set a tick at each point; ticks that would overlap with the first, the last or another one are left out."""
    every = sorted([*labels, *reach])
    low, high = every[0], every[-1]
    room = max((high / low) ** 0.1, 1.15)
    axes.set_xlim(low / room, high * room)
    width = math.log(high / low * room**2)
    ticks: list[float] = []
    for tick in sorted(labels, key=lambda tick: (tick not in (min(labels), max(labels)), tick)):
        nearest = min((abs(math.log(tick / other)) / width for other in ticks), default=1.0)
        if nearest > 0.06 + 0.025 * len(labels[tick]):
            ticks.append(tick)
    axes.set_xticks(ticks, [shortened(labels[tick], 8) for tick in ticks])
    axes.set_xticks([], minor=True)


def shown_choices(report: Report) -> list[Choice]:
    """Choices to draw, by axis: at most `MOST_EFFECTS`, preferring those that reverse and then the largest effects."""
    every = [choice for axis in report.axes for choice in axis.choices]
    weight = {id(c): (c.verdict == "reverses", max(abs(c.small.value), abs(c.large.value))) for c in every}
    first = sorted(every, key=lambda c: weight[id(c)], reverse=True)[:MOST_EFFECTS]
    return [choice for choice in every if any(choice is other for other in first)]


def draw_effects(axes: Axes, report: Report) -> dict[str, Any]:
    """Draw one row per choice: its effects at the small (open) and at the large scale (filled), and the verdict.

    Returns:
        Entries of the legend: label -> artist.
    """
    choices = shown_choices(report)
    small, large = report.consistency.small, report.consistency.large
    every = sum(len(axis.choices) for axis in report.axes)
    less = f" ({len(choices)} of {every} shown)" if len(choices) < every else ""
    style.panel_title(axes, f"Does each choice transfer?{less}")
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)
    low, high = _effect_limits(choices)
    axes.set_xlim(low, high)
    axes.set_ylim(len(choices) - 0.4, -0.6)
    axes.axvline(0, color=style.GREY, linewidth=0.9, zorder=1)
    for row, choice in enumerate(choices):
        _draw_choice(axes, row, choice)
    names = [shortened(f"{c.axis}: {c.level} for {c.baseline}", _LONGEST_CHOICE) for c in choices]
    axes.set_yticks(range(len(choices)), names, parse_math=False)
    axes.spines["left"].set_visible(False)
    lower = "; lower is better" if report.consistency.lower_is_better else ""
    axes.set_xlabel(f"Effect in points, with its 95% interval where available{lower}")
    style.small_ticks(axes)
    axes.tick_params(axis="y", length=0, pad=8)
    return {shortened(scale, 18): axes.scatter([], [], **look) for scale, look in ((small, _SMALL), (large, _LARGE))}


_SMALL: dict[str, Any] = {"s": 26, "facecolor": "white", "edgecolor": style.BLUE, "linewidth": 1.4, "marker": "o"}
_LARGE: dict[str, Any] = {"s": 46, "facecolor": style.BLUE, "edgecolor": "white", "linewidth": 0.8, "marker": "o"}


def _draw_choice(axes: Axes, row: int, choice: Choice) -> None:
    low, high = axes.get_xlim()
    for effect, look, shift in ((choice.small, _SMALL, -0.16), (choice.large, _LARGE, 0.16)):
        if effect.interval:
            ends = np.clip([effect.interval.low, effect.interval.high], low, high)
            axes.plot(ends, [row + shift] * 2, color=style.BLUE, lw=1.5, alpha=0.45, zorder=3, solid_capstyle="butt")
            for end, bound, marker in ((effect.interval.low, low, "<"), (effect.interval.high, high, ">")):
                if (end < low and bound == low) or (end > high and bound == high):
                    axes.scatter([bound], [row + shift], marker=marker, s=20, c=style.BLUE, alpha=0.7, clip_on=False)
        axes.scatter([effect.value], [row + shift], zorder=4, **look)
    color, weight = _VERDICT_LOOK.get(choice.verdict, (style.SOFT, "normal"))
    axes.annotate(
        choice.verdict,
        (1, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(10, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL_PT,
        color=color,
        fontweight=weight,
        annotation_clip=False,
    )


def _effect_limits(choices: Sequence[Choice]) -> tuple[float, float]:
    """Horizontal limits: all effects and zero, and intervals up to 0.6 times that range beyond it."""
    effects = [effect for choice in choices for effect in (choice.small, choice.large)]
    values = [0.0, *(effect.value for effect in effects)]
    span = (max(values) - min(values)) or 1.0
    ends = [e for effect in effects if effect.interval for e in (effect.interval.low, effect.interval.high)]
    low = max(min([*values, *ends]), min(values) - 0.6 * span)
    high = min(max([*values, *ends]), max(values) + 0.6 * span)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def size_label(parameters: float) -> str:
    """Short label of a number of parameters: 2.8B for 2.8e9."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.2g}{letter}" if parameters < 100 * unit else f"{parameters / unit:.0f}{letter}"
    return f"{parameters:.0f}"


def count_label(samples: int) -> str:
    """Short label of a number of samples: 500K for 500,000."""
    for unit, letter in ((1e6, "M"), (1e3, "K")):
        if samples >= unit:
            return f"{samples / unit:.3g}{letter}"
    return str(samples)
