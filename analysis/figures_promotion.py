"""The figures of promotion: what policies would have cost and lost, and who is promoted of whom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import figures_style as style
from analysis.labels import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.backtest import Backtest, Replayed
    from analysis.selection import Candidate, Selection

MOST_CANDIDATES = 40
"""Rows of candidates that still can be read."""
_ACROSS = 3
"""Panels side by side."""
_PANEL_IN, _ROW_IN = 2.7, 0.25
_FAMILIES: dict[str, tuple[str, str, str]] = {
    "regret": ("expected regret \u2264 r", "s", style.ORANGE),
    "confidence": ("winner in with chance c", "^", style.GREEN),
    "next, regret": ("one at a time until r", "D", "#8C5A9E"),
}
"""Beginning of a policy's name -> words, marker, colour."""


def backtest_figure(backtests: Sequence[Backtest]) -> Figure:
    """Regret against cost at the large scale, a panel for each proxy, a line or marker for each family of policies.

    Args:
        backtests: of one study and one large scale, with one or several proxies each.

    Raises:
        ValueError: there is no row at all, or they are of different studies or large scales.
    """
    of = {(one.study, one.large) for one in backtests}
    proxies = {row.proxy: [] for one in backtests for row in one.rows} if len(of) == 1 else {}  # type: ignore[var-annotated]
    if not proxies:
        raise ValueError(f"one study and large scale at a time, with at least one policy replayed; got {sorted(of)}")
    for one in backtests:
        for row in one.rows:
            proxies[row.proxy].append(row)
    first = backtests[0]
    down = -(-len(proxies) // _ACROSS)
    parts = [shortened(first.study), f"{first.designs} designs"]
    with style.style():
        headline = f"What promoting to {shortened(first.large)} would have cost and lost"
        figure = style.page(_PANEL_IN * down + 0.6, headline, parts, _backtest_caption(backtests))
        outer = figure.add_gridspec(2, 1, height_ratios=[_PANEL_IN * down, 0.4])
        inner = outer[0].subgridspec(down, min(len(proxies), _ACROSS))
        top = _top(list(proxies.values()))
        entries: dict[str, Any] = {}
        for place, (proxy, rows) in enumerate(proxies.items()):
            axes = figure.add_subplot(inner[place // _ACROSS, place % _ACROSS])
            entries |= _draw_proxy(axes, rows, top)
            style.panel_title(axes, f"from {shortened(proxy, 16)}", [f"whose own runs cost {rows[0].small_cost:.0%}"])
            axes.set_xlabel(f"Cost at {shortened(first.large, 12)}", parse_math=False)
            if place % _ACROSS == 0:
                axes.set_ylabel("Regret in points")
            style.small_ticks(axes)
        below = figure.add_subplot(outer[1])
        below.set_axis_off()
        style.legend(below, entries, style.legend_columns(entries), loc="center")
        style.lay_out(figure)
    return figure


def _draw_proxy(axes: Axes, rows: Sequence[Replayed], top: float) -> dict[str, Any]:
    """What a legend says: words -> what is drawn so."""
    style.grid(axes)
    entries: dict[str, Any] = {}
    axes.set_xlim(0, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_ylim(-0.035 * top, top)
    if random := _family(rows, "random-"):
        look: dict[str, Any] = {"color": style.GREY, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        entries["k at random"] = axes.plot([r.cost for r in random], [r.regret for r in random], zorder=2, **look)[0]
    if best := _family(rows, "top-"):
        cost, regret = [row.cost for row in best], [row.regret for row in best]
        band = axes.fill_between(cost, regret, [row.regret_95 for row in best], color="#C3DBEB", lw=0, zorder=1)
        (line,) = axes.plot(cost, regret, color=style.BLUE, linewidth=1.5, marker="o", markersize=3.2, zorder=3)
        entries["k best, up to 95%"] = (band, line)
        _number(axes, best)
    for start, (words, marker, color) in _FAMILIES.items():
        for row in _family(rows, f"{start} "):
            axes.plot([row.cost] * 2, [row.regret, row.regret_95], color=color, linewidth=1.0, alpha=0.6, zorder=4)
            look = {"marker": marker, "s": 26, "c": color, "ec": "white", "lw": 0.7}
            entries[words] = axes.scatter([row.cost], [row.regret], zorder=5, clip_on=False, **look)
    return entries


def _number(axes: Axes, best: Sequence[Replayed]) -> None:
    """Names for a few k, above the line."""
    for row in best:
        if row.policy in ("top-1", "top-3", "top-5", "top-10") and row.regret <= axes.get_ylim()[1]:
            at = (row.cost, max(row.regret, min(row.regret_95, axes.get_ylim()[1] * 0.9)))
            axes.annotate(
                row.policy.removeprefix("top-"),
                at,
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=style.SMALL_PT,
                color=style.BLUE,
            )


def _family(rows: Sequence[Replayed], start: str) -> list[Replayed]:
    """Policies whose name begins so, and ends in their number, by cost."""
    found = [row for row in rows if row.policy.startswith(start) and math.isfinite(row.cost) and math.isfinite(row.regret)]
    return sorted(found, key=lambda row: row.cost)


def _top(of_proxies: Sequence[Sequence[Replayed]]) -> float:
    """Room for all that is chosen by score; chance may leave at the top."""
    chosen = [r.regret_95 for rows in of_proxies for r in rows if not r.policy.startswith("random-")]
    every = [r.regret for rows in of_proxies for r in rows]
    return 1.12 * (max(chosen, default=0.0) or max(every, default=0.0) or 1.0)


def _backtest_caption(backtests: Sequence[Backtest]) -> str:
    subsets = sorted({one.subsets for one in backtests})
    number = f"{subsets[0]}" if len(subsets) == 1 else f"{subsets[0]} to {subsets[-1]}"
    large = shortened(backtests[0].large, 12)
    return (
        f"Lines and markers: means over {number} random subsets of the designs; bands and bars reach up to what 95 of 100 "
        f"subsets stay below. Cost: share of training all designs at {large}, in which the small runs are not included. "
        "Numbers: k. Of each marker, from left to right: ever stricter."
    )
