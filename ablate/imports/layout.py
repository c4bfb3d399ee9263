"""The layout of a table that another program wrote: which columns are ours, which are axes, which are ignored.

Options of `ablate import` -> `Layout`; with the header of a file -> `ColumnIndices`. Cells are read in file.py.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ablate.errors import UsageError

OURS = ("design", "scale", "seed", "samples", "benchmark", "category", "modality", "score")
"""Columns of a tidy file, which has one score per row."""
REQUIRED = ("design", "scale", "score")
WIDE_COLUMNS = {"scale": "scale", "metric": "category", "seed": "seed"}
"""What the headers of a wide file contain (--wide) -> our column with that content."""
ALIASES = {
    "design": ("variant", "model", "name", "run", "method", "config", "experiment", "setting", "id", "row", ""),
    "scale": ("llm", "size", "model_size", "params", "parameters", "num_params", "backbone"),
    "seed": ("random_seed", "replicate", "trial"),
    "samples": ("num_samples", "n_samples", "train_samples", "budget"),
    "benchmark": ("task", "dataset", "bench", "eval"),
    "category": ("metric", "subset", "subtask", "measure"),
    "modality": ("input", "mode"),
    "score": ("average", "avg", "overall", "accuracy", "acc", "mean", "value", "result", "loss", "eval_loss", "metric"),
}
"""Common names of our columns in other tables; messages suggest them, nothing is read by them."""
MAX_SUGGESTIONS = 12  # columns: messages with more are not readable
_SIZE = re.compile(r"\d+(\.\d+)?[KMBT]", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the options of `ablate import` say about the columns of a file.

    Raises:
        UsageError: two options contradict each other.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the file's."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the file's column."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Our column -> its value in all rows, if the file has no such column."""
    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(our column or an axis, cell) -> the value that replaces it."""
    ignored: tuple[str, ...] = ()
    ignore_rest: bool = False
    """Whether columns that no other option names are ignored."""
    wide: str | None = None
    """A key of `WIDE_COLUMNS` if scores are in several columns, whose headers contain it; None for a tidy file."""
    wide_headers: Mapping[str, str] = field(default_factory=dict)
    """Header of a score column of a wide file -> its scale, metric or seed."""

    def __post_init__(self) -> None:
        if self.wide_headers and not self.wide:
            raise UsageError("--columns: state with --wide what the headers contain: scale, metric or seed")
        for option, values in (("--column", self.columns), ("--constant", self.constants)):
            for ours in sorted(self.from_headers & set(values)):
                raise UsageError(f"{option} {ours}={values[ours]}: with --wide {self.wide}, --columns gives the {ours}")
        for ours in sorted(set(self.columns) & set(self.constants)):
            raise UsageError(f"{ours} is given twice, by --column and by --constant; keep one")
        for theirs in self.ignored:
            if theirs in {*self.columns.values(), *self.axes.values(), *self.wide_headers}:
                raise UsageError(f"--ignore {shlex.quote(theirs)}: another option uses this column; keep one of them")
        for name, cell in self.renames:
            if name not in (*OURS, *self.axes):
                raise UsageError(
                    f"--rename {name}:{cell}=...: {name!r} is neither one of our columns nor an --axis"
                    f"{closest_match(name, OURS)}; there are: {', '.join((*OURS, *self.axes))}"
                )

    @property
    def from_headers(self) -> set[str]:
        """Our columns that a wide file encodes in its headers."""
        return {WIDE_COLUMNS[self.wide], "score"} if self.wide else set()


@dataclass(frozen=True)
class LayoutOptions:
    """The options of `ablate import` as they are typed."""

    column: Sequence[str] | None = None
    axis: Sequence[str] | None = None
    constant: Sequence[str] | None = None
    rename: Sequence[str] | None = None
    ignore: Sequence[str] | None = None
    columns: Sequence[str] | None = None
    _: KW_ONLY
    wide: str | None = None
    ignore_rest: bool = False

    def layout(self) -> Layout:
        """Parse the options.

        Raises:
            UsageError: an option is malformed, or two contradict each other.
        """
        columns = _assignments("--column", self.column, "design=variant")
        constants = _assignments("--constant", self.constant, "scale=7B")
        if empty := [ours for ours, value in constants.items() if not value or ours == "score"]:
            raise UsageError(
                f"--constant {empty[0]}={constants[empty[0]]}: give a value that all rows share, as in scale=7B"
            )
        return Layout(
            columns={ours: one_line(theirs) for ours, theirs in columns.items()},
            axes=_axes(self.axis or ()),
            constants=constants,
            renames=_renames(self.rename or ()),
            ignored=tuple(one_line(name) for name in self.ignore or ()),
            ignore_rest=self.ignore_rest,
            wide=self.wide,
            wide_headers=_wide_headers(self.columns or ()),
        )


def one_line(name: str) -> str:
    """A header with line breaks and runs of blanks replaced by single blanks, so that it can be typed."""
    return " ".join(name.split())


def closest_match(name: str, candidates: Iterable[str]) -> str:
    """Part of a message: the candidate that is probably meant; empty if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    matches = get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[matches[0]]!r}?)" if matches else ""


def _assignments(option: str, texts: Sequence[str] | None, example: str) -> dict[str, str]:
    """Parse `ours=theirs`, split at the first sign, since their names may contain one."""
    theirs_of: dict[str, str] = {}
    for text in texts or ():
        ours, sign, theirs = (piece.strip() for piece in text.partition("="))
        if not sign:
            raise UsageError(f"{option} {text}: write it as OURS=THEIRS, e.g. {option} {example}")
        if ours not in OURS:
            swapped = f" (did you mean {option} {theirs}={ours}?)" if theirs in OURS else closest_match(ours, OURS)
            raise UsageError(
                f"{option} {text}: {ours!r} is not one of our columns{swapped}; there are: {', '.join(OURS)}"
            )
        if ours in theirs_of:
            raise UsageError(f"{option} {text}: {ours} is given twice, first as {theirs_of[ours]!r}; keep one")
        theirs_of[ours] = theirs
    return theirs_of


def _axes(texts: Sequence[str]) -> dict[str, str]:
    """Parse `theirs` or `axis=theirs`."""
    column_of_axis: dict[str, str] = {}
    for text in texts:
        axis, sign, theirs = (one_line(piece) for piece in text.partition("="))
        if axis in OURS:
            raise UsageError(f"--axis {text}: {axis!r} is one of our columns; give the axis another name: NAME={axis}")
        if not axis:
            raise UsageError(f"--axis {shlex.quote(text)}: the axis has no name; give it one: NAME=THEIRS")
        if axis in column_of_axis:
            raise UsageError(f"--axis {shlex.quote(text)}: the axis is given twice; keep one")
        column_of_axis[axis] = theirs if sign else axis
    return column_of_axis


def _renames(texts: Sequence[str]) -> dict[tuple[str, str], str]:
    """Parse `ours:theirs=value`, split at the last sign, since their names may contain one."""
    renames: dict[tuple[str, str], str] = {}
    for text in texts:
        left, sign, value = (piece.strip() for piece in text.rpartition("="))
        name, colon, cell = (piece.strip() for piece in left.partition(":"))
        if not (sign and colon and name and (value or name == "score")):
            example = "--rename scale:Qwen2-7B-Instruct=7B"
            raise UsageError(f"--rename {text}: write it as OURS:THEIRS=VALUE, e.g. {example}")
        if (name, cell) in renames:
            raise UsageError(
                f"--rename {text}: {name} {cell!r} is renamed twice, first to {renames[name, cell]!r}; keep one"
            )
        renames[name, cell] = value
    return renames


def _wide_headers(texts: Sequence[str]) -> dict[str, str]:
    """Parse `HEADER` or `HEADER=VALUE`, separated by commas; a header with a comma is quoted as in a CSV file."""
    value_of_header: dict[str, str] = {}
    for text in next(csv.reader([",".join(texts)]), []):
        left, sign, right = text.rpartition("=")
        header, value = (one_line(left), right.strip()) if sign else (one_line(text), text.strip())
        if not header or not value:
            raise UsageError(f"--columns: {text!r} is empty; write HEADER or HEADER=VALUE, separated by commas")
        if header in value_of_header:
            raise UsageError(f"--columns: {header!r} is listed twice; keep one")
        if value in value_of_header.values():
            raise UsageError(f"--columns: two headers have the value {value!r}; each needs its own")
        value_of_header[header] = value
    return value_of_header


# --- against a header -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ColumnIndices:
    """Indices of a file's columns."""

    ours: Mapping[str, int]
    """Our column, except the score -> index."""
    axes: Mapping[str, int]
    """Axis -> index."""
    scores: Sequence[tuple[int, Mapping[str, str]]]
    """Index of each score column, and the values of our columns that its header gives; none if it is the only one."""
    ignored: tuple[str, ...]
    """Headers of the columns that are not read."""


def locate_columns(file: Path, header: Sequence[str], layout: Layout) -> ColumnIndices:
    """Find the columns of a layout in a file's header.

    Raises:
        UsageError: a column is missing, duplicate, or not accounted for; the message says what to type.
    """
    duplicates = {name for name in header if header.count(name) > 1 and name not in layout.ignored}
    if duplicates:
        raise UsageError(f"{file}: duplicate columns: {', '.join(sorted(duplicates)) or 'several have no name'}")
    _refuse_missing(file, header, layout)
    same_name = {name: name for name in OURS if name in header and name not in layout.ignored}
    claimed = {*layout.columns.values(), *layout.wide_headers, *layout.from_headers}
    ours = {name: theirs for name, theirs in same_name.items() if name not in claimed} | dict(layout.columns)
    _refuse_incomplete(file, header, layout, ours)
    for name in sorted(set(ours) & set(layout.constants)):
        raise UsageError(
            f"--constant {name}={layout.constants[name]}: {file} has a column {ours[name]!r}; leave the option out, or "
            f"the column: --ignore {shlex.quote(ours[name])}"
        )
    used = {*ours.values(), *layout.axes.values(), *layout.wide_headers}
    rest = [name for name in header if name not in used and name not in layout.ignored]
    if rest and not layout.ignore_rest:
        raise UsageError(_unaccounted(file, rest, [name for name in OURS if name not in ours]))
    return ColumnIndices(
        ours={name: header.index(theirs) for name, theirs in ours.items() if name != "score"},
        axes={axis: header.index(theirs) for axis, theirs in layout.axes.items()},
        scores=_score_columns(file, header, layout, ours),
        ignored=tuple(name for name in header if name not in used),
    )


def _score_columns(
    file: Path, header: Sequence[str], layout: Layout, ours: Mapping[str, str]
) -> list[tuple[int, Mapping[str, str]]]:
    if not layout.wide:
        return [(header.index(ours["score"]), {})]
    columns: list[tuple[int, Mapping[str, str]]] = []
    for name, value in layout.wide_headers.items():
        from_header = {WIDE_COLUMNS[layout.wide]: value}
        if layout.wide == "metric" and "/" in value:
            benchmark, category = (piece.strip() for piece in value.split("/", 1))
            if not benchmark or not category:
                raise UsageError(f"--columns: {value!r} is not a metric; write CATEGORY or BENCHMARK/CATEGORY")
            if "benchmark" in ours:
                raise UsageError(
                    f"--columns: {value!r} names a benchmark, as column {ours['benchmark']!r} of {file} does; write "
                    f"{shlex.quote(f'{name}={category}')}, or --ignore {shlex.quote(ours['benchmark'])}"
                )
            from_header = {"benchmark": benchmark, "category": category}
        columns.append((header.index(name), from_header))
    return columns


def _refuse_missing(file: Path, header: Sequence[str], layout: Layout) -> None:
    """Refuse options that name a column the file does not have."""
    named = [
        *((f"--column {ours}={theirs}", theirs) for ours, theirs in layout.columns.items()),
        *((f"--axis {axis}" + f"={theirs}" * (axis != theirs), theirs) for axis, theirs in layout.axes.items()),
        *((f"--columns {theirs}", theirs) for theirs in layout.wide_headers),
        *((f"--ignore {shlex.quote(theirs)}", theirs) for theirs in layout.ignored),
    ]
    for option, theirs in named:
        if theirs not in header:
            raise UsageError(
                f"{option}: {file} has no column {theirs!r}{closest_match(theirs, header)}; it has: {_listed(header)}"
            )


def _refuse_incomplete(file: Path, header: Sequence[str], layout: Layout, ours: Mapping[str, str]) -> None:
    """Refuse a file without design, scale or score; the message suggests columns and the options for them."""
    left = [name for name in header if name not in {*ours.values(), *layout.axes.values(), *layout.ignored}]
    if layout.wide and not layout.wide_headers:
        columns = shlex.quote(",".join(left[:MAX_SUGGESTIONS]))
        raise UsageError(f"--wide {layout.wide}: name the columns, e.g. --columns {columns}")
    missing = [name for name in REQUIRED if name not in {*ours, *layout.constants, *layout.from_headers}]
    if not missing:
        return
    sizes = [name for name in left if _SIZE.fullmatch(name)]
    if sizes and "scale" in missing and not layout.wide:
        suggestions = [f"--wide scale --columns {shlex.quote(','.join(sizes))}"]
        still_missing = [name for name in missing if name not in ("scale", "score")]
    else:
        suggestions, still_missing = [], missing
    suggestions += [
        f"--column {name}={shlex.quote(guess)}" for name in still_missing if (guess := _guess(name, left)) is not None
    ]
    unguessed = [name for name in still_missing if _guess(name, left) is None]
    suggestions += [f"--column {name}=ITS_COLUMN" for name in unguessed]
    also = " (--constant scale=VALUE if all rows are of one scale)" * ("scale" in unguessed)
    also += " (--wide if scores are in several columns)" * ("score" in unguessed)
    raise UsageError(
        f"{file}: column {missing[0]!r} is missing; it has {_listed(header)}; required: {', '.join(REQUIRED)}; name "
        f"the column, e.g. {' '.join(suggestions)}{also}"
    )


def _guess(ours: str, left: Sequence[str]) -> str | None:
    """The column of the file that most likely corresponds to one of ours."""
    by_lower = {name.lower(): name for name in reversed(left)}
    for alias in (ours, *ALIASES[ours]):
        if alias in by_lower:
            return by_lower[alias]
    matches = get_close_matches(ours, by_lower, n=1, cutoff=0.75)
    return by_lower[matches[0]] if matches else None


def _unaccounted(file: Path, rest: Sequence[str], free: Sequence[str]) -> str:
    """The message for columns that no option names, with options to type."""
    names = rest[:MAX_SUGGESTIONS]
    more = f" and {len(rest) - MAX_SUGGESTIONS} more" if len(rest) > MAX_SUGGESTIONS else ""
    axes = " ".join(f"--axis {shlex.quote(f'NAME={name}' if name in ('', *OURS) else name)}" for name in names)
    ignore = " ".join(f"--ignore {shlex.quote(name)}" for name in names)
    guesses = [f"--column {ours}={shlex.quote(guess)}" for ours in free if (guess := _guess(ours, rest)) is not None]
    perhaps = f"; or is it one of our columns: {' '.join(guesses)}" if guesses else ""
    quoted = ", ".join(repr(name) for name in names)
    return (
        f"{file}: unknown column{'s' * (len(rest) > 1)} {quoted}{more}; keep as axes of the designs: {axes}; or leave "
        f"out: {ignore}, all at once: --ignore-rest{perhaps}"
    )


def _listed(header: Sequence[str]) -> str:
    limit = 3 * MAX_SUGGESTIONS
    more = f" and {len(header) - limit} more" if len(header) > limit else ""
    return ", ".join(name or "(one without name)" for name in header[:limit]) + more
