"""`ablate import`: scores of trials that ran elsewhere become records like any others."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UsageError
from ablate.identity import digest
from ablate.paths import PUBLISHED, StudyPaths, study_paths
from ablate.record import About, Result, Score, TrialFolder, facts, folder_of, remember, scan, sole_driver

REQUIRED = ("design", "scale", "score")
OPTIONAL = {"seed": 0, "benchmark": None, "category": "overall", "modality": "video", "samples": None}
MODALITIES = ("video", "frame", "text")
LARGEST = 2**53  # a whole number beyond this is none in a float


@dataclasses.dataclass(frozen=True)
class Imported:
    """What `ablate import` did."""

    trials: int
    unchanged: int
    skipped: int
    """Rows without a score."""


def import_scores(file: Path, study: str, *, lower_is_better: bool, replace: bool) -> Imported:
    """Take tidy columns design, scale, score (and seed, benchmark, category, modality, samples) into a study.

    All rows are checked before anything is written.

    Raises:
        UsageError: the file, a row, or a clash with what the study holds; says which and the mend.
    """
    if study == PUBLISHED:
        raise UsageError(f"'{PUBLISHED}' is the built-in study of published tables; choose another name")
    paths = study_paths(study)
    rows, skipped = _read_rows(file, study)
    _check_as_table(rows, study)
    with sole_driver(paths):
        return _take(paths, rows, skipped, lower_is_better=lower_is_better, replace=replace)


def _take(
    paths: StudyPaths, rows: list[dict[str, Any]], skipped: int, *, lower_is_better: bool, replace: bool
) -> Imported:
    study, before = paths.name, facts(paths)
    if paths.trials.is_dir() and before.lower_is_better != lower_is_better and any(scan(paths)):
        kept = "lower" if before.lower_is_better else "higher"
        raise UsageError(f"in study {study!r} {kept} is better; import with the same direction, or to another study")
    trials: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        trials.setdefault((row["design"], row["scale"], row["seed"]), []).append(row)
    pending = [_imported(paths, *place, found) for place, found in trials.items()]
    merged = [(folder, about, *_merged(folder, result)) for folder, about, result in pending]
    clash = [about.label for _, about, _, clashes in merged if clashes]
    if clash and not replace:
        raise UsageError(
            f"{len(clash)} trials of study {study!r} have other scores already, first {clash[0]}; "
            "--replace takes the new ones"
        )
    remember(paths, dataclasses.replace(before, lower_is_better=lower_is_better))  # before any score that needs it
    fresh = 0
    for folder, about, result, _ in merged:
        known = folder.read()
        if known is None or known.about != about or known.result is None or known.result.scores != result.scores:
            fresh += 1
            folder.describe(about)
            folder.finish(result)
    return Imported(len(trials), len(trials) - fresh, skipped)


def _merged(folder: TrialFolder, result: Result) -> tuple[Result, bool]:
    """New scores together with those of other benchmarks that the trial has; and whether any of them differs."""
    known = folder.result()
    before = {(s.benchmark, s.category, s.modality): s for s in (known.scores if known else [])}
    new = {(s.benchmark, s.category, s.modality): s for s in result.scores}
    clashes = any(place in before and before[place] != score for place, score in new.items())
    return dataclasses.replace(result, scores=list((before | new).values())), clashes


def _check_as_table(rows: list[dict[str, Any]], study: str) -> None:
    """What could not be read back is not written."""
    import pandas as pd

    from analysis.table import ScoreTable, TableError

    try:
        ScoreTable(pd.DataFrame([row | {"study": study} for row in rows]).astype({"samples": "Int64"}))
    except TableError as error:
        raise UsageError(str(error)) from None


def _read_rows(file: Path, study: str) -> tuple[list[dict[str, Any]], int]:
    """Checked rows, and how many there are without a score."""
    rows, skipped, seen = [], 0, dict[tuple[Any, ...], int]()
    budgets = dict[tuple[Any, ...], Any]()
    for line, raw in _lines(file):
        if not raw["score"]:
            skipped += 1
            continue
        row = _row(f"{file}:{line}", raw, study)
        place = tuple(v for k, v in row.items() if k not in ("score", "samples"))
        if place in seen:
            raise UsageError(
                f"{file}:{line}: the same trial and benchmark as line {seen[place]}; a replicate needs its own seed"
            )
        seen[place] = line
        trial = (row["design"], row["scale"], row["seed"])
        if budgets.setdefault(trial, row["samples"]) != row["samples"]:
            raise UsageError(f"{file}:{line}: this trial has other `samples` in an earlier line")
        rows.append(row)
    if not rows:
        raise UsageError(f"{file} holds no score")
    return rows, skipped


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped cells by column of each row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(file, header)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    told = f"{len(cells)} cells where the header has {len(header)}"
                    raise UsageError(f"{file}:{reader.line_num}: {told}")
                yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    except FileNotFoundError:
        raise UsageError(f"no file {file}") from None
    except UsageError:
        raise
    except (csv.Error, ValueError, OSError) as error:
        raise UsageError(f"{file} is not a CSV table: {error}") from None


def _check_header(file: Path, header: list[str]) -> None:
    if not header:
        raise UsageError(f"{file} is not a CSV table: it is empty")
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise UsageError(
            f"{file}: column {missing[0]!r} is missing; it has {', '.join(header)}; needed: {', '.join(REQUIRED)}; "
            f"optional: {', '.join(OPTIONAL)}"
        )
    unknown = [column for column in header if column not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise UsageError(f"{file}: unknown column {unknown[0]!r}; allowed: {', '.join((*REQUIRED, *OPTIONAL))}")
    if len(set(header)) < len(header):
        raise UsageError(f"{file}: a column stands twice: {', '.join(header)}")


def _row(where: str, raw: dict[str, str], study: str) -> dict[str, Any]:
    for column in REQUIRED:
        if not raw[column]:
            raise UsageError(f"{where}: {column} is empty")
    row: dict[str, Any] = OPTIONAL | {"benchmark": study} | {k: v for k, v in raw.items() if v}
    score = _number(row["score"])
    if score is None:
        raise UsageError(f"{where}: score {row['score']!r} is not a number")
    if not math.isfinite(score):
        raise UsageError(f"{where}: score {row['score']} is not finite; leave it empty if there is none")
    row["score"] = score
    for column in ("seed", "samples"):
        given = row[column]
        if isinstance(given, str):
            number = _number(given)
            if number is None or not 0 <= number < LARGEST or number != int(number):
                raise UsageError(f"{where}: {column} {given!r} is not a whole number from 0")
            row[column] = int(number)
    if row["modality"] not in MODALITIES:
        raise UsageError(f"{where}: modality {row['modality']!r}; allowed: {', '.join(MODALITIES)}")
    return row


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _imported(
    paths: StudyPaths, design: str, scale: str, seed: int, rows: list[dict[str, Any]]
) -> tuple[TrialFolder, About, Result]:
    key = digest({"imported": paths.name, "design": design, "scale": scale, "seed": seed})
    about = About(
        key=key,
        design_key=digest({"imported": paths.name, "design": design}),
        label=f"{design}@{scale}/s{seed}",
        design_label=design,
        study=paths.name,
        sweep="import",
        scale=scale,
        seed=seed,
        samples=rows[0]["samples"],
        axes={"design": design},
        config={},
        resolved={},
        source="import",
    )
    scores = [Score(**{name: row[name] for name in ("benchmark", "category", "modality", "score")}) for row in rows]
    result = Result(key=key, attempt=0, scores=scores, seconds=0.0, started_at=0.0, ended_at=0.0, environment={})
    return folder_of(paths, key), about, result
