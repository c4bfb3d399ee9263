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
from ablate.imports.layout import REQUIRED, ColumnIndices, Layout, closest_match, locate_columns, one_line

DEFAULTS = {"seed": 0, "benchmark": None, "category": "overall", "modality": "video", "samples": None}
"""Values of our columns that a file may omit; the benchmark is then the study's name."""
MODALITIES = ("video", "frame", "text")
MAX_INTEGER = 2**53  # larger integers are not exact in a float
MAX_SCORE = 1e100  # its square is still finite in a float
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LINE_BREAK = re.compile(r"\s*[\r\n]+\s*")
_GROUPED_NUMBER = re.compile(r"[+-]?\d{1,3}(?P<by>[,. '\u00a0\u202f])\d{3}(?:(?P=by)\d{3})*(?:(?!(?P=by))[.,]\d+)?")


@dataclass(frozen=True, kw_only=True)
class ScoreFile:
    """The checked content of a file."""

    rows: list[dict[str, Any]]
    """One dict per score: design, scale, seed, samples (may be None), benchmark, category, modality, score."""
    axes: dict[str, dict[str, str | int | float]]
    """Design -> its value of each axis; axes whose cells are empty are omitted."""
    skipped: int
    """Number of cells without a score: rows of a tidy file."""
    ignored: tuple[str, ...]
    """Columns that were not read."""
    delimiter: str
    names: tuple[str, ...]
    """Header of the score column, if there is a single one."""


def read_scores(file: Path, study: str, layout: Layout) -> ScoreFile:
    """Read a whole file.

    Raises:
        UsageError: it is not a table, or a column, a row or an option does not fit; the message names the line and the
            fix.
    """
    header, records, delimiter = _table(file)
    columns = locate_columns(file, header, layout)
    tidy = _renamed(file, list(_tidy(records, columns, layout)), layout)
    scored = [(line, cells) for line, cells in tidy if cells["score"]]
    if not scored:
        raise UsageError(f"{file} contains no score")
    rows = [_row(f"{file}:{line}", cells, study) for line, cells in scored]
    lines = [line for line, _ in scored]
    _refuse_duplicates(file, lines, rows)
    return ScoreFile(
        rows=rows,
        axes=_axes(file, lines, rows, [{axis: cells[_axis(axis)] for axis in columns.axes} for _, cells in scored]),
        skipped=len(tidy) - len(scored),
        ignored=columns.ignored,
        delimiter=DELIMITERS[delimiter],
        names=() if layout.wide else (layout.columns.get("score", "score"),),
    )


# --- text -> cells ----------------------------------------------------------------------------------


def _table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Header, rows with the number of their first line, and the delimiter."""
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
            raise UsageError(
                f"{file}:{line}: {len(cells)} cells, but the header has {len(header)}; a cell that contains "
                f"{delimiter!r} must be in double quotes"
            )
        rows.append((line, cells))
    # Spreadsheets leave columns that are empty throughout.
    nonempty = [i for i, name in enumerate(header) if name or any(cells[i] for _, cells in rows)]
    return [header[i] for i in nonempty], [(line, [cells[i] for i in nonempty]) for line, cells in rows], delimiter


def _lines(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Stripped cells of each row that is not empty, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            stripped = [
                _LINE_BREAK.sub(" ", cell.strip()) if "\n" in cell or "\r" in cell else cell.strip() for cell in cells
            ]
            if any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{file}:{line}: not a valid CSV row: {error}") from None


def _delimiter(file: Path, text: str) -> str:
    """The delimiter that the file's suffix implies, or another one if that leaves the header a single column."""
    usual = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
    for delimiter in (usual, *DELIMITERS):
        try:
            _, header = next(_lines(file, text, delimiter), (0, []))
        except UsageError:  # quotes that another delimiter makes valid; if none does, reading the rows reports it
            continue
        if len(header) > 1:
            return delimiter
    return usual


# --- cells -> rows ----------------------------------------------------------------------------------


def _axis(name: str) -> str:
    """Key of an axis among a row's cells, distinct from our columns of the same name."""
    return f"axis {name}"


def _tidy(
    records: Sequence[tuple[int, list[str]]], columns: ColumnIndices, layout: Layout
) -> Iterator[tuple[int, dict[str, str]]]:
    """One row per score, as text: line number, and our columns and the axes."""
    for line, cells in records:
        shared = {name: cells[i] for name, i in columns.ours.items()} | dict(layout.constants)
        shared |= {_axis(axis): cells[i] for axis, i in columns.axes.items()}
        for i, from_header in columns.scores:
            yield line, shared | dict(from_header) | {"score": cells[i]}


def _renamed(file: Path, tidy: list[tuple[int, dict[str, str]]], layout: Layout) -> list[tuple[int, dict[str, str]]]:
    """The same rows with cells renamed; a rename that matches no cell is refused as a typo."""
    by_key: dict[str, dict[str, str]] = {}
    for (name, cell), value in layout.renames.items():
        by_key.setdefault(_axis(name) if name in layout.axes else name, {})[cell] = value
    for key, renames in by_key.items():
        values = {cells[key] for _, cells in tidy if key in cells}
        for cell in renames:
            if cell not in values:
                name = key.removeprefix(_axis(""))
                raise UsageError(
                    f"--rename {name}:{cell}={renames[cell]}: no {name} of {file} is {cell!r}"
                    f"{closest_match(cell, values)}"
                )
        for _, cells in tidy:
            if key in cells:
                cells[key] = renames.get(cells[key], cells[key])
    return tidy


def _row(where: str, cells: Mapping[str, str], study: str) -> dict[str, Any]:
    """Our columns of a row that has a score, with their types."""
    for column in REQUIRED:
        if not cells[column]:
            raise UsageError(f"{where}: {column} is empty")
    row: dict[str, Any] = {name: cells.get(name) or default for name, default in DEFAULTS.items()}
    row |= {name: cells[name] for name in REQUIRED} | {"benchmark": row["benchmark"] or study}
    row["score"] = _score(where, cells["score"])
    for column in ("seed", "samples"):
        if text := cells.get(column):
            number = _number(text)
            if number is None or not 0 <= number < MAX_INTEGER or number != int(number):
                raise UsageError(f"{where}: {column} {text!r} is not a non-negative integer{_plain_notation(text)}")
            row[column] = int(number)
    if row["modality"] not in MODALITIES:
        raise UsageError(f"{where}: modality {row['modality']!r}; allowed: {', '.join(MODALITIES)}")
    if "/" in row["benchmark"]:
        raise UsageError(
            f"{where}: benchmark {row['benchmark']!r} contains a slash; a metric is written benchmark/category"
        )
    return row


def _score(where: str, text: str) -> float:
    score = _number(text)
    if score is None:
        raise UsageError(f"{where}: score {text!r} is not a number{_plain_notation(text)}")
    if not math.isfinite(score):
        raise UsageError(f"{where}: score {text} is not finite; leave the cell empty if there is no score")
    if abs(score) > MAX_SCORE:
        raise UsageError(f"{where}: score {text} is too large: the maximum is {MAX_SCORE:g}")
    return score


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _plain_notation(text: str) -> str:
    """End of a message: how to write a number that is in another notation; empty if the text is not a number."""
    bare = text.removesuffix("%").strip()
    readings = [bare]
    if grouped := _GROUPED_NUMBER.fullmatch(bare):
        readings.append(bare.replace(grouped["by"], "").replace(",", "."))
    if bare.count(",") == 1:
        readings.append(bare.replace(",", "."))
    plain = [reading for reading in dict.fromkeys(readings) if reading != text and _number(reading) is not None]
    if not plain:
        return ""
    alternatives = f"{' or '.join(plain)}{', whichever is meant' * (len(plain) > 1)}"
    return f"; write {alternatives}: a decimal point, no thousands separators, no percent sign"


# --- rows against each other ------------------------------------------------------------------------


def _refuse_duplicates(file: Path, lines: Sequence[int], rows: Sequence[dict[str, Any]]) -> None:
    line_of_score: dict[tuple[Any, ...], int] = {}
    samples_of_trial: dict[tuple[Any, ...], tuple[Any, int]] = {}
    for line, row in zip(lines, rows, strict=True):
        trial = (row["design"], row["scale"], row["seed"])
        score = (*trial, row["benchmark"], row["category"], row["modality"])
        if score in line_of_score:
            raise UsageError(
                f"{file}:{line}: the same trial and benchmark as line {line_of_score[score]}; a replicate needs its "
                "own seed"
            )
        line_of_score[score] = line
        samples, first_line = samples_of_trial.setdefault(trial, (row["samples"], line))
        if samples != row["samples"]:
            raise UsageError(f"{file}:{line}: this trial has other `samples` in line {first_line}")


def _axes(
    file: Path, lines: Sequence[int], rows: Sequence[dict[str, Any]], cells: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, str | int | float]]:
    """Design -> axis -> value, which must be the same in all rows of a design; empty cells are skipped."""
    axes: dict[str, dict[str, str | int | float]] = {}
    first_line: dict[tuple[str, str], int] = {}
    for line, row, cell_of_axis in zip(lines, rows, cells, strict=True):
        design = row["design"]
        values = axes.setdefault(design, {})
        for axis, cell in cell_of_axis.items():
            if not cell:
                continue
            value = axis_value(cell)
            if values.setdefault(axis, value) != value:
                raise UsageError(
                    f"{file}:{line}: design {design!r} has {axis} {cell!r} here, but {str(values[axis])!r} in line "
                    f"{first_line[design, axis]}; a design has one value of each axis: use two design names, or "
                    "--ignore the column"
                )
            first_line.setdefault((design, axis), line)
    return axes


def axis_value(cell: str) -> str | int | float:
    """The cell as a number if a record can store that number, else as text."""
    number = _number(cell)
    if number is None or not math.isfinite(number) or abs(number) >= MAX_INTEGER:
        return cell
    return int(cell) if re.fullmatch(r"[+-]?\d+", cell) else number
