"""`ablate import`: scores of trials that ran elsewhere become trial records."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ablate.errors import UsageError
from ablate.imports.file import ScoreFile, read_scores
from ablate.imports.layout import Layout
from ablate.paths import PUBLISHED, StudyPaths, study_paths
from ablate.record import (
    About,
    Record,
    Result,
    Score,
    TrialFolder,
    Value,
    facts,
    folder_of,
    read_axes,
    remember,
    scan,
    sole_driver,
    varied_axes,
    write_axes,
)
from ablate.spec import digest
from ablate.study import known_designs

TIDY = Layout()
"""Layout of a file whose columns have our names."""
LOSSES = {"loss", "losses", "error", "errors", "err", "perplexity", "ppl", "wer", "cer", "nll", "bpb"}
GAINS = {"acc", "accuracy", "f1"}
DAMAGED = "damaged records"
_WORD = re.compile(r"[fF]1|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class Imported:
    """Summary of an import."""

    trials: int
    """Number of trials in the file."""
    unchanged: int
    """Number of trials that were in the study already, with the same scores and axes."""
    skipped: int
    """Number of rows without a score."""
    notes: tuple[str, ...] = ()
    """Warnings about possible mistakes."""


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A trial of a file, merged with the study's record of it."""

    folder: TrialFolder
    about: About
    result: Result
    state: Literal["new", "unchanged", "extended", "conflict"]
    """`extended`: adds scores or axes to the study's record; `conflict`: differs from it, or cannot read it."""
    conflicts: tuple[str, ...] = ()
    """What differs from the study's record: scores, samples, axes; or `DAMAGED`."""


def import_scores(
    file: Path,
    study: str,
    layout: Layout = TIDY,
    *,
    lower_is_better: bool,
    replace: bool,
    designs: str | None = None,
) -> Imported:
    """Import a file of scores into a study.

    All rows are checked before anything is written.

    Args:
        file: the table.
        study: name of the study.
        layout: layout of the table.
        lower_is_better: whether the scores are losses.
        replace: whether new values overwrite different ones in the study; otherwise they are refused.
        designs: a sweep spec that declares the designs by the names in the file; the imported scores then belong to
            the same designs as trials that the study runs.

    Raises:
        UsageError: the file or a row is invalid, or conflicts with the study; the message names it and the fix.
    """
    paths = writable(study)
    scores = read_scores(file, study, layout)
    check_as_table(scores.rows, study)
    keys = declared_keys(scores, designs)
    with sole_driver(paths):
        trials, later_axes = incoming(paths, scores, lower_is_better=lower_is_better, keys=keys)
        _refuse_conflict(study, trials, replace=replace)
        _write(paths, trials, later_axes, lower_is_better=lower_is_better)
    unchanged = sum(trial.state == "unchanged" for trial in trials)
    notes = direction_notes(scores, lower_is_better=lower_is_better)
    return Imported(len(trials), unchanged, scores.skipped, tuple(notes))


def writable(study: str) -> StudyPaths:
    """Paths of a study, after checking that it may be written to.

    Raises:
        UsageError: it is the built-in study.
    """
    if study == PUBLISHED:
        raise UsageError(f"'{PUBLISHED}' is the built-in study of published tables; choose another name")
    return study_paths(study)


def declared_keys(scores: ScoreFile, designs: str | None) -> dict[str, str]:
    """Name -> key of each design, as a sweep spec declares them; empty without a spec.

    Raises:
        UsageError: there is no such spec, or it lacks a design of the file.
    """
    if designs is None:
        return {}
    keys = known_designs("", designs).keys
    for row in scores.rows:
        if row["design"] not in keys:
            matches = get_close_matches(row["design"], keys, n=1)
            hint = f"did you mean {matches[0]!r}? " if matches else ""
            raise UsageError(
                f"--designs {designs} declares no design {row['design']!r}; {hint}it has: {', '.join(keys)}"
            )
    return dict(keys)


def incoming(
    paths: StudyPaths, scores: ScoreFile, *, lower_is_better: bool, keys: Mapping[str, str] | None = None
) -> tuple[list[Incoming], dict[str, dict[str, Value]]]:
    """The trials of a file, and the axes that it states for other trials of the study, by their keys.

    A design has one value of each axis, so a file with a new one extends all finished trials of the design. Their
    records stay as they are: these axes are in a file of the study.

    Args:
        paths: the study.
        scores: the file.
        lower_is_better: whether the scores are losses.
        keys: from `declared_keys`.

    Raises:
        UsageError: the study has the other direction.
        RecordError: axes.json of the study is damaged.
    """
    later_axes = read_axes(paths)
    records = {record.about.key: record for record in scan(paths)}
    if records:
        _refuse_other_direction(paths, scores, lower_is_better=lower_is_better)
    axes_of_design: dict[str, dict[str, Any]] = {}
    for record in records.values():
        axes_of_design.setdefault(record.about.design_key, {}).update(record.about.axes)
    rows_of_trial: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in scores.rows:
        rows_of_trial.setdefault((row["design"], row["scale"], row["seed"]), []).append(row)
    trials = []
    for trial, rows in rows_of_trial.items():
        design, _, _ = trial
        about, result = _record(paths, trial, rows, scores.axes[design], (keys or {}).get(design))
        old = records.get(about.key)
        axes = {**(old.about.axes if old else {}), **axes_of_design.get(about.design_key, {})}
        trials.append(_merged(folder_of(paths, about.key), about, result, old, axes))
    return trials, _later_axes(trials, records, later_axes)


def _record(
    paths: StudyPaths,
    trial: tuple[str, str, int],
    rows: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any],
    declared_key: str | None,
) -> tuple[About, Result]:
    """The record of one trial of a file.

    Args:
        paths: the study.
        trial: design, scale and seed.
        rows: rows of the trial.
        axes: axes of its design.
        declared_key: key of its design, if a spec declares it.
    """
    design, scale, seed = trial
    key = digest({"imported": paths.name, "design": design, "scale": scale, "seed": seed})
    about = About(
        key=key,
        design_key=declared_key or digest({"imported": paths.name, "design": design}),
        label=f"{design}@{scale}/s{seed}",
        design_label=design,
        study=paths.name,
        sweep="import",
        scale=scale,
        seed=seed,
        samples=rows[0]["samples"],
        axes={"design": design, **axes},
        config={},
        resolved={},
        source="import",
    )
    scores = [Score(**{name: row[name] for name in ("benchmark", "category", "modality", "score")}) for row in rows]
    now = time.time()
    return about, Result(key=key, attempt=0, scores=scores, seconds=0.0, started_at=now, ended_at=now, environment={})


def _merged(
    folder: TrialFolder, about: About, result: Result, record: Record | None, axes: Mapping[str, Any]
) -> Incoming:
    """Merge new scores and axes into the study's record of the trial and axes of its design; new values win."""
    conflicts = ["axes"] if any(axes.get(name, value) != value for name, value in about.axes.items()) else []
    about = dataclasses.replace(about, axes={**axes, **about.axes})
    if record is None:
        if any((folder.path / name).exists() for name in ("trial.json", "result.json")):
            conflicts.append(DAMAGED)  # `scan` left the trial out
        state: Literal["new", "conflict"] = "conflict" if conflicts else "new"
        return Incoming(folder=folder, about=about, result=result, state=state, conflicts=tuple(conflicts))
    if about.samples is None:
        about = dataclasses.replace(about, samples=record.about.samples)
    elif record.about.samples not in (None, about.samples):
        conflicts.append("samples")
    old = _by_metric(record.result.scores if record.result else [])
    new = _by_metric(result.scores)
    if any(old.get(metric, score) != score for metric, score in new.items()):
        conflicts.insert(0, "scores")
    result = dataclasses.replace(result, scores=list((old | new).values()))
    same = record.about == about and record.result is not None and record.result.scores == result.scores
    return Incoming(
        folder=folder,
        about=about,
        result=result,
        state="conflict" if conflicts else "unchanged" if same else "extended",
        conflicts=tuple(conflicts),
    )


def _refuse_other_direction(paths: StudyPaths, scores: ScoreFile, *, lower_is_better: bool) -> None:
    """Refuse a direction other than that of the study, or of a metric that its sweeps rank by."""
    study = facts(paths)
    for metric in dict.fromkeys(f"{row['benchmark']}/{row['category']}" for row in scores.rows):
        if study.is_lower_better(metric) != lower_is_better:
            direction = "lower" if study.is_lower_better(metric) else "higher"
            of_metric = f" for {metric}" if metric in study.directions else ""
            raise UsageError(
                f"in study {paths.name!r} {direction} is better{of_metric}; import with the same direction, or to "
                "another study"
            )


def _by_metric(scores: Iterable[Score]) -> dict[tuple[str, str, str], Score]:
    return {(score.benchmark, score.category, score.modality): score for score in scores}


def _later_axes(
    trials: Sequence[Incoming], records: Mapping[str, Record], earlier: Mapping[str, Mapping[str, Value]]
) -> dict[str, dict[str, Value]]:
    """Key -> axes of the finished trials that are not in the file but whose design gets a new axis from it.

    Args:
        trials: the trials of the file, which state their axes themselves.
        records: the study's trials, with the axes that earlier imports stated.
        earlier: those axes.
    """
    axes = {trial.about.design_key: varied_axes(trial.about.axes, trial.about.source) for trial in trials}
    keys = {trial.about.key for trial in trials}
    later = {key: dict(values) for key, values in earlier.items() if key not in keys}
    for key, record in records.items():
        new = axes.get(record.about.design_key, {}).items() - record.about.axes.items()
        if key not in keys and record.result is not None and new:
            later[key] = later.get(key, {}) | dict(new)
    return later


def _refuse_conflict(study: str, trials: Iterable[Incoming], *, replace: bool) -> None:
    conflicting = [trial for trial in trials if trial.state == "conflict"]
    if conflicting and not replace:
        raise UsageError(f"{conflict_message(study, conflicting)}; --replace overwrites them")


def conflict_message(study: str, conflicting: Sequence[Incoming]) -> str:
    """Number of trials that conflict with the study, what differs, and the label of the first."""
    kinds = dict.fromkeys(kind for trial in conflicting for kind in trial.conflicts)
    others = " and ".join(kind for kind in kinds if kind != DAMAGED)
    parts = [*([DAMAGED] if DAMAGED in kinds else []), *([f"other {others}"] if others else [])]
    first = conflicting[0].about.label
    return f"{len(conflicting)} trials of study {study!r} have {' and '.join(parts)} already, first {first}"


def _write(
    paths: StudyPaths,
    trials: Sequence[Incoming],
    later_axes: Mapping[str, Mapping[str, Value]],
    *,
    lower_is_better: bool,
) -> None:
    # Before the scores: they cannot be interpreted without it. A study of sweeps states the direction of each metric.
    study = facts(paths)
    metrics = {f"{score.benchmark}/{score.category}" for trial in trials for score in trial.result.scores}
    if not metrics <= study.directions.keys():
        remember(paths, dataclasses.replace(study, lower_is_better=lower_is_better))
    for trial in trials:
        if trial.state != "unchanged":
            trial.folder.import_result(trial.about, trial.result)
    write_axes(paths, later_axes)


def check_as_table(rows: Sequence[Mapping[str, Any]], study: str) -> None:
    """Check that the rows form a valid score table, so that what is written can be read back.

    Raises:
        UsageError: they do not.
    """
    import pandas as pd

    from analysis.tables import ScoreTable, TableError

    try:
        ScoreTable(pd.DataFrame([{**row, "study": study} for row in rows]).astype({"samples": "Int64"}))
    except TableError as error:
        raise UsageError(str(error)) from None


def direction_notes(scores: ScoreFile, *, lower_is_better: bool) -> list[str]:
    """Warnings about metrics whose names suggest the other direction."""
    metrics = dict.fromkeys(f"{row['benchmark']}/{row['category']}" for row in scores.rows)
    suspicious = GAINS if lower_is_better else LOSSES
    names = [name for name in (*scores.names, *metrics) if suspicious & {word.lower() for word in _WORD.findall(name)}]
    if not names:
        return []
    quoted = ", ".join(repr(name) for name in names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
    kinds = ("an accuracy", "accuracies") if lower_is_better else ("a loss", "losses")
    like = f"looks like {kinds[0]}" if len(names) == 1 else f"look like {kinds[1]}"
    direction = "lower" if lower_is_better else "higher"
    fix = "leave out --lower-is-better" if lower_is_better else "give --lower-is-better"
    return [
        f"{quoted} {like}, but {direction} is assumed to be better; {fix}, or import each direction to its own study"
    ]
