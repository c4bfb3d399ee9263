"""The figures of a study: consistency between two scales, ranking of designs. With labels.py, all that is drawn.

Made without pyplot: no global state, no window. matplotlib is imported inside functions, since most commands draw
nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis.labels import place_labels, shortened
from analysis.table import scale_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.agreement import Floats
    from analysis.consistency import Consistency, Point

DPI = 150
FEW_ENOUGH_TO_LABEL = 12
"""Designs up to which each gets its name; of more, only those one would ask about."""
MOST_RANKED = 40
"""Rows of a ranking that still can be read."""
_LARGEST_RESIDUALS = 4
_BLUE, _ORANGE, _GREEN, _GREY, _INK = "#0072B2", "#D55E00", "#00845A", "#8A8A8A", "#222222"  # after Okabe and Ito
_LIGHT, _MIDDLE, _DARK = "#9CC5E3", "#3F84BA", "#0B3C6F"
_STYLE: dict[Any, Any] = {  # keys are a Literal type that differs between versions
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.unicode_minus": True,
}


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure at `DPI`."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure.savefig(path, dpi=DPI, format="png")


def consistency_figure(consistency: Consistency) -> Figure:
    """Scores at the large scale over those at the small one, with the fitted line and the 95 % band of that line."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure, axes = _page(7.0, 6.2)
        points = consistency.points
        xy_n2 = np.array([(point.x, point.y) for point in points])
        _grid(axes)
        axes.scatter(xy_n2[:, 0], xy_n2[:, 1], s=34, color=_BLUE, edgecolor="white", linewidth=0.8, zorder=4)
        _mark_choices(axes, consistency)
        _set_limits(axes, xy_n2)
        _draw_line(axes, consistency, xy_n2)
        direction = ", lower is better" if consistency.lower_is_better else ""
        for axis, scale in ((axes.xaxis, consistency.small), (axes.yaxis, consistency.large)):
            axis.set_label_text(f"Score at {scale} ({consistency.metric}{direction})", parse_math=False)
        _title(axes, _headline(consistency), _subline(consistency))
        _legend(figure, 3)
        _lay_out(figure)
        place_labels(axes, {index: points[index].design for index in _worth_a_label(consistency)}, xy_n2)
    return figure


def ranking_figure(ranking: pd.DataFrame, label: str = "score") -> Figure:
    """One row a design, one dot a scale, a bar of one standard deviation over seeds to either side.

    Args:
        ranking: from `analysis.ranking.ranking`; concatenate several for several scales.
        label: what the scores are, for the axis.
    """
    from matplotlib import rc_context

    scales = sorted(ranking["scale"].unique(), key=scale_order)
    order = _rows_of(ranking, scales)
    shown = order[:MOST_RANKED]
    with rc_context(_STYLE):
        figure, axes = _page(7.0, 1.5 + 0.27 * len(shown))
        _grid(axes)
        for scale, color in zip(scales, _light_to_dark(len(scales)), strict=True):
            rows = ranking[(ranking["scale"] == scale) & ranking["design"].isin(shown)]
            row_of = rows["design"].map(shown.index)
            spread = rows["sd"].fillna(0.0)
            axes.errorbar(rows["mean"], row_of, xerr=spread, fmt="none", ecolor=color, elinewidth=1.6, alpha=0.6)
            axes.scatter(rows["mean"], row_of, s=36, c=color, ec="white", lw=0.8, zorder=4, label=scale)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [shortened(design) for design in shown], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label, parse_math=False)
        less = f"the first {len(shown)} of {len(order)} designs" if len(shown) < len(order) else f"{len(order)} designs"
        bars = "bars: one standard deviation over seeds" if (ranking["seeds"] > 1).any() else "one seed each"
        _title(axes, f"Best first, by their score at {scales[-1]}", f"{less}; {bars}")
        if len(scales) > 1:
            _legend(figure, len(scales))
        _lay_out(figure)
    return figure


def _light_to_dark(number: int) -> list[str]:
    """A colour a scale, the largest darkest."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("scales", [_LIGHT, _MIDDLE, _DARK])
    return [to_hex(ramp(place)) for place in np.linspace(0.0, 1.0, number)] if number > 1 else [_DARK]


def _page(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _grid(axes: Axes) -> None:
    axes.grid(color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def _title(axes: Axes, headline: str, subline: str) -> None:
    axes.set_title(headline, loc="left", fontsize=12.5, fontweight="bold", color=_INK, pad=26, parse_math=False)
    axes.annotate(
        subline,
        (0, 1),
        xytext=(0, 9),
        xycoords="axes fraction",
        textcoords="offset points",
        color="#555555",
        fontsize=9.5,
        parse_math=False,
    )


def _headline(consistency: Consistency) -> str:
    pair = f"{consistency.small} \u2192 {consistency.large}:  R\u00b2 = "
    if consistency.r2 is None:
        return pair + "undefined"
    interval = consistency.intervals["r2"]
    between = f"  (95% interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    return f"{pair}{consistency.r2:.2f}{between}"


def _subline(consistency: Consistency) -> str:
    accuracy = consistency.decision_accuracy
    parts = [
        f"{consistency.study}, {consistency.n} designs",
        *([f"{consistency.modality} alone"] if consistency.modality != "video" else []),
        *([f"decision accuracy {accuracy:.0%}"] if accuracy is not None else []),
        f"regret@1 {consistency.regret[1]:.3g} points",
    ]
    return "   \u00b7   ".join(parts)


def _choices(consistency: Consistency) -> tuple[int, int]:
    """Indices of the small scale's favourite and of the true best; ties are broken against us, as regret does."""
    sign = -1 if consistency.lower_is_better else 1
    points = consistency.points
    favourite = max(range(len(points)), key=lambda i: (sign * points[i].x, -sign * points[i].y))
    return favourite, max(range(len(points)), key=lambda i: (sign * points[i].y, sign * points[i].x))


def _mark_choices(axes: Axes, consistency: Consistency) -> None:
    favourite, best = (consistency.points[index] for index in _choices(consistency))
    same = favourite == best
    if not same:
        _mark(axes, favourite, _ORANGE, "D", f"best at {consistency.small}: {shortened(favourite.design)}")
    scale = "both" if same else consistency.large
    _mark(axes, best, _GREEN, "*", f"best at {scale}: {shortened(best.design)}")


def _mark(axes: Axes, point: Point, color: str, marker: Literal["*", "D"], label: str) -> None:
    size = 170 if marker == "*" else 62
    axes.scatter([point.x], [point.y], s=size, c=color, marker=marker, ec="white", lw=0.9, zorder=5, label=label)


def _set_limits(axes: Axes, xy_n2: Floats) -> None:
    """By the points alone: the band of a line through few points would dwarf them."""
    low, high = xy_n2.min(axis=0), xy_n2.max(axis=0)
    room = np.where(high > low, 0.09 * (high - low), 0.5)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])


def _draw_line(axes: Axes, consistency: Consistency, xy_n2: Floats) -> None:
    """Least squares and its pointwise band, y +- t s sqrt(1/n + (x - mean)^2 / Sxx) with n - 2 degrees of freedom."""
    if consistency.slope is None or consistency.intercept is None:
        return
    from scipy.special import stdtrit

    x_n, y_n = xy_n2.T
    n = len(x_n)
    across = np.linspace(*axes.get_xlim(), 200)
    line = consistency.intercept + consistency.slope * across
    squares = float(((y_n - consistency.intercept - consistency.slope * x_n) ** 2).sum())
    leverage = 1 / n + (across - x_n.mean()) ** 2 / ((x_n - x_n.mean()) ** 2).sum()
    half = float(stdtrit(n - 2, 0.975)) * math.sqrt(squares / (n - 2)) * np.sqrt(leverage)
    axes.plot(across, line, color=_BLUE, linewidth=1.4, alpha=0.85, zorder=3, label="least squares, 95% band")
    axes.fill_between(across, line - half, line + half, color=_BLUE, alpha=0.13, linewidth=0, zorder=2)


def _legend(figure: Figure, columns: int) -> None:
    """Below the axes, where it hides nothing."""
    legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False, handletextpad=0.5)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _lay_out(figure: Figure) -> None:
    """Settle the layout for good, so that labels can be placed by pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _worth_a_label(consistency: Consistency) -> list[int]:
    """All of few; of many, the two choices, the worst, and those the line foretells worst."""
    points = consistency.points
    favourite, best = _choices(consistency)
    slope, intercept = consistency.slope or 0.0, consistency.intercept or 0.0
    surprise = sorted(range(len(points)), key=lambda i: -abs(points[i].y - intercept - slope * points[i].x))
    sign = -1 if consistency.lower_is_better else 1
    worst = min(range(len(points)), key=lambda i: sign * points[i].y)
    first = [best, favourite, worst, *surprise]
    few = len(points) if len(points) <= FEW_ENOUGH_TO_LABEL else 3 + _LARGEST_RESIDUALS
    return list(dict.fromkeys(first[:few] if few < len(points) else first))


def _rows_of(ranking: pd.DataFrame, scales: list[str]) -> list[str]:
    """Designs by rank at the largest scale they have a score at; those of larger scales first."""
    size = {scale: -number for number, scale in enumerate(scales)}
    rows = ranking.assign(size=ranking["scale"].map(size)).sort_values(["size", "rank", "design"])
    return list(dict.fromkeys(rows["design"].tolist()))
