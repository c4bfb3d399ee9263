"""Figures of promotion: cost and regret of policies in a backtest, and the designs that are promoted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures import style
from analysis.figures.labels import place_labels, shortened
from analysis.promotion import SUBSET_SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.numbers import Floats
    from analysis.promotion import Backtest, Candidate, Replayed, Selection

MOST_CANDIDATES = 40
"""Largest number of rows of candidates."""
_ACROSS = 3
"""Panels side by side."""
_PANEL_IN, _ROW_IN = 3.1, 0.25
"""Heights of a panel and of a row, in inches."""
_FAMILIES: dict[str, tuple[str, str, str]] = {
    "regret": ("expected regret at most", "s", style.ORANGE),
    "confidence": ("best design promoted, probability", "^", style.GREEN),
    "next, regret": ("one at a time, regret at most", "D", "#8C5A9E"),
}
"""Start of a policy's name -> label, marker, colour."""
_LABELLED = ("top-1", "top-2", "top-3", "top-5", "top-10", "top-20")
_REGRET_TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100)


def backtest_figure(backtests: Sequence[Backtest]) -> Figure:
    """Regret against cost at the large scale: a panel for each proxy, a line or marker for each family of policies.

    Args:
        backtests: backtests of one study and one large scale, with one or several proxies each.

    Raises:
        ValueError: no policy was replayed, or the backtests differ in their study or large scale.
    """
    proxies, first = _by_proxy(backtests), backtests[0]
    across = 2 if len(proxies) == 4 else min(len(proxies), _ACROSS)
    down, top = -(-len(proxies) // across), _top(list(proxies.values()))
    large = shortened(first.large, 12)
    with style.style():
        parts = [shortened(first.study), f"{first.designs} designs"]
        heights = [_PANEL_IN * down, 0.45]
        headline = f"Backtest: cost and regret of promoting to {large}"
        figure = style.page(sum(heights), headline, parts, _backtest_caption(backtests))
        outer = figure.add_gridspec(2, 1, height_ratios=heights)
        inner = outer[0].subgridspec(down, across)
        drawn: list[tuple[Axes, list[Replayed]]] = []
        entries: dict[str, Any] = {}
        for panel, (proxy, rows) in enumerate(proxies.items()):
            axes = figure.add_subplot(inner[panel // across, panel % across])
            drawn.append((axes, rows))
            entries |= _draw_proxy(axes, rows, top)
            style.panel_title(axes, f"from {shortened(proxy, 16)}", [f"small-scale runs cost {rows[0].small_cost:.0%}"])
            axes.set_xlabel(f"Cost at {large}", parse_math=False)
            axes.set_ylabel("Regret in points" if panel % across == 0 else "")
            style.small_ticks(axes)
        style.legend_row(figure.add_subplot(outer[1]), entries)
        style.lay_out(figure)
        for axes, rows in drawn:
            _label_top_k(axes, rows)
    return figure


def _by_proxy(backtests: Sequence[Backtest]) -> dict[str, list[Replayed]]:
    """Proxy -> results of its policies."""
    studies = {(one.study, one.large) for one in backtests}
    proxies: dict[str, list[Replayed]] = {}
    for one in backtests:
        for row in one.rows:
            proxies.setdefault(row.proxy, []).append(row)
    if len(studies) != 1 or not proxies:
        raise ValueError(
            f"one study and large scale at a time, with at least one policy replayed; got {sorted(studies)}"
        )
    return proxies


def _draw_proxy(axes: Axes, rows: Sequence[Replayed], top: float) -> dict[str, Any]:
    """Draw the policies of one proxy.

    Returns:
        Entries of the legend: label -> artist.
    """
    style.grid(axes)
    entries: dict[str, Any] = {}
    axes.set_xlim(0, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_yscale("function", functions=(_root, _square))
    axes.set_ylim(-0.0005 * top, top)
    ticks = [tick for tick in _REGRET_TICKS if tick == 0 or 0.02 * top < tick <= top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    if random := _family(rows, "random-"):
        look: dict[str, Any] = {"color": style.GREY, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        entries["k random designs"] = axes.plot([r.cost for r in random], [r.regret for r in random], zorder=2, **look)[
            0
        ]
    if best := _until_no_regret(_family(rows, "top-")):
        cost, regret = [row.cost for row in best], [row.regret for row in best]
        band = axes.fill_between(
            cost, regret, [max(row.regret, row.regret_95) for row in best], color="#C3DBEB", lw=0, zorder=1
        )
        (line,) = axes.plot(cost, regret, color=style.BLUE, linewidth=1.5, marker="o", markersize=3.2, zorder=3)
        entries["k best, to 95th percentile"] = (band, line)
    for start, (words, marker, color) in _FAMILIES.items():
        family = _family(rows, f"{start} ")
        numbers = sorted({float(row.policy.rsplit(" ", 1)[1]) for row in family}, reverse=start != "confidence")
        label = f"{words} {', '.join(f'{number:g}' for number in numbers)}"
        for row in family:
            ends = [row.regret, max(row.regret, row.regret_95)]
            axes.plot([row.cost] * 2, ends, color=color, linewidth=1.0, alpha=0.6, zorder=4)
            look = {"marker": marker, "s": 26, "c": color, "ec": "white", "lw": 0.7}
            entries[label] = axes.scatter([row.cost], [row.regret], zorder=5, clip_on=False, **look)
    return entries


def _label_top_k(axes: Axes, rows: Sequence[Replayed]) -> None:
    """Label a few k; the layout must be final."""
    best = _until_no_regret(_family(rows, "top-"))
    every = [*best, *(row for start in _FAMILIES for row in _family(rows, f"{start} "))]
    names = {i: f"top {row.policy[4:]}" for i, row in enumerate(best) if row.policy in _LABELLED}
    if names:
        place_labels(axes, names, np.array([(row.cost, row.regret) for row in every], dtype=np.float64))


def _until_no_regret(best: list[Replayed]) -> list[Replayed]:
    """The k best up to the first k without regret: a larger k only costs more."""
    end = next((index for index, row in enumerate(best) if row.regret == 0 == row.regret_95), len(best))
    return best[: end + 1]


def _root(regret: Floats) -> Floats:
    """Square-root scale, which separates small regrets from zero; odd, since axes extend slightly below zero."""
    return np.asarray(np.sign(regret) * np.sqrt(np.abs(regret)))


def _square(root: Floats) -> Floats:
    """The inverse of `_root`."""
    return np.asarray(np.sign(root) * np.square(root))


def _family(rows: Sequence[Replayed], start: str) -> list[Replayed]:
    """Results of the policies with a start of their name, by cost."""
    finite = [row for row in rows if math.isfinite(row.cost) and math.isfinite(row.regret)]
    return sorted([row for row in finite if row.policy.startswith(start)], key=lambda row: row.cost)


def _top(of_proxies: Sequence[Sequence[Replayed]]) -> float:
    """Upper limit of regret: all policies that use scores fit; random choice may exceed it."""
    finite = [row for rows in of_proxies for row in rows if math.isfinite(row.regret_95)]
    by_score = [row.regret_95 for row in finite if not row.policy.startswith("random-")]
    every = [r.regret for rows in of_proxies for r in rows if math.isfinite(r.regret)]
    return 1.12 * (max(by_score, default=0.0) or max(every, default=0.0) or 1.0)


def _backtest_caption(backtests: Sequence[Backtest]) -> str:
    subsets = sorted({one.subsets for one in backtests})
    number = f"{subsets[0]}" if len(subsets) == 1 else f"{subsets[0]} to {subsets[-1]}"
    large = shortened(backtests[0].large, 12)
    return (
        f"Lines and markers: means over {number} random subsets, {SUBSET_SHARE:.0%} of the designs each, on a "
        "square-root scale; bands and bars end at the 95th percentile over subsets. Cost: share of training all "
        f"designs of the subset at {large}, without the small-scale runs. The markers of a rule follow from left to "
        "right in the order of its numbers in the legend."
    )


def promotion_figure(selection: Selection, label: str = "Predicted score") -> Figure:
    """One row per candidate, best prediction first, with its 95 % prediction interval; the promoted ones are marked.

    Args:
        selection: candidates and those that are promoted; costs get a panel of their own if they differ.
        label: label of the score axis.
    """
    candidates = _candidates_to_draw(selection)
    has_costs = len({candidate.cost for candidate in selection.candidates}) > 1
    heights = [0.75 + _ROW_IN * len(candidates), 0.3]
    with style.style():
        figure = style.page(sum(heights), *_promotion_heading(selection), _promotion_caption(selection, candidates))
        outer = figure.add_gridspec(2, 1, height_ratios=heights)
        inner = outer[0].subgridspec(1, 2 if has_costs else 1, width_ratios=[3, 1] if has_costs else [1])
        axes = figure.add_subplot(inner[0])
        style.grid(axes)
        entries: dict[str, Any] = {}
        for row, candidate in enumerate(candidates):
            entries |= _draw_candidate(axes, row, candidate)
        names = [shortened(candidate.design) for candidate in candidates]
        axes.set_yticks(range(len(candidates)), names, parse_math=False)
        axes.set_xlabel(label, parse_math=False)
        _style_rows(axes, len(candidates))
        if has_costs:
            _draw_costs(figure.add_subplot(inner[1]), candidates)
        style.legend_row(figure.add_subplot(outer[1]), entries)
        style.lay_out(figure)
    return figure


def _draw_costs(axes: Axes, candidates: Sequence[Candidate]) -> None:
    """Draw the costs of candidates; those that are trained already cost nothing."""
    axes.grid(axis="x", color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)
    colors = [style.GREEN if candidate.is_promoted else "#C9C9C9" for candidate in candidates]
    costs = [0.0 if candidate.is_known else candidate.cost for candidate in candidates]
    axes.barh(range(len(candidates)), costs, height=0.55, color=colors)
    axes.set_xlabel("Cost")
    axes.set_yticks([])
    _style_rows(axes, len(candidates))


def _promotion_heading(selection: Selection) -> tuple[str, list[str]]:
    total = sum(not candidate.is_known for candidate in selection.candidates)
    parts = [str(selection.policy)]
    if math.isfinite(selection.expected_regret):
        parts.append(f"expected regret {selection.expected_regret:.2f} points")
    if math.isfinite(selection.chance):
        parts.append(f"best design included with probability {selection.chance:.0%}")
    return f"Promoted: {len(selection.promoted)} of {total} candidates", parts


def _promotion_caption(selection: Selection, candidates: Sequence[Candidate]) -> str:
    omitted = len(selection.candidates) - len(candidates)
    rest = f" {omitted} candidates with lower predictions, none of them promoted, are not shown." if omitted else ""
    return f"Bars: 95% prediction interval of a run. Best prediction first.{rest}"


def _candidates_to_draw(selection: Selection) -> list[Candidate]:
    """All that are promoted and the first of the others, at most `MOST_CANDIDATES` unless more are promoted."""
    every = list(selection.candidates)
    if len(every) <= MOST_CANDIDATES:
        return every
    promoted = sum(candidate.is_promoted for candidate in every)
    room = max(0, MOST_CANDIDATES - promoted)
    others = [candidate for candidate in every if not candidate.is_promoted][:room]
    return [candidate for candidate in every if candidate.is_promoted or any(candidate is one for one in others)]


def _draw_candidate(axes: Axes, row: int, candidate: Candidate) -> dict[str, Any]:
    """Draw a filled square if already trained, a filled star if promoted, else an open dot.

    Returns:
        Its entry of the legend: label -> artist.
    """
    look: dict[str, Any] = {"marker": "o", "s": 30, "facecolor": "white", "edgecolor": style.GREY, "linewidth": 1.3}
    words, color = "not promoted", style.GREY
    if candidate.is_known:
        look |= {"marker": "s", "s": 32, "facecolor": style.INK, "edgecolor": "white", "linewidth": 0.8}
        words, color = "already trained", style.INK
    elif candidate.is_promoted:
        look |= {"marker": "*", "s": 130, "facecolor": style.GREEN, "edgecolor": "white", "linewidth": 0.8}
        words, color = "promoted", style.GREEN
    half = candidate.half_width
    if math.isfinite(half) and half > 0:
        ends = [candidate.predicted - half, candidate.predicted + half]
        axes.plot(ends, [row, row], color=color, linewidth=1.6, alpha=0.5, zorder=3, solid_capstyle="butt")
    return {words: axes.scatter([candidate.predicted], [row], zorder=4, **look)}


def _style_rows(axes: Axes, number: int) -> None:
    """Limits and ticks of axes with one row per candidate."""
    axes.set_ylim(number - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    style.small_ticks(axes)
    axes.tick_params(axis="y", length=0)
