"""The scatter of a comparison: a point a design, the line and its bands, the designs to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.figures import style
from analysis.figures.labels import place_labels, shortened
from analysis.numbers import fitted_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.consistency import Consistency, Point
    from analysis.numbers import Floats

FEW_ENOUGH_TO_LABEL = 12
"""Designs up to which each gets its name; of more, only those one would ask about."""
_LARGEST_RESIDUALS, _LARGEST_COOK = 4, 3
_LEGEND_NAME, _LONGEST_METRIC = 18, 30
"""Characters of a name that have room in the legend, and of a metric beside an axis."""


def draw_scatter(axes: Axes, consistency: Consistency) -> dict[str, Any]:
    """Scores at the large scale over those at the small one; the labels come with `name_designs`, once laid out.

    Returns:
        What a legend says: words -> what is drawn so.
    """
    points = consistency.points
    xy_n2 = _places(consistency)
    style.grid(axes)
    crowd = min(1.0, (60 / len(points)) ** 0.5)
    axes.scatter(xy_n2[:, 0], xy_n2[:, 1], s=34 * crowd, color=style.BLUE, ec="white", lw=0.8 * crowd, zorder=4)
    entries = _mark_choices(axes, consistency)
    _set_limits(axes, xy_n2)
    entries |= _draw_line(axes, xy_n2)
    metric = shortened(consistency.metric, _LONGEST_METRIC)
    direction = ", lower is better" if consistency.lower_is_better else ""
    for axis, scale in ((axes.xaxis, consistency.small), (axes.yaxis, consistency.large)):
        axis.set_label_text(f"Score at {shortened(scale)} ({metric}{direction})", parse_math=False)
    return entries


def name_designs(axes: Axes, consistency: Consistency) -> None:
    """Names of the designs that matter, as many as find room; the layout must be settled."""
    points = consistency.points
    place_labels(axes, {index: points[index].design for index in _worth_a_label(consistency)}, _places(consistency))


def _places(consistency: Consistency) -> Floats:
    return np.array([(point.x, point.y) for point in consistency.points], dtype=np.float64)


def _choices(consistency: Consistency) -> tuple[int, int]:
    """Indices of the small scale's favourite and of the true best; ties are broken against us, as regret does."""
    sign = -1 if consistency.lower_is_better else 1
    points = consistency.points
    favourite = max(range(len(points)), key=lambda i: (sign * points[i].x, -sign * points[i].y))
    return favourite, max(range(len(points)), key=lambda i: (sign * points[i].y, sign * points[i].x))


def _mark_choices(axes: Axes, consistency: Consistency) -> dict[str, Any]:
    favourite, best = (consistency.points[index] for index in _choices(consistency))
    small, large = (shortened(scale, _LEGEND_NAME) for scale in (consistency.small, consistency.large))
    if favourite == best:
        return _mark(axes, best, style.GREEN, "*", "best at both")
    marked = _mark(axes, favourite, style.ORANGE, "D", f"best at {small}")
    return marked | _mark(axes, best, style.GREEN, "*", f"best at {large}")


def _mark(axes: Axes, point: Point, color: str, marker: Literal["*", "D"], what: str) -> dict[str, Any]:
    size = 190 if marker == "*" else 56
    drawn = axes.scatter([point.x], [point.y], s=size, c=color, marker=marker, ec="white", lw=0.9, zorder=5)
    return {f"{what}: {shortened(point.design, _LEGEND_NAME)}": drawn}


def _set_limits(axes: Axes, xy_n2: Floats) -> None:
    """By the points alone: the band of a line through few points would dwarf them."""
    low, high = xy_n2.min(axis=0), xy_n2.max(axis=0)
    room = np.where(high > low, 0.09 * (high - low), 0.5)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])


def _draw_line(axes: Axes, xy_n2: Floats) -> dict[str, Any]:
    """Least squares, the pointwise band of the line, and that of one more design; see analysis.line."""
    line = fitted_line(*xy_n2.T)
    if line is None:
        return {}
    across = np.linspace(*axes.get_xlim(), 200)
    middle, band, wide = line.at(across), line.band(across), line.prediction(across)
    (fit,) = axes.plot(across, middle, color=style.BLUE, linewidth=1.4, alpha=0.85, zorder=3)
    of_new = axes.fill_between(across, middle - wide, middle + wide, color="#F1F5F8", lw=0, zorder=0.5)
    for end in (middle - wide, middle + wide):  # a light area is lost on a copier
        (edge,) = axes.plot(across, end, color="#A9BFCE", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.6)
    of_line = axes.fill_between(across, middle - band, middle + band, color="#C3DBEB", lw=0, zorder=0.8)
    return {"fit, its 95% band": (of_line, fit), "95% of new designs": (of_new, edge)}


def _worth_a_label(consistency: Consistency) -> list[int]:
    """All of few; of many, the choices, the worst, those R^2 rests on, and those the line foretells worst."""
    points = consistency.points
    place = {point.design: index for index, point in enumerate(points)}
    sign = -1 if consistency.lower_is_better else 1
    slope, intercept = consistency.slope or 0.0, consistency.intercept or 0.0
    every = range(len(points))
    surprise = sorted(every, key=lambda i: -abs(points[i].y - intercept - slope * points[i].x))
    pull = sorted(every, key=lambda i: -(points[i].cooks_distance or 0.0))[:_LARGEST_COOK]
    first = [
        *reversed(_choices(consistency)),
        min(every, key=lambda i: sign * points[i].y),
        *(place[removal.design] for removal in consistency.influential),
        *(i for i in pull if (points[i].cooks_distance or 0.0) > 4 / len(points)),
        *surprise[: len(points) if len(points) <= FEW_ENOUGH_TO_LABEL else _LARGEST_RESIDUALS],
    ]
    return list(dict.fromkeys(first))
