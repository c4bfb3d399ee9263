"""Scatter plot of two scales: one point per design, the fitted line with its bands, labels of notable designs."""

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
"""Number of designs up to which all are labelled; with more, only notable ones are."""
_LARGEST_RESIDUALS, _LARGEST_COOK = 4, 3
_LEGEND_NAME, _LONGEST_METRIC = 18, 30
"""Characters of a name that fit in the legend, and of a metric that fit beside an axis."""


def draw_scatter(axes: Axes, consistency: Consistency) -> dict[str, Any]:
    """Draw scores at the large scale against those at the small one, without the labels of `name_designs`.

    Returns:
        Entries of the legend: label -> artist.
    """
    points = consistency.points
    xy_n2 = _positions(consistency)
    style.grid(axes)
    shrink = min(1.0, (60 / len(points)) ** 0.5)
    axes.scatter(xy_n2[:, 0], xy_n2[:, 1], s=34 * shrink, color=style.BLUE, ec="white", lw=0.8 * shrink, zorder=4)
    entries = _mark_best(axes, consistency)
    _set_limits(axes, xy_n2)
    entries |= _draw_line(axes, xy_n2)
    metric = shortened(consistency.metric, _LONGEST_METRIC)
    direction = ", lower is better" if consistency.lower_is_better else ""
    for axis, scale in ((axes.xaxis, consistency.small), (axes.yaxis, consistency.large)):
        axis.set_label_text(f"Score at {shortened(scale)} ({metric}{direction})", parse_math=False)
    return entries


def name_designs(axes: Axes, consistency: Consistency) -> None:
    """Label notable designs, as many as fit; the layout must be final."""
    points = consistency.points
    place_labels(axes, {index: points[index].design for index in _notable(consistency)}, _positions(consistency))


def _positions(consistency: Consistency) -> Floats:
    """Scores at the small and at the large scale, n x 2."""
    return np.array([(point.x, point.y) for point in consistency.points], dtype=np.float64)


def _best_at_each_scale(consistency: Consistency) -> tuple[int, int]:
    """Indices of the best design at the small and at the large scale; ties are broken as in regret, unfavourably."""
    sign = -1 if consistency.lower_is_better else 1
    points = consistency.points
    favourite = max(range(len(points)), key=lambda i: (sign * points[i].x, -sign * points[i].y))
    return favourite, max(range(len(points)), key=lambda i: (sign * points[i].y, sign * points[i].x))


def _mark_best(axes: Axes, consistency: Consistency) -> dict[str, Any]:
    favourite, best = (consistency.points[index] for index in _best_at_each_scale(consistency))
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
    """Set the limits by the points alone: the band of a line through few points would dominate the axes."""
    low, high = xy_n2.min(axis=0), xy_n2.max(axis=0)
    room = np.where(high > low, 0.09 * (high - low), 0.5)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])


def _draw_line(axes: Axes, xy_n2: Floats) -> dict[str, Any]:
    """Draw the least-squares line, its pointwise confidence band and the prediction band of a new design."""
    line = fitted_line(*xy_n2.T)
    if line is None:
        return {}
    across = np.linspace(*axes.get_xlim(), 200)
    middle, band, wide = line.at(across), line.band(across), line.prediction(across)
    (fit,) = axes.plot(across, middle, color=style.BLUE, linewidth=1.4, alpha=0.85, zorder=3)
    prediction_area = axes.fill_between(across, middle - wide, middle + wide, color="#F1F5F8", lw=0, zorder=0.5)
    for end in (middle - wide, middle + wide):  # a light area is hardly visible in print
        (edge,) = axes.plot(across, end, color="#A9BFCE", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.6)
    band_area = axes.fill_between(across, middle - band, middle + band, color="#C3DBEB", lw=0, zorder=0.8)
    return {"fit with 95% band": (band_area, fit), "95% of new designs": (prediction_area, edge)}


def _notable(consistency: Consistency) -> list[int]:
    """Indices of the best at each scale, the worst, the most influential ones and those with the largest residuals."""
    points = consistency.points
    index_of = {point.design: index for index, point in enumerate(points)}
    sign = -1 if consistency.lower_is_better else 1
    slope, intercept = consistency.slope or 0.0, consistency.intercept or 0.0
    every = range(len(points))
    by_residual = sorted(every, key=lambda i: -abs(points[i].y - intercept - slope * points[i].x))
    by_influence = sorted(every, key=lambda i: -(points[i].cooks_distance or 0.0))[:_LARGEST_COOK]
    first = [
        *reversed(_best_at_each_scale(consistency)),
        min(every, key=lambda i: sign * points[i].y),
        *(index_of[removal.design] for removal in consistency.influential),
        *(i for i in by_influence if (points[i].cooks_distance or 0.0) > 4 / len(points)),
        *by_residual[: len(points) if len(points) <= FEW_ENOUGH_TO_LABEL else _LARGEST_RESIDUALS],
    ]
    return list(dict.fromkeys(first))
