"""Labels beside the points of a scatter plot, without overlaps with each other, with points or with the axes' edges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

    from analysis.numbers import Floats

LONGEST = 26
"""Largest number of characters of a name that are drawn."""
_FONT_SIZE = 8.5
_DISTANCES = (6.0, 13.0, 22.0, 34.0)
"""Distances from a point to the nearest edge of its label, in typographic points; the first that is free is used."""
_LEADER_FROM = 13.0
"""Distance from which on a line connects a label and its point, in typographic points."""
_DIRECTIONS = 16
_POINT_RADIUS = 4.5


def place_labels(axes: Axes, names: Mapping[int, str], xy_n2: Floats) -> None:
    """Draw labels in the order of `names`; labels without a free position are left out.

    Args:
        axes: axes with their final layout: a later change of limits or size would shift the labels. Texts in the axes
            are not covered.
        names: index into the points -> label.
        xy_n2: all points, in data coordinates; none is covered.
    """
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    pixels = figure.dpi / 72
    points_n2 = np.asarray(axes.transData.transform(xy_n2))
    radius = _POINT_RADIUS * pixels
    obstacles = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in points_n2]
    obstacles += [text.get_window_extent() for text in axes.texts]
    for index, name in names.items():
        width, height = _text_size(shortened(name))
        for distance, across, up in _positions(width, height):
            x, y = points_n2[index] + np.array([across, up]) * pixels
            half_width, half_height = width * pixels / 2, height * pixels / 2
            box = Bbox.from_extents(x - half_width, y - half_height, x + half_width, y + half_height)
            if _contains(axes.bbox, box) and not any(box.overlaps(other) for other in obstacles):
                obstacles.append(box)
                _draw(axes, shortened(name), xy_n2[index], (across, up), leader=distance >= _LEADER_FROM)
                break


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name, without its middle if it is too long: names of designs mostly differ at their ends."""
    if len(name) <= longest:
        return name
    return f"{name[: longest // 2]}\u2026{name[-((longest - 1) // 2) :]}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of one line of text at a font size, in typographic points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def _positions(width: float, height: float) -> Iterator[tuple[float, float, float]]:
    """Distance and centre of a label relative to its point, in typographic points: near before far, sides first."""
    order = sorted(range(_DIRECTIONS), key=lambda step: (step % (_DIRECTIONS // 4) != 0, step))
    for distance in _DISTANCES:
        for step in order:
            angle = 2 * math.pi * step / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            yield distance, across * (distance + width / 2), up * (distance + height / 2)


def _text_size(text: str) -> tuple[float, float]:
    """Width and height of a label in typographic points, with a margin."""
    return text_width(text, _FONT_SIZE) + 2, _FONT_SIZE * 1.15


def _contains(outer: Bbox, inner: Bbox) -> bool:
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


def _draw(axes: Axes, text: str, xy: Floats, offset: tuple[float, float], *, leader: bool) -> None:
    from matplotlib.patheffects import withStroke

    line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    label = axes.annotate(
        text,
        (float(xy[0]), float(xy[1])),
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT_SIZE,
        color="#333333",
        zorder=6,
        parse_math=False,
        arrowprops=line if leader else None,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )
    label.set_in_layout(False)
