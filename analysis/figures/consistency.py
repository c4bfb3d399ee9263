"""Figures of a study: consistency between two scales, a whole report, ranking of designs.

Each function returns a figure that fits a page for any study. style.py defines the look, scatter.py and panels.py draw
the parts. The figures of promotion are in promotion.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures import panels, style
from analysis.figures.labels import shortened
from analysis.figures.scatter import FEW_ENOUGH_TO_LABEL, draw_scatter, name_designs
from analysis.tables import scale_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.consistency import Consistency, Report

MOST_RANKED = 40
"""Largest number of rows of a ranking."""
_LIGHT, _MIDDLE, _DARK = "#9CC5E3", "#3F84BA", "#0B3C6F"
_SCATTER_IN, _ALONE_IN, _BESIDE = 4.4, 5.3, 1.75
"""Height of the scatter plot with panels beside it, and alone, in inches; its width relative to that of a panel."""


def consistency_figure(consistency: Consistency) -> Figure:
    """Scores at the large scale against those at the small one, with the fitted line and its 95 % bands."""
    with style.style():
        figure = style.page(_ALONE_IN, _headline(consistency), _parts(consistency))
        axes = figure.add_subplot()
        entries = draw_scatter(axes, consistency)
        style.legend(figure, entries, style.legend_columns(entries), loc="outside lower center")
        style.lay_out(figure)
        name_designs(axes, consistency)
    return figure


def report_figure(report: Report) -> Figure:
    """The scatter plot, beside it R^2 by size and by training samples, below it the effect of each choice.

    Panels without data are left out, and the others use their space.
    """
    consistency, beside = report.consistency, _panels_beside(report)
    rows = len(panels.shown_choices(report))
    heights = [_SCATTER_IN if beside or rows else _ALONE_IN, 0.45, *([0.8 + 0.25 * rows] if rows else [])]
    with style.style():
        figure = style.page(sum(heights), _headline(consistency), _parts(consistency), _caption(report))
        outer = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        # One grid for the scatter plot and its panels, so that their axes are aligned.
        widths = [_BESIDE, 1] if beside else [1]
        upper = outer[0].subgridspec(max(1, len(beside)), len(widths), width_ratios=widths)
        axes = figure.add_subplot(upper[:, 0])
        entries = draw_scatter(axes, consistency)
        for row, draw in enumerate(beside):
            draw(figure.add_subplot(upper[row, 1]))
        if beside:
            style.panel_title(axes, "Each design at both scales", _fit_notes(consistency))
        style.legend_row(figure.add_subplot(outer[1]), entries)
        if rows:
            effects = figure.add_subplot(outer[2])
            style.legend(effects, panels.draw_effects(effects, report), 2, loc="lower right", bbox_to_anchor=(1, 1.01))
        style.lay_out(figure)
        name_designs(axes, consistency)
    return figure


def _panels_beside(report: Report) -> list[Callable[[Axes], None]]:
    """Functions that draw the panels for which the report has data."""
    panels_to_draw: list[Callable[[Axes], None]] = []
    if len(panels.sized_pairs(report)) > 1:
        panels_to_draw.append(lambda axes: panels.draw_size_panel(axes, report))
    if (curve := report.by_samples) is not None:
        panels_to_draw.append(lambda axes: panels.draw_samples_panel(axes, curve))
    return panels_to_draw


def _fit_notes(consistency: Consistency) -> list[str]:
    if consistency.slope is None or consistency.rmse is None:
        return ["", "no line: all scores are equal at one scale"]
    fit = f"slope {consistency.slope:.2f}, residuals {consistency.rmse:.2g} points".replace("-", "\u2212")
    if not consistency.influential or (rest := consistency.influential[-1].r2) is None:
        return ["", fit]
    names = ", ".join(shortened(removal.design, 12) for removal in consistency.influential)
    return [fit, f"R\u00b2 {rest:.2f} without {names}"]


def ranking_figure(ranking: pd.DataFrame, label: str = "score") -> Figure:
    """One row per design, one dot per scale, with bars of one standard deviation over seeds to either side.

    Args:
        ranking: from `analysis.tables.ranking`; concatenate several for several scales.
        label: label of the score axis.
    """
    scales = sorted(ranking["scale"].unique(), key=scale_size)  # labels that are no sizes stay in order
    order = _rows_of(ranking, scales)
    designs = order[:MOST_RANKED]
    less = f"the first {len(designs)} of {len(order)} designs" if len(designs) < len(order) else f"{len(order)} designs"
    bars = "bars: one standard deviation over seeds" if (ranking["seeds"] > 1).any() else "one seed each"
    with style.style():
        figure = style.page(
            0.9 + 0.27 * len(designs), f"Designs by score at {scales[-1]}, best first", [f"{less}; {bars}"]
        )
        axes = figure.add_subplot()
        style.grid(axes)
        entries = {}
        for scale, color in zip(scales, _light_to_dark(len(scales)), strict=True):
            rows = ranking[(ranking["scale"] == scale) & ranking["design"].isin(designs)]
            row_of = rows["design"].map(designs.index)
            sd = rows["sd"].fillna(0.0)
            axes.errorbar(rows["mean"], row_of, xerr=sd, fmt="none", ecolor=color, elinewidth=1.6, alpha=0.6)
            entries[scale] = axes.scatter(rows["mean"], row_of, s=36, c=color, ec="white", lw=0.8, zorder=4)
        axes.set_ylim(len(designs) - 0.4, -0.6)
        axes.set_yticks(range(len(designs)), [shortened(design) for design in designs], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label, parse_math=False)
        if len(scales) > 1:
            style.legend(figure, entries, style.legend_columns(entries), loc="outside lower center")
        style.lay_out(figure)
    return figure


def _headline(consistency: Consistency) -> str:
    pair = f"{shortened(consistency.small)} \u2192 {shortened(consistency.large)}:  R\u00b2 = "
    if consistency.r2 is None:
        return pair + "undefined"
    interval = consistency.intervals["r2"]
    between = f"  (95% interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    return f"{pair}{consistency.r2:.2f}{between}"


def _parts(consistency: Consistency) -> list[str]:
    accuracy = consistency.decision_accuracy
    return [
        f"{shortened(consistency.study)}, {consistency.n} designs",
        *([f"{consistency.modality} alone"] if consistency.modality != "video" else []),
        *([f"decision accuracy {accuracy:.0%}"] if accuracy is not None else []),
        f"regret@1 {consistency.regret[1]:.3g} points",
    ]


def _caption(report: Report) -> str:
    """Explanation of labels, bars and verdicts."""
    sentences = []
    if report.consistency.n > FEW_ENOUGH_TO_LABEL:
        sentences.append("Labelled: best, worst, largest residuals, and the designs that influence R\u00b2 most.")
    if report.by_samples or len(panels.sized_pairs(report)) > 1:
        sentences.append("Bars of R\u00b2: 95% intervals over designs.")
    if panels.shown_choices(report):
        sentences.append("Transfers, reverses: both 95% intervals exclude zero; otherwise only signs are compared.")
    return " ".join(sentences)


def _light_to_dark(number: int) -> list[str]:
    """One colour per scale, the darkest for the largest."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("scales", [_LIGHT, _MIDDLE, _DARK])
    return [to_hex(ramp(x)) for x in np.linspace(0.0, 1.0, number)] if number > 1 else [_DARK]


def _rows_of(ranking: pd.DataFrame, scales: list[str]) -> list[str]:
    """Designs by rank at the largest scale with a score of theirs; those of larger scales first."""
    size = {scale: -number for number, scale in enumerate(scales)}
    rows = ranking.assign(size=ranking["scale"].map(size)).sort_values(["size", "rank", "design"])
    return list(dict.fromkeys(rows["design"].tolist()))
