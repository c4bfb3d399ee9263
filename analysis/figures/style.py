"""How figures look: page, colours, heading and caption, file formats. Knows nothing of scores.

Made without pyplot: no global state, no window. matplotlib is imported inside functions, since most commands draw
nothing. Colours are after Okabe and Ito, told apart by the colour-blind; what matters is told apart by shape too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.figures.labels import text_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

DPI = 150
WIDTH_IN = 7.0
"""Of every figure, in inches: the text width of a page, so that it is printed at the size of its fonts."""
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#00845A", "#8A8A8A", "#222222"
SOFT = "#555555"
"""Of words that stand back."""
SMALL_PT, TITLE_PT, TEXT_PT = 8.5, 12.5, 9.5
"""Font sizes in points: of labels and ticks in panels, of the heading, of the rest."""
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
    """Within it figures are drawn, laid out and saved alike."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as png (at `DPI`), pdf or svg, by the ending of the file's name.

    Raises:
        ValueError: an ending that matplotlib does not know.
    """
    with style():
        smaller: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if path.suffix.lower() == ".png" else {}
        figure.savefig(path, dpi=DPI, **smaller)


def page(body_in: float, headline: str, parts: Sequence[str], caption: str = "") -> Figure:
    """An empty figure with its heading above and a caption below; what is drawn gets the room between.

    Args:
        body_in: height of the room between, inches.
        headline: one line, bold.
        parts: under it, set apart by dots, on as many lines as they need.
        caption: what a reader must know to read the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Figure

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
        told = "\n".join(lines)
        text = figure.text(*xy, told, fontsize=size, color=color, fontweight=weight, va="top")
        text.set_linespacing(_LINE_SPACING)
        text.set_parse_math(False)
        text.set_in_layout(False)


def _lines(parts: Iterable[str], between: str, size: float, room_pt: float) -> list[str]:
    """As many parts on a line as have room."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and text_width(longer, size) <= room_pt:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def grid(axes: Axes) -> None:
    """Faint lines behind what is drawn."""
    axes.grid(color="#EBEBEB", linewidth=0.7)
    axes.set_axisbelow(True)


def small_ticks(axes: Axes) -> None:
    """For panels: ticks and axis labels a size smaller."""
    axes.tick_params(labelsize=SMALL_PT, length=3)
    axes.xaxis.label.set_fontsize(SMALL_PT)
    axes.yaxis.label.set_fontsize(SMALL_PT)


def panel_title(axes: Axes, title: str, notes: Sequence[str] = ()) -> None:
    """Of one panel of several, with lines on what it says; an empty one keeps its room."""
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
    """Beside what it explains, where it hides nothing.

    Args:
        owner: figure or axes that holds it.
        entries: words -> what is drawn so; a tuple is drawn as one.
        columns: side by side.
        where: matplotlib's `loc` and `bbox_to_anchor`.
    """
    look: dict[str, Any] = {"frameon": False, "handletextpad": 0.5, "columnspacing": 1.4, "borderaxespad": 0.0}
    made = owner.legend(list(entries.values()), list(entries), ncols=columns, **look, **where)
    for text in made.get_texts():
        text.set_parse_math(False)


def legend_row(axes: Axes, entries: Mapping[str, Any]) -> None:
    """A legend that has a row of the figure to itself."""
    axes.set_axis_off()
    if entries:
        legend(axes, entries, legend_columns(entries), loc="center")


def legend_columns(entries: Iterable[str]) -> int:
    """As many columns as the page has room for, so that rows are equally long."""
    widths = [text_width(entry, SMALL_PT) + 42 for entry in entries]
    columns = max(1, min(len(widths), int(72 * WIDTH_IN / max(widths))))
    return len(widths) if sum(widths) < 72 * WIDTH_IN else -(-len(widths) // -(-len(widths) // columns))


def lay_out(figure: Figure) -> None:
    """Settle the layout for good, so that labels can be placed by pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
