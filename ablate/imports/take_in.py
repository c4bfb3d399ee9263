"""`ablate import`: scores of trials that ran elsewhere become records like any others."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ablate.errors import UsageError
from ablate.imports.file import ScoreFile, read_scores
from ablate.imports.layout import Layout
from ablate.paths import PUBLISHED, StudyPaths, study_paths
from ablate.record import About, Record, Result, Score, TrialFolder, facts, folder_of, remember, scan, sole_driver
from ablate.spec import design_key, digest
from ablate.study import known_designs

TIDY = Layout()
"""A file whose columns are named like ours."""
LOSSES = {"loss", "losses", "error", "errors", "err", "perplexity", "ppl", "wer", "cer", "nll", "bpb"}
GAINS = {"acc", "accuracy", "f1"}
_WORD = re.compile(r"[fF]1|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class Imported:
    """What `ablate import` did."""

    trials: int
    unchanged: int
    skipped: int
    """Rows without a score."""
    notes: tuple[str, ...] = ()
    """What may be a slip."""


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A trial of a file beside what the study holds of it; its record, joined with that."""

    folder: TrialFolder
    about: About
    result: Result
    state: Literal["new", "known", "extended", "conflict"]
    """`known`: nothing would change; `extended`: more scores or axes; `conflict`: others than the study holds."""
    clashes: tuple[str, ...] = ()
    """What of it the study holds otherwise: scores, samples, axes."""


def import_scores(
    file: Path,
    study: str,
    layout: Layout = TIDY,
    *,
    lower_is_better: bool,
    replace: bool,
    designs: str | None = None,
) -> Imported:
    """Take a file of scores into a study.

    All rows are checked before anything is written.

    Args:
        file: the table.
        study: its name.
        layout: what its columns are.
        lower_is_better: for losses.
        replace: take the new ones where the study has others.
        designs: a sweep spec that declares the designs by the names in the file: then they are the same designs as
            those of trials that the study runs.

    Raises:
        UsageError: the file, a row, or a clash with what the study holds; says which and the mend.
    """
    paths = writable(study)
    found = read_scores(file, study, layout)
    check_as_table(found.rows, study)
    keys = declared_keys(found, designs)
    with sole_driver(paths):
        trials, others = incoming(paths, found, lower_is_better=lower_is_better, keys=keys)
        _refuse_conflict(study, trials, replaced=replace)
        _write(paths, [*trials, *others], lower_is_better=lower_is_better)
    unchanged = sum(trial.state == "known" for trial in trials)
    notes = direction_notes(found, lower_is_better=lower_is_better)
    return Imported(len(trials), unchanged, found.skipped, tuple(notes))


def writable(study: str) -> StudyPaths:
    """Paths of a study that scores can be written to.

    Raises:
        UsageError: it is the built-in one.
    """
    if study == PUBLISHED:
        raise UsageError(f"'{PUBLISHED}' is the built-in study of published tables; choose another name")
    return study_paths(study)


def declared_keys(found: ScoreFile, designs: str | None) -> dict[str, str]:
    """Name -> key of each design, as a spec declares them; empty without one.

    Raises:
        UsageError: no such spec, or it lacks a design of the file.
    """
    if designs is None:
        return {}
    declared = known_designs("", designs).configs
    for row in found.rows:
        if row["design"] not in declared:
            near = get_close_matches(row["design"], declared, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"--designs {designs} declares no design {row['design']!r}; {hint}it has: {', '.join(declared)}"
            )
    return {name: design_key(design) for name, design in declared.items()}


def incoming(
    paths: StudyPaths, found: ScoreFile, *, lower_is_better: bool, keys: Mapping[str, str] | None = None
) -> tuple[list[Incoming], list[Incoming]]:
    """The trials of a file, and those of the study that learn a new axis of their design from it.

    Args:
        paths: the study.
        found: the file.
        lower_is_better: for losses.
        keys: from `declared_keys`.

    Raises:
        UsageError: the study has the other direction.
    """
    held = {record.about.key: record for record in scan(paths)}
    before = facts(paths)
    if held and before.lower_is_better != lower_is_better:
        kept = "lower" if before.lower_is_better else "higher"
        raise UsageError(
            f"in study {paths.name!r} {kept} is better; import with the same direction, or to another study"
        )
    axes: dict[str, dict[str, Any]] = {}
    for record in held.values():
        axes.setdefault(record.about.design_key, {}).update(record.about.axes)
    by_trial: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in found.rows:
        by_trial.setdefault((row["design"], row["scale"], row["seed"]), []).append(row)
    trials = []
    for place, rows in by_trial.items():
        about, result = _record(paths, place, rows, found.axes[place[0]], (keys or {}).get(place[0]))
        folder, known = folder_of(paths, about.key), held.get(about.key)
        told = {**(known.about.axes if known else {}), **axes.get(about.design_key, {})}
        trials.append(_joined(folder, about, result, known, told))
    return trials, _of_same_designs(trials, held)


def _record(
    paths: StudyPaths,
    place: tuple[str, str, int],
    rows: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any],
    declared: str | None,
) -> tuple[About, Result]:
    """What a file says of one trial: design, scale and seed; its design's key, where a spec declares it."""
    design, scale, seed = place
    key = digest({"imported": paths.name, "design": design, "scale": scale, "seed": seed})
    about = About(
        key=key,
        design_key=declared or digest({"imported": paths.name, "design": design}),
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
    return about, Result(key=key, attempt=0, scores=scores, seconds=0.0, started_at=0.0, ended_at=0.0, environment={})


def _joined(
    folder: TrialFolder, about: About, result: Result, known: Record | None, axes: Mapping[str, Any]
) -> Incoming:
    """New scores and axes together with those that the study has of the trial and of its design; the new ones win."""
    clashes = ["axes"] if any(axes.get(name, value) != value for name, value in about.axes.items()) else []
    about = dataclasses.replace(about, axes={**axes, **about.axes})
    if known is None:
        return Incoming(
            folder=folder, about=about, result=result, state="conflict" if clashes else "new", clashes=tuple(clashes)
        )
    if about.samples is None:
        about = dataclasses.replace(about, samples=known.about.samples)
    elif known.about.samples not in (None, about.samples):
        clashes.append("samples")
    scores = {(s.benchmark, s.category, s.modality): s for s in (known.result.scores if known.result else [])}
    new = {(s.benchmark, s.category, s.modality): s for s in result.scores}
    if any(scores.get(place, score) != score for place, score in new.items()):
        clashes.insert(0, "scores")
    result = dataclasses.replace(result, scores=list((scores | new).values()))
    same = known.about == about and known.result is not None and known.result.scores == result.scores
    return Incoming(
        folder=folder,
        about=about,
        result=result,
        state="conflict" if clashes else "known" if same else "extended",
        clashes=tuple(clashes),
    )


def _of_same_designs(trials: Sequence[Incoming], held: Mapping[str, Record]) -> list[Incoming]:
    """Trials that the file leaves out, whose design it tells a new axis of: a design has one value of each."""
    axes = {trial.about.design_key: trial.about.axes for trial in trials}
    taken = {trial.about.key for trial in trials}
    found = []
    for key, record in held.items():
        about = dataclasses.replace(record.about, axes=axes.get(record.about.design_key, record.about.axes))
        if key not in taken and record.result is not None and about != record.about:
            folder = TrialFolder(record.path)
            found.append(Incoming(folder=folder, about=about, result=record.result, state="extended"))
    return found


def _refuse_conflict(study: str, trials: Iterable[Incoming], *, replaced: bool) -> None:
    clash = [trial for trial in trials if trial.state == "conflict"]
    if clash and not replaced:
        raise UsageError(f"{conflict(study, clash)}; --replace takes the new ones")


def conflict(study: str, clash: Sequence[Incoming]) -> str:
    """How many trials clash with the study, in what, and the first."""
    kinds = " and ".join(dict.fromkeys(kind for trial in clash for kind in trial.clashes))
    return f"{len(clash)} trials of study {study!r} have other {kinds} already, first {clash[0].about.label}"


def _write(paths: StudyPaths, trials: Iterable[Incoming], *, lower_is_better: bool) -> None:
    remember(
        paths, dataclasses.replace(facts(paths), lower_is_better=lower_is_better)
    )  # before any score that needs it
    for trial in trials:
        if trial.state != "known":
            trial.folder.describe(trial.about)
            trial.folder.finish(trial.result)


def check_as_table(rows: Sequence[Mapping[str, Any]], study: str) -> None:
    """What could not be read back is not written."""
    import pandas as pd

    from analysis.tables import ScoreTable, TableError

    try:
        ScoreTable(pd.DataFrame([{**row, "study": study} for row in rows]).astype({"samples": "Int64"}))
    except TableError as error:
        raise UsageError(str(error)) from None


def direction_notes(found: ScoreFile, *, lower_is_better: bool) -> list[str]:
    """Metrics whose names speak for the other direction than the one that was said."""
    metrics = dict.fromkeys(f"{row['benchmark']}/{row['category']}" for row in found.rows)
    turned, taken = (GAINS, "lower") if lower_is_better else (LOSSES, "higher")
    names = [name for name in (*found.names, *metrics) if turned & {word.lower() for word in _WORD.findall(name)}]
    if not names:
        return []
    named = ", ".join(repr(name) for name in names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
    kinds = ("an accuracy", "accuracies") if lower_is_better else ("a loss", "losses")
    like = f"looks like {kinds[0]}" if len(names) == 1 else f"look like {kinds[1]}"
    mend = "leave out --lower-is-better" if lower_is_better else "give --lower-is-better"
    return [f"{named} {like}, but {taken} is taken as better; {mend}, or import each direction to its own study"]
