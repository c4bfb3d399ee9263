"""A file of scores -> checked rows: CSV, TSV and `;`-separated text, tidy or wide. Writes nothing."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import UsageError
from ablate.imports.layout import REQUIRED, Layout, Places, near, one_line, places

DEFAULTS = {"seed": 0, "benchmark": None, "category": "overall", "modality": "video", "samples": None}
"""Our columns that a file may lack; the benchmark is then the study's name."""
MODALITIES = ("video", "frame", "text")
LARGEST = 2**53  # a whole number beyond this is none in a float
MOST_SCORE = 1e100  # its square is a float still
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BREAK = re.compile(r"\s*[\r\n]+\s*")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?P<by>[,. '\u00a0\u202f])\d{3}(?:(?P=by)\d{3})*(?:(?!(?P=by))[.,]\d+)?")


@dataclass(frozen=True, kw_only=True)
class ScoreFile:
    """What a file holds, checked."""

    rows: list[dict[str, Any]]
    """Score by score: design, scale, seed, samples (may be None), benchmark, category, modality, score."""
    axes: dict[str, dict[str, str | int | float]]
    """Design -> its value of each axis; an axis whose cells are empty is left out."""
    skipped: int
    """Cells without a score: rows of a tidy file."""
    ignored: tuple[str, ...]
    """Columns that were not read."""
    delimiter: str
    names: tuple[str, ...]
    """What the file calls its scores: the header of their column, where there is one."""


def read_scores(file: Path, study: str, layout: Layout) -> ScoreFile:
    """Read a whole file.

    Raises:
        UsageError: it is no table, or a column, a row or an option does not fit; says the line and the mend.
    """
    header, records, delimiter = _table(file)
    where = places(file, header, layout)
    tidy = _renamed(file, list(_tidy(records, where, layout)), layout)
    scored = [(line, raw) for line, raw in tidy if raw["score"]]
    if not scored:
        raise UsageError(f"{file} holds no score")
    rows = [_row(f"{file}:{line}", raw, study) for line, raw in scored]
    lines = [line for line, _ in scored]
    _refuse_doubles(file, lines, rows)
    return ScoreFile(
        rows=rows,
        axes=_axes(file, lines, rows, [{axis: raw[_axis(axis)] for axis in where.axes} for _, raw in scored]),
        skipped=len(tidy) - len(scored),
        ignored=where.ignored,
        delimiter=DELIMITERS[delimiter],
        names=() if layout.wide else (layout.columns.get("score", "score"),),
    )


# --- text -> cells ----------------------------------------------------------------------------------


def _table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Header, rows with the number of their first line, and what stands between cells."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no file {file}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not a CSV table: {error.reason}; save it as CSV in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{file} is not a CSV table: {error.strerror}") from None
    delimiter = _delimiter(file, text)
    lines = _lines(file, text, delimiter)
    _, names = next(lines, (0, []))
    header = [one_line(name) for name in names]
    if not header:
        raise UsageError(f"{file} is not a CSV table: it is empty")
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            told = f"{len(cells)} cells where the header has {len(header)}"
            raise UsageError(f"{file}:{line}: {told}; a cell that holds {delimiter!r} stands in double quotes")
        rows.append((line, cells))
    kept = [i for i, name in enumerate(header) if name or any(cells[i] for _, cells in rows)]  # spreadsheets leave some
    return [header[i] for i in kept], [(line, [cells[i] for i in kept]) for line, cells in rows], delimiter


def _lines(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Stripped cells of each row that holds any, and the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            stripped = [
                _BREAK.sub(" ", cell.strip()) if "\n" in cell or "\r" in cell else cell.strip() for cell in cells
            ]
            if any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{file}:{line}: no row of a CSV table: {error}") from None


def _delimiter(file: Path, text: str) -> str:
    """By the file's name; by its header where that would make it a single column."""
    usual = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
    for delimiter in (usual, *DELIMITERS):
        try:
            _, header = next(_lines(file, text, delimiter), (0, []))
        except UsageError:  # quoted cells between other signs; told below where there are no others
            continue
        if len(header) > 1:
            return delimiter
    return usual


# --- cells -> rows ----------------------------------------------------------------------------------


def _axis(name: str) -> str:
    """Key of an axis among a row's cells, apart from our columns and from fields that are called the same."""
    return f"axis {name}"


def _tidy(
    records: Sequence[tuple[int, list[str]]], where: Places, layout: Layout
) -> Iterator[tuple[int, dict[str, str]]]:
    """A row for each score, as text: our columns, and the axes."""
    for line, cells in records:
        told = {name: cells[i] for name, i in where.ours.items()} | dict(layout.constants)
        told |= {_axis(axis): cells[i] for axis, i in where.axes.items()}
        for i, said in where.scores:
            yield line, told | dict(said) | {"score": cells[i]}


def _renamed(file: Path, tidy: list[tuple[int, dict[str, str]]], layout: Layout) -> list[tuple[int, dict[str, str]]]:
    """The same rows with cells renamed; a rename that meets no cell is a slip."""
    by_key: dict[str, dict[str, str]] = {}
    for (name, cell), value in layout.renames.items():
        by_key.setdefault(_axis(name) if name in layout.axes else name, {})[cell] = value
    for key, renames in by_key.items():
        held = {raw[key] for _, raw in tidy if key in raw}
        for cell in renames:
            if cell not in held:
                name = key.removeprefix(_axis(""))
                raise UsageError(
                    f"--rename {name}:{cell}={renames[cell]}: no {name} of {file} is {cell!r}{near(cell, held)}"
                )
        for _, raw in tidy:
            if key in raw:
                raw[key] = renames.get(raw[key], raw[key])
    return tidy


def _row(where: str, raw: Mapping[str, str], study: str) -> dict[str, Any]:
    """Our columns of a row that has a score, with their types."""
    for column in REQUIRED:
        if not raw[column]:
            raise UsageError(f"{where}: {column} is empty")
    row: dict[str, Any] = {name: raw.get(name) or default for name, default in DEFAULTS.items()}
    row |= {name: raw[name] for name in REQUIRED} | {"benchmark": row["benchmark"] or study}
    score = _number(raw["score"])
    if score is None:
        raise UsageError(f"{where}: score {raw['score']!r} is not a number{_mend(raw['score'])}")
    if not math.isfinite(score):
        raise UsageError(f"{where}: score {raw['score']} is not finite; leave it empty if there is none")
    if abs(score) > MOST_SCORE:
        raise UsageError(f"{where}: score {raw['score']} is no score: the largest that is taken is {MOST_SCORE:g}")
    row["score"] = score
    for column in ("seed", "samples"):
        if given := raw.get(column):
            number = _number(given)
            if number is None or not 0 <= number < LARGEST or number != int(number):
                raise UsageError(f"{where}: {column} {given!r} is not a whole number from 0{_mend(given)}")
            row[column] = int(number)
    if row["modality"] not in MODALITIES:
        raise UsageError(f"{where}: modality {row['modality']!r}; allowed: {', '.join(MODALITIES)}")
    if "/" in row["benchmark"]:
        raise UsageError(
            f"{where}: benchmark {row['benchmark']!r} holds a slash; a metric is written benchmark/category"
        )
    return row


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _mend(text: str) -> str:
    """What to write instead of a number in another notation, to stand within a message; empty where it is none."""
    bare = text.removesuffix("%").strip()
    readings = [bare]
    if grouped := _GROUPED.fullmatch(bare):
        readings.append(bare.replace(grouped["by"], "").replace(",", "."))
    if bare.count(",") == 1:
        readings.append(bare.replace(",", "."))
    plain = [reading for reading in dict.fromkeys(readings) if reading != text and _number(reading) is not None]
    if not plain:
        return ""
    whichever = f"{' or '.join(plain)}{', whichever it is' * (len(plain) > 1)}"
    return f"; write {whichever}: a decimal point, no thousands separators, no percent sign"


# --- rows against each other ------------------------------------------------------------------------


def _refuse_doubles(file: Path, lines: Sequence[int], rows: Sequence[dict[str, Any]]) -> None:
    seen, budgets = dict[tuple[Any, ...], int](), dict[tuple[Any, ...], tuple[Any, int]]()
    for line, row in zip(lines, rows, strict=True):
        trial = (row["design"], row["scale"], row["seed"])
        place = (*trial, row["benchmark"], row["category"], row["modality"])
        if place in seen:
            raise UsageError(
                f"{file}:{line}: the same trial and benchmark as line {seen[place]}; a replicate needs its own seed"
            )
        seen[place] = line
        samples, before = budgets.setdefault(trial, (row["samples"], line))
        if samples != row["samples"]:
            raise UsageError(f"{file}:{line}: this trial has other `samples` in line {before}")


def _axes(
    file: Path, lines: Sequence[int], rows: Sequence[dict[str, Any]], cells: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, str | int | float]]:
    """Design -> axis -> value, the same in all rows of a design; an empty cell says nothing."""
    found: dict[str, dict[str, str | int | float]] = {}
    first: dict[tuple[str, str], int] = {}
    for line, row, told in zip(lines, rows, cells, strict=True):
        design = row["design"]
        values = found.setdefault(design, {})
        for axis, cell in told.items():
            if not cell:
                continue
            value = axis_value(cell)
            if values.setdefault(axis, value) != value:
                raise UsageError(
                    f"{file}:{line}: design {design!r} has {axis} {cell!r} here, and {str(values[axis])!r} in line "
                    f"{first[design, axis]}; a design has one: give them two names, or --ignore the column"
                )
            first.setdefault((design, axis), line)
    return found


def axis_value(cell: str) -> str | int | float:
    """A number where the cell is one that a record can hold, else the text."""
    number = _number(cell)
    if number is None or not math.isfinite(number) or abs(number) >= LARGEST:
        return cell
    return int(cell) if re.fullmatch(r"[+-]?\d+", cell) else number
