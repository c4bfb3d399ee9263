"""Style of figures: page, colours, heading and caption, file formats. Scores are not used here.

Figures are created without pyplot: no global state, no window. Most of matplotlib is imported inside functions, since
most commands draw nothing. The colours are those of Okabe and Ito, which are safe for colour-blind readers; important
distinctions also use shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure as Figure

from analysis.figures.labels import text_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.axes import Axes

DPI = 150
"""Dots per inch of png files."""
WIDTH_IN = 7.0
"""Width of every figure in inches: the text width of a page, so that fonts are printed at their nominal sizes."""
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#00845A", "#8A8A8A", "#222222"
SOFT = "#555555"
"""Colour of secondary text."""
SMALL_PT, TITLE_PT, TEXT_PT = 8.5, 12.5, 9.5
"""Font sizes in points: labels and ticks in panels, heading, other text."""
_LINE_SPACING = 1.3
_MARGIN_IN = 0.08
_STYLE: dict[Any, Any] = {  # keys are a Literal type that differs between versions
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": TEXT_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
    "legend.fontsize": SMALL_PT,
    "pdf.fonttype": 42,  # TrueType: journals refuse type 3
}


def style() -> AbstractContextManager[None]:
    """Context manager with the settings to draw, lay out and save figures."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as png (at `DPI`), pdf or svg, depending on the suffix of the path.

    Raises:
        ValueError: matplotlib does not support the suffix.
    """
    with style():
        options: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if path.suffix.lower() == ".png" else {}
        figure.savefig(path, dpi=DPI, **options)


def page(body_in: float, headline: str, parts: Sequence[str], caption: str = "") -> Figure:
    """An empty figure with a heading above and a caption below the area for drawing.

    Args:
        body_in: height of the area for drawing, in inches.
        headline: one line, bold.
        parts: subtitle, separated by dots, on as many lines as needed.
        caption: explanation of the symbols.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    room_pt = 72 * (WIDTH_IN - 2 * _MARGIN_IN)
    under, below = _lines(parts, "   \u00b7   ", TEXT_PT, room_pt), _lines(caption.split(), " ", SMALL_PT, room_pt)
    top_in = _MARGIN_IN + (TITLE_PT + 5 + len(under) * TEXT_PT * _LINE_SPACING) / 72 + 0.1
    foot_in = _MARGIN_IN + len(below) * SMALL_PT * _LINE_SPACING / 72
    height_in = top_in + body_in + foot_in
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    room = (0, foot_in / height_in, 1, body_in / height_in)
    figure.set_layout_engine("constrained", rect=room, w_pad=_MARGIN_IN, h_pad=_MARGIN_IN / 2)
    FigureCanvasAgg(figure)
    left, size_pt = _MARGIN_IN / WIDTH_IN, TITLE_PT
    while text_width(headline, size_pt, bold=True) > room_pt and size_pt > TEXT_PT:
        size_pt -= 0.5
    _write(figure, (left, 1 - _MARGIN_IN / height_in), [headline], size_pt, INK, "bold")
    _write(figure, (left, 1 - (_MARGIN_IN + (TITLE_PT + 5) / 72) / height_in), under, TEXT_PT, SOFT)
    _write(figure, (left, (foot_in - 0.02) / height_in), below, SMALL_PT, SOFT)
    return figure


def _write(
    figure: Figure, xy: tuple[float, float], lines: Sequence[str], size: float, color: str, weight: str = "normal"
) -> None:
    if lines:
        text = figure.text(*xy, "\n".join(lines), fontsize=size, color=color, fontweight=weight, va="top")
        text.set_linespacing(_LINE_SPACING)
        text.set_parse_math(False)
        text.set_in_layout(False)


def _lines(parts: Iterable[str], between: str, size: float, room_pt: float) -> list[str]:
    """Parts joined to lines, each with as many parts as fit."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and text_width(longer, size) <= room_pt:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def grid(axes: Axes) -> None:
    """Draw faint grid lines behind the data."""
    axes.grid(color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def small_ticks(axes: Axes) -> None:
    """Use the smaller font size of panels for ticks and axis labels."""
    axes.tick_params(labelsize=SMALL_PT, length=3)
    axes.xaxis.label.set_fontsize(SMALL_PT)
    axes.yaxis.label.set_fontsize(SMALL_PT)


def panel_title(axes: Axes, title: str, notes: Sequence[str] = ()) -> None:
    """Title of one of several panels, with lines of notes below; an empty note leaves a blank line."""
    step_pt = SMALL_PT * _LINE_SPACING
    pad_pt = 6 + len(notes) * step_pt
    axes.set_title(title, loc="left", fontsize=TEXT_PT, fontweight="bold", color=INK, pad=pad_pt, parse_math=False)
    for line, note in enumerate(notes):
        if not note:
            continue
        axes.annotate(
            note,
            (0, 1),
            xytext=(0, pad_pt - (line + 1) * step_pt - 1),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL_PT,
            color=SOFT,
            parse_math=False,
        )


def legend(owner: Figure | Axes, entries: Mapping[str, Any], columns: int, **where: Any) -> None:
    """Draw a legend outside of the data.

    Args:
        owner: figure or axes that contains it.
        entries: label -> artist; a tuple of artists is drawn as one symbol.
        columns: number of columns.
        where: matplotlib's `loc` and `bbox_to_anchor`.
    """
    look: dict[str, Any] = {"frameon": False, "handletextpad": 0.5, "columnspacing": 1.4, "borderaxespad": 0.0}
    drawn = owner.legend(list(entries.values()), list(entries), ncols=columns, **look, **where)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def legend_row(axes: Axes, entries: Mapping[str, Any]) -> None:
    """Draw a legend in axes of its own."""
    axes.set_axis_off()
    if entries:
        legend(axes, entries, legend_columns(entries), loc="center")


def legend_columns(entries: Iterable[str]) -> int:
    """Number of columns that fit on the page and balance the rows."""
    widths = [text_width(entry, SMALL_PT) + 42 for entry in entries]
    columns = max(1, min(len(widths), int(72 * WIDTH_IN / max(widths))))
    return len(widths) if sum(widths) < 72 * WIDTH_IN else -(-len(widths) // -(-len(widths) // columns))


def lay_out(figure: Figure) -> None:
    """Compute the final layout, so that labels can be placed by pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
