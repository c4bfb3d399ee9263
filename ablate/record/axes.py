"""Axes that imported tables stated for trials which the study had already: `runs/STUDY/axes.json`.

A design has one value of each axis, so a table with a new axis extends the designs of finished trials, whose own
records never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from ablate.paths import StudyPaths
from ablate.record.files import read_record, write_json
from ablate.record.trial import Record, Value

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LaterAxes:
    """axes.json: key of a trial -> axis -> value; they come before those in its trial.json."""

    trials: dict[str, dict[str, Value]]
    schema_version: int = SCHEMA_VERSION


def read_axes(paths: StudyPaths) -> Mapping[str, Mapping[str, Value]]:
    """Key of a trial -> axes that imported tables stated later.

    Raises:
        RecordError: the file is damaged, or was written by a newer ablate.
    """
    path = _file(paths)
    try:
        state = path.stat()
    except FileNotFoundError:
        return {}
    return _parsed(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=4)
def _parsed(path: Path, *_: int) -> Mapping[str, Mapping[str, Value]]:
    """The content of a version of the file: a mirror of a large study reads the axes of each trial."""
    fix = "restore it, or move it away and import the tables with --axis again"
    stored = read_record(LaterAxes, path, SCHEMA_VERSION, fix=fix)
    return stored.trials if stored else {}


def write_axes(paths: StudyPaths, axes: Mapping[str, Mapping[str, Value]]) -> None:
    """Replace the axes of all trials; the caller has the study's lock."""
    if axes != read_axes(paths):
        write_json(_file(paths), asdict(LaterAxes(trials={key: dict(values) for key, values in axes.items()})))


def with_axes(record: Record, axes: Mapping[str, Mapping[str, Value]]) -> Record:
    """A trial's record with the axes that were stated later."""
    later = axes.get(record.about.key)
    return replace(record, about=replace(record.about, axes={**record.about.axes, **later})) if later else record


def _file(paths: StudyPaths) -> Path:
    return paths.folder / "axes.json"
