"""How someone else's table is laid out: which of its columns are ours, which are axes, which are left alone.

Options of `ablate import` -> `Layout`; the same with a file's header -> `Places`. Cells are read in score_files.py.
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
"""Columns of a tidy file: a row is one score."""
REQUIRED = ("design", "scale", "score")
SPREAD = {"scale": "scale", "metric": "category", "seed": "seed"}
"""What the headers of a wide file hold (--wide) -> our column of it."""
ALSO_CALLED = {
    "design": ("variant", "model", "name", "run", "method", "config", "experiment", "setting", "id", "row", ""),
    "scale": ("llm", "size", "model_size", "params", "parameters", "num_params", "backbone"),
    "seed": ("random_seed", "replicate", "trial"),
    "samples": ("num_samples", "n_samples", "train_samples", "budget"),
    "benchmark": ("task", "dataset", "bench", "eval"),
    "category": ("metric", "subset", "subtask", "measure"),
    "modality": ("input", "mode"),
    "score": ("average", "avg", "overall", "accuracy", "acc", "mean", "value", "result", "loss", "eval_loss", "metric"),
}
"""Names under which others keep our columns; only ever suggested, never taken."""
SUGGESTED = 12  # columns; a message with more could not be read
_SIZE = re.compile(r"\d+(\.\d+)?[KMBT]", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the options of `ablate import` say of a file's columns.

    Raises:
        UsageError: two of them contradict each other.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the file's."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the file's column."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Our column -> its value in all rows, where the file has no such column."""
    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(our column or an axis, cell) -> what is taken instead."""
    ignored: tuple[str, ...] = ()
    ignore_rest: bool = False
    """Leave out what no other option names."""
    wide: str | None = None
    """A key of `SPREAD`: scores stand in several columns, whose headers say this. None: in one column."""
    spread: Mapping[str, str] = field(default_factory=dict)
    """Header of a wide file -> the scale, metric or seed that it means."""

    def __post_init__(self) -> None:
        if self.spread and not self.wide:
            raise UsageError("--columns: say with --wide what their headers hold: scale, metric or seed")
        for option, given in (("--column", self.columns), ("--constant", self.constants)):
            for ours in sorted(self.from_headers & set(given)):
                raise UsageError(f"{option} {ours}={given[ours]}: with --wide {self.wide}, --columns gives the {ours}")
        for ours in sorted(set(self.columns) & set(self.constants)):
            raise UsageError(f"{ours} is given twice, by --column and by --constant; keep one")
        for theirs in self.ignored:
            if theirs in {*self.columns.values(), *self.axes.values(), *self.spread}:
                raise UsageError(f"--ignore {shlex.quote(theirs)}: another option takes this column; keep one of them")
        for name, cell in self.renames:
            if name not in (*OURS, *self.axes):
                raise UsageError(
                    f"--rename {name}:{cell}=...: {name!r} is no column of ours and no --axis{near(name, OURS)}; "
                    f"there are: {', '.join((*OURS, *self.axes))}"
                )

    @property
    def from_headers(self) -> set[str]:
        """Our columns that a wide file has none of."""
        return {SPREAD[self.wide], "score"} if self.wide else set()


@dataclass(frozen=True)
class LayoutOptions:
    """The same as it is typed."""

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
        """Read them.

        Raises:
            UsageError: one is not of its form, or they contradict each other.
        """
        columns = _ours("--column", self.column, "design=variant")
        constants = _ours("--constant", self.constant, "scale=7B")
        if empty := [ours for ours, value in constants.items() if not value or ours == "score"]:
            raise UsageError(f"--constant {empty[0]}={constants[empty[0]]}: give a value of all rows, as in scale=7B")
        return Layout(
            columns={ours: one_line(theirs) for ours, theirs in columns.items()},
            axes=_axes(self.axis or ()),
            constants=constants,
            renames=_renames(self.rename or ()),
            ignored=tuple(one_line(name) for name in self.ignore or ()),
            ignore_rest=self.ignore_rest,
            wide=self.wide,
            spread=_spread(self.columns or ()),
        )


def one_line(name: str) -> str:
    """A header without line breaks and doubled blanks, so that it can be typed."""
    return " ".join(name.split())


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is meant, to stand within a message; empty where none is near."""
    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""


def _ours(option: str, given: Sequence[str] | None, example: str) -> dict[str, str]:
    """`ours=theirs`, parted at the first sign: their names may hold one."""
    found: dict[str, str] = {}
    for text in given or ():
        ours, sign, theirs = (piece.strip() for piece in text.partition("="))
        if not sign:
            raise UsageError(f"{option} {text}: write it as OURS=THEIRS, e.g. {option} {example}")
        if ours not in OURS:
            turned = f" (did you mean {option} {theirs}={ours}?)" if theirs in OURS else near(ours, OURS)
            raise UsageError(f"{option} {text}: {ours!r} is no column of ours{turned}; there are: {', '.join(OURS)}")
        if ours in found:
            raise UsageError(f"{option} {text}: {ours} was given before, as {found[ours]!r}; keep one")
        found[ours] = theirs
    return found


def _axes(given: Sequence[str]) -> dict[str, str]:
    """`theirs`, or `axis=theirs`."""
    found: dict[str, str] = {}
    for text in given:
        axis, sign, theirs = (one_line(piece) for piece in text.partition("="))
        if axis in OURS:
            raise UsageError(f"--axis {text}: {axis!r} is a column of ours; give the axis another name: NAME={axis}")
        if not axis or axis in found:
            mend = "keep one" if axis else "give the axis a name: NAME=THEIRS"
            raise UsageError(f"--axis {shlex.quote(text)}: an axis {'given twice' if axis else 'without name'}; {mend}")
        found[axis] = theirs if sign else axis
    return found


def _renames(given: Sequence[str]) -> dict[tuple[str, str], str]:
    """`ours:theirs=value`, parted at the last sign: their names may hold one."""
    found: dict[tuple[str, str], str] = {}
    for text in given:
        left, sign, value = (piece.strip() for piece in text.rpartition("="))
        name, colon, cell = (piece.strip() for piece in left.partition(":"))
        if not (sign and colon and name and (value or name == "score")):
            example = "--rename scale:Qwen2-7B-Instruct=7B"
            raise UsageError(f"--rename {text}: write it as OURS:THEIRS=VALUE, e.g. {example}")
        if (name, cell) in found:
            raise UsageError(f"--rename {text}: {name} {cell!r} was renamed before, to {found[name, cell]!r}; keep one")
        found[name, cell] = value
    return found


def _spread(given: Sequence[str]) -> dict[str, str]:
    """`HEADER` or `HEADER=VALUE`, with commas between; quoted as in a CSV file where a header holds a comma."""
    found: dict[str, str] = {}
    for text in next(csv.reader([",".join(given)]), []):
        left, sign, right = text.rpartition("=")
        header, value = (one_line(left), right.strip()) if sign else (one_line(text), text.strip())
        if not header or not value:
            raise UsageError(f"--columns: {text!r} is empty; write HEADER or HEADER=VALUE, with commas between")
        if header in found:
            raise UsageError(f"--columns: {header!r} stands there twice; keep one")
        if value in found.values():
            raise UsageError(f"--columns: two headers mean {value!r}; each needs its own")
        found[header] = value
    return found


# --- against a header -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where in a row things stand, by number of column."""

    ours: Mapping[str, int]
    """Our columns but the score."""
    axes: Mapping[str, int]
    scores: Sequence[tuple[int, Mapping[str, str]]]
    """Columns of scores, and what their header says of our columns; nothing where there is one such column."""
    ignored: tuple[str, ...]


def places(file: Path, header: Sequence[str], layout: Layout) -> Places:
    """Find what a layout speaks of in a file's header.

    Raises:
        UsageError: a column is missing, twice there, or not accounted for; says what to type.
    """
    twice = {name for name in header if header.count(name) > 1 and name not in layout.ignored}
    if twice:
        raise UsageError(f"{file}: a column stands twice: {', '.join(sorted(twice)) or 'two have no name'}")
    _refuse_missing(file, header, layout)
    own = {name: name for name in OURS if name in header and name not in layout.ignored}
    claimed = {*layout.columns.values(), *layout.spread, *layout.from_headers}
    ours = {name: theirs for name, theirs in own.items() if name not in claimed} | dict(layout.columns)
    _refuse_incomplete(file, header, layout, ours)
    for name in sorted(set(ours) & set(layout.constants)):
        raise UsageError(
            f"--constant {name}={layout.constants[name]}: {file} has a column {ours[name]!r}; leave the option out, or "
            f"the column: --ignore {shlex.quote(ours[name])}"
        )
    used = {*ours.values(), *layout.axes.values(), *layout.spread}
    rest = [name for name in header if name not in used and name not in layout.ignored]
    if rest and not layout.ignore_rest:
        raise UsageError(_unaccounted(file, rest, [name for name in OURS if name not in ours]))
    return Places(
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
    found: list[tuple[int, Mapping[str, str]]] = []
    for name, value in layout.spread.items():
        said = {SPREAD[layout.wide]: value}
        if layout.wide == "metric" and "/" in value:
            benchmark, category = (piece.strip() for piece in value.split("/", 1))
            if not benchmark or not category:
                raise UsageError(f"--columns: {value!r} is no metric; write CATEGORY or BENCHMARK/CATEGORY")
            if "benchmark" in ours:
                raise UsageError(
                    f"--columns: {value!r} names a benchmark, as column {ours['benchmark']!r} of {file} does; write "
                    f"{shlex.quote(f'{name}={category}')}, or --ignore {shlex.quote(ours['benchmark'])}"
                )
            said = {"benchmark": benchmark, "category": category}
        found.append((header.index(name), said))
    return found


def _refuse_missing(file: Path, header: Sequence[str], layout: Layout) -> None:
    """Columns that an option names and the file lacks."""
    named = [
        *((f"--column {ours}={theirs}", theirs) for ours, theirs in layout.columns.items()),
        *((f"--axis {axis}" + f"={theirs}" * (axis != theirs), theirs) for axis, theirs in layout.axes.items()),
        *((f"--columns {theirs}", theirs) for theirs in layout.spread),
        *((f"--ignore {shlex.quote(theirs)}", theirs) for theirs in layout.ignored),
    ]
    for option, theirs in named:
        if theirs not in header:
            raise UsageError(
                f"{option}: {file} has no column {theirs!r}{near(theirs, header)}; it has: {_listed(header)}"
            )


def _refuse_incomplete(file: Path, header: Sequence[str], layout: Layout, ours: Mapping[str, str]) -> None:
    """No design, scale or score: guess which columns are meant, and how to say so."""
    left = [name for name in header if name not in {*ours.values(), *layout.axes.values(), *layout.ignored}]
    if layout.wide and not layout.spread:
        raise UsageError(
            f"--wide {layout.wide}: say which columns, e.g. --columns {shlex.quote(','.join(left[:SUGGESTED]))}"
        )
    missing = [name for name in REQUIRED if name not in {*ours, *layout.constants, *layout.from_headers}]
    if not missing:
        return
    sizes = [name for name in left if _SIZE.fullmatch(name)]
    if sizes and "scale" in missing and not layout.wide:
        guesses = [f"--wide scale --columns {shlex.quote(','.join(sizes))}"]
        missing_too = [name for name in missing if name not in ("scale", "score")]
    else:
        guesses, missing_too = [], missing
    guesses += [
        f"--column {name}={shlex.quote(guess)}" for name in missing_too if (guess := _guess(name, left)) is not None
    ]
    unguessed = [name for name in missing_too if _guess(name, left) is None]
    guesses += [f"--column {name}=ITS_COLUMN" for name in unguessed]
    also = " (--constant scale=VALUE where all rows are of one)" * ("scale" in unguessed)
    also += " (--wide where scores stand in several columns)" * ("score" in unguessed)
    raise UsageError(
        f"{file}: column {missing[0]!r} is missing; it has {_listed(header)}; needed: {', '.join(REQUIRED)}; say which "
        f"it is, e.g. {' '.join(guesses)}{also}"
    )


def _guess(ours: str, left: Sequence[str]) -> str | None:
    """The column of the file that is most likely this one of ours."""
    by_lower = {name.lower(): name for name in reversed(left)}
    for alias in (ours, *ALSO_CALLED[ours]):
        if alias in by_lower:
            return by_lower[alias]
    found = get_close_matches(ours, by_lower, n=1, cutoff=0.75)
    return by_lower[found[0]] if found else None


def _unaccounted(file: Path, rest: Sequence[str], free: Sequence[str]) -> str:
    """What to type for columns that nothing was said of."""
    shown = rest[:SUGGESTED]
    more = f" and {len(rest) - SUGGESTED} more" if len(rest) > SUGGESTED else ""
    axes = " ".join(f"--axis {shlex.quote(f'NAME={name}' if name in ('', *OURS) else name)}" for name in shown)
    ignore = " ".join(f"--ignore {shlex.quote(name)}" for name in shown)
    meant = [f"--column {ours}={shlex.quote(guess)}" for ours in free if (guess := _guess(ours, rest)) is not None]
    perhaps = f"; or is it one of ours: {' '.join(meant)}" if meant else ""
    named = ", ".join(repr(name) for name in shown)
    return (
        f"{file}: unknown column{'s' * (len(rest) > 1)} {named}{more}; keep as axes of the designs: {axes}; or leave "
        f"out: {ignore}, all at once: --ignore-rest{perhaps}"
    )


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - 3 * SUGGESTED} more" if len(header) > 3 * SUGGESTED else ""
    return ", ".join(name or "(one without name)" for name in header[: 3 * SUGGESTED]) + more
