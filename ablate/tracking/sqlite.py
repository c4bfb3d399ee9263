"""A study read directly from MLflow's sqlite file, as client.py does through MLflow, but without importing it.

MLflow's client takes seconds to import, and builds every param, tag and artifact link of every run. The tables are not
a public interface: if they are not as expected, or the store is a server, each function returns None, and the caller
uses client.py. Nothing is written.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from ablate.errors import AblateError
from ablate.tracking import decode, encode, location
from ablate.tracking.database import read_only, require_database
from ablate.tracking.decode import StoredRun, StoredStudy

T = TypeVar("T")

DEFAULT_WORKSPACE = "default"
SCHEMA_VERSIONS = frozenset(
    {
        "1b5f0d9ad7c1",  # MLflow 3.10
        "c3d6457b6d8a",  # 3.11
        "7d34483879f0",  # 3.12
        "da6fb0208061",  # 3.13
        "b7e4c1a90f23",  # 3.14
        "6f8d9c3b2a1e",  # 3.15
        "b7e2c1a4d9f3",  # 3.16
        "dc11669786a5",  # 3.17
    }
)
"""Versions of MLflow's tables that this module reads: each release's last script in mlflow/store/db_migrations."""


class _NotAsExpectedError(Exception):
    """Only MLflow itself can read the store."""


def load(study: str, uri: str | None = None) -> StoredStudy | None:
    """Same as `client.load`; None if the store can only be read by MLflow."""
    return _read(study, uri, _load)


def unfinished(study: str, uri: str | None = None) -> list[str] | None:
    """Same as `client.unfinished`; None if the store can only be read by MLflow."""
    return _read(study, uri, _unfinished)


def run_ids(study: str, uri: str | None = None) -> Mapping[str, str]:
    """Key of each finished trial -> id of its run in a sqlite store; empty for a server, or without a store."""
    try:
        return _read(study, uri, _run_ids) or {}
    except AblateError:
        return {}


@dataclass(frozen=True)
class _Experiment:
    """A study's experiment in an open file."""

    connection: sqlite3.Connection
    study: str
    id: int

    def runs(self, condition: str) -> list[tuple[str, str, str, int]]:
        """Id, name, status and end (ms) of the runs that are not deleted; newest first, as MLflow orders them."""
        return self.connection.execute(
            "SELECT r.run_uuid, coalesce(r.name, ''), r.status, coalesce(r.end_time, 0) FROM runs AS r"
            f" WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active' AND {condition}"
            " ORDER BY r.start_time DESC, r.run_uuid",
            [self.id],
        ).fetchall()

    def texts(self, table: str, condition: str, *parameters: str) -> Iterable[tuple[str, str, str]]:
        """Run id, key and value of the rows of a table, for runs that are not deleted."""
        return self._values(table, condition, parameters)

    def numbers(self, table: str, condition: str) -> Iterable[tuple[str, str, float]]:
        """Same as `texts`, for tables whose values are numbers."""
        return self._values(table, condition, ())

    def _values(self, table: str, condition: str, parameters: tuple[str, ...]) -> sqlite3.Cursor:
        # CROSS JOIN makes sqlite look up the runs of the study first, however many other runs there are.
        return self.connection.execute(
            f"SELECT t.run_uuid, t.key, t.value FROM runs AS r CROSS JOIN {table} AS t ON t.run_uuid = r.run_uuid"
            f" WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active' AND {condition}",
            [self.id, *parameters],
        )


def _read(study: str, uri: str | None, query: Callable[[_Experiment], T]) -> T | None:
    """The result of a query in one transaction, so that it is consistent while a sweep writes."""
    uri = location.absolute_uri(uri)
    file = location.database(uri)
    if file is None:
        return None
    require_database(uri)
    try:
        with closing(read_only(file)) as connection:
            connection.execute("BEGIN")
            _check_version(connection)
            return query(_experiment(connection, study, uri))
    except (sqlite3.Error, _NotAsExpectedError):
        return None


def _check_version(connection: sqlite3.Connection) -> None:
    """Check that this module was written for the version of the tables.

    Raises:
        _NotAsExpectedError: it was not.
    """
    versions = {version for (version,) in connection.execute("SELECT version_num FROM alembic_version")}
    if not versions <= SCHEMA_VERSIONS:
        raise _NotAsExpectedError


def _experiment(connection: sqlite3.Connection, study: str, uri: str) -> _Experiment:
    """A study's experiment.

    Raises:
        NoStudyError: there is none, or it was deleted.
        _NotAsExpectedError: the store has MLflow's workspaces, where names are no longer unique.
    """
    cursor = connection.execute("SELECT * FROM experiments")
    columns = [name for name, *_ in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    if any(row.get("workspace", DEFAULT_WORKSPACE) != DEFAULT_WORKSPACE for row in rows):
        raise _NotAsExpectedError
    try:
        active = {row["name"]: row["experiment_id"] for row in rows if row["lifecycle_stage"] == "active"}
    except KeyError:
        raise _NotAsExpectedError from None
    if study not in active:
        raise location.no_study(study, uri, [name for name, number in active.items() if number != 0])
    return _Experiment(connection, study, active[study])


def _load(experiment: _Experiment) -> StoredStudy:
    finished = "r.status = 'FINISHED'"
    tags = _tags(experiment, finished)
    params = _params(experiment, finished, has_axes_tags=all(encode.AXES_TAG in run_tags for run_tags in tags.values()))
    metrics = _metrics(experiment, finished)
    trials = {
        tags[run].get(encode.TRIAL_TAG, run): StoredRun(
            name=name, status=status, ended_ms=ended, tags=tags[run], params=params[run], metrics=metrics[run]
        )
        for run, name, status, ended in experiment.runs(finished)
        if run in tags
    }
    study_tags = experiment.connection.execute(
        "SELECT key, value FROM experiment_tags WHERE experiment_id = ?", [experiment.id]
    )
    facts = decode.facts_in(dict(study_tags.fetchall()))
    return StoredStudy(facts=facts, trials=[decode.trial_in(experiment.study, run) for run in trials.values()])


def _run_ids(experiment: _Experiment) -> Mapping[str, str]:
    condition = f"r.status = 'FINISHED' AND t.key = '{encode.TRIAL_TAG}'"
    return {key: run for run, _, key in experiment.texts("tags", condition)}


def _unfinished(experiment: _Experiment) -> list[str]:
    keys = (encode.KIND_TAG, encode.TRIAL_TAG, encode.FAILURE_TAG)
    tags = _of_trials(experiment.texts("tags", f"t.key IN ({_marks(keys)})", *keys))
    return decode.unfinished_in(
        StoredRun(name=name, status=status, ended_ms=ended, tags=tags[run], params={}, metrics={})
        for run, name, status, ended in experiment.runs("1")
        if run in tags
    )


def _tags(experiment: _Experiment, finished: str) -> Mapping[str, dict[str, str]]:
    """The tags that scores and axes are read from, of runs that are trials."""
    keys = (encode.KIND_TAG, encode.TRIAL_TAG, encode.DESIGN_TAG, encode.LABEL_TAG, encode.SOURCE_TAG)
    long = (encode.SCORES_TAG, encode.AXES_TAG)
    condition = f"{finished} AND (t.key IN ({_marks(keys + long)}) OR t.key GLOB ? OR t.key GLOB ?)"
    parameters = (*keys, *long, *(f"{tag}.*" for tag in long))
    return _of_trials(experiment.texts("tags", condition, *parameters))


def _params(experiment: _Experiment, finished: str, *, has_axes_tags: bool) -> Mapping[str, dict[str, str]]:
    """Scale, seed, samples and data, and possible axes if not all runs have them in their tags."""
    if has_axes_tags:
        keys = (*encode.COMMON_PARAMS, *encode.DATA_PARAMS)
        rows = experiment.texts("params", f"{finished} AND t.key IN ({_marks(keys)})", *keys)
    else:
        rows = experiment.texts(
            "params", f"{finished} AND (t.key NOT GLOB ? OR t.key IN (?, ?))", f"{encode.CONFIG}/*", *encode.DATA_PARAMS
        )
    return _grouped(rows)


def _metrics(experiment: _Experiment, finished: str) -> Mapping[str, dict[str, float]]:
    """Latest values; for NaN, MLflow stores 0 and a flag."""
    metrics = _grouped(experiment.numbers("latest_metrics", f"{finished} AND NOT t.is_nan"))
    for run, key, _ in experiment.numbers("latest_metrics", f"{finished} AND t.is_nan"):
        metrics[run][key] = math.nan
    return metrics


def _of_trials(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    return {run: tags for run, tags in _grouped(rows).items() if tags.get(encode.KIND_TAG) == "trial"}


def _grouped(rows: Iterable[tuple[str, str, T]]) -> defaultdict[str, dict[str, T]]:
    """Run id -> key -> value."""
    grouped: defaultdict[str, dict[str, T]] = defaultdict(dict)
    for run, key, value in rows:
        grouped[run][key] = value
    return grouped


def _marks(keys: tuple[str, ...]) -> str:
    return ", ".join("?" * len(keys))
