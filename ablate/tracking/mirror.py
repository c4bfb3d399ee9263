"""Mirrors trial records into a study's MLflow experiment.

One process writes: the driver of a sweep, which has the study's lock. The folders remain the record; `sync` writes what
could not be mirrored. encode.py defines the representation of a trial; links.py and server.py open MLflow's pages.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, RunTag

from ablate.errors import AblateError, first_line
from ablate.paths import StudyPaths
from ablate.record import About, Failure, Record, StudyFacts, TrialFolder, Value, facts, scan
from ablate.tracking import decode, encode, location
from ablate.tracking.client import connect, search_runs
from ablate.tracking.encode import SweepSummary, Synced

# Read by mlflow itself: no telemetry, no log messages while it creates tables, and no minutes of waiting for a server
# that does not answer.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

FLUSH_S = 2.0
"""Minimum time between writes of training curves, in seconds."""
AWAY_S = 60.0
"""Time without writes after a server did not answer, in seconds."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

Change = Literal["created", "updated", "unchanged"]


@dataclass
class _Run:
    """The state of a run in MLflow."""

    run_id: str
    mirrored: str
    """Fingerprint of the record that was mirrored; empty if it is not complete."""
    params: dict[str, str]
    axes: dict[str, Value] = field(default_factory=dict)


class Mirror:
    """The only writer of a study's experiment.

    A failed write is noted in `missed` and `problem`, and never stops a sweep: the folders contain everything.
    """

    def __init__(
        self, client: MlflowClient, experiment: Experiment, paths: StudyPaths, uri: str, metric: str | None
    ) -> None:
        """Use `Mirror.open`."""
        self.uri = uri
        self.problem: str | None = None
        """Why the first write failed, and the fix; None if none failed."""
        self.missed: set[str] = set()
        """Keys of trials whose latest write failed."""
        self._client, self._experiment_id = client, str(experiment.experiment_id)
        self._paths, self._metric = paths, metric
        self._abouts: dict[str, About] = {}
        self._queued: dict[str, list[Metric]] = defaultdict(list)
        self._written: Counter[str] = Counter()
        self._flushed_at = time.monotonic()
        self._silent_until = 0.0
        self._runs, self.duplicates = _trial_runs(client, self._experiment_id)

    @classmethod
    def open(cls, paths: StudyPaths, uri: str | None = None, study_facts: StudyFacts | None = None) -> Mirror:
        """Open a study's experiment, creating it if needed, and read its runs.

        Args:
            paths: the study.
            uri: MLflow's tracking URI; by default `paths.store_uri()`.
            study_facts: facts about the whole study; by default those of study.json. MLflow's compare page shows their
                metric, as NaN for trials without it.

        Raises:
            AblateError: the store cannot be used; the message names it.
        """
        uri = location.absolute_uri(uri)
        location.prepare_database(uri)
        study_facts = study_facts or facts(paths)
        try:
            client = connect(uri)
            experiment = client.get_experiment_by_name(paths.name)
            if experiment is None:
                folder = location.artifact_folder(uri)
                artifacts = None if folder is None else (folder / paths.name).as_uri()
                client.create_experiment(paths.name, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
                experiment = client.get_experiment_by_name(paths.name)
            if experiment.lifecycle_stage == "active":
                client.set_experiment_tag(experiment.experiment_id, encode.FACTS_TAG, json.dumps(asdict(study_facts)))
                return cls(client, experiment, paths, uri, study_facts.metric)
        except AblateError:
            raise
        except Exception as error:  # mlflow, sqlalchemy and requests raise unrelated types
            raise location.unusable(uri, error) from error
        raise AblateError(
            f"study {paths.name} was deleted in MLflow at {location.without_password(uri)}; restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )

    # --- trials ---------------------------------------------------------------------------------

    def start(self, about: About) -> None:
        """Mirror the start of a trial; a trial that starts again uses the same run."""
        self._abouts[about.key] = about
        self._queued.pop(about.key, None)
        self._written[about.key] = 0
        self._guarded(about.key, lambda: self._start(about))

    def adopt(self, about: About) -> None:
        """Add the axes of a sweep to the run of a trial that another sweep ran, so that MLflow's plots include it."""
        run = self._runs.get(about.key)
        fresh = {k: v for k, v in encode.params(about).items() if run and k not in run.params}
        if run and fresh:
            run.axes = run.axes | {k: v for k, v in about.axes.items() if k not in run.axes}
            self._guarded(about.key, lambda: self._log(run, params=fresh, tags=encode.axes_tags(run.axes)))

    def events(self, key: str, events: Sequence[Mapping[str, float]]) -> None:
        """Queue lines of a trial's events.jsonl, in order; they are written every `FLUSH_S` seconds."""
        for event in events:
            self._queued[key] += _points(event)
        if time.monotonic() - self._flushed_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write all queued points of training curves."""
        self._flushed_at = time.monotonic()
        for key in [k for k, points in self._queued.items() if points and k in self._runs]:
            self._guarded(key, lambda key=key: self._flush(key))  # type: ignore[misc]

    def fail(self, key: str, failure: Failure) -> None:
        """Mirror the end of a failed or interrupted attempt, of a trial that was started here."""
        about = self._abouts[key]
        self.finish(Record(about=about, result=None, failures=(failure,), path=self._paths.trials / key))

    def finish(self, record: Record) -> None:
        """Mirror the whole record of a trial that has ended, successfully or not."""
        self._guarded(record.about.key, lambda: self._write(record))

    def close(self) -> None:
        """Write everything that is queued."""
        self.flush()

    def _start(self, about: About) -> None:
        run = self._runs.get(about.key)
        if run is None:
            self._create(about, encode.ms(time.time()))
            return
        run.mirrored = ""
        tags = encode.about_tags(about) | dict.fromkeys((*encode.FAILURE_TAGS, encode.MIRRORED_TAG), "")
        self._log(run, params=encode.params(about), tags=tags)
        self._client.update_run(run.run_id, status="RUNNING", name=encode.run_name(about.label))

    def _create(self, about: About, start_ms: int) -> _Run:
        created = self._client.create_run(
            self._experiment_id,
            start_time=start_ms,
            tags=encode.about_tags(about),
            run_name=encode.run_name(about.label),
        )
        run = self._runs[about.key] = _Run(created.info.run_id, "", {})
        # MLflow's compare page shows the metric that was logged first: this must be the score, not the training curve.
        first = [Metric(encode.metric_key(self._metric), math.nan, 0, 0)] if self._metric else []
        self._log(run, params=encode.params(about), metrics=first)
        return run

    def _flush(self, key: str) -> None:
        self._log(self._runs[key], metrics=self._queued[key])
        self._written[key] += len(self._queued.pop(key))

    def _write(self, record: Record) -> Change:
        """Update a trial's run to its record; the fingerprint is written last, so that a failed write is repeated."""
        about, result = record.about, record.result
        failure = record.failures[-1] if record.failures else None
        mark = encode.fingerprint(about, None if result else failure, result)
        run = self._runs.get(about.key)
        if run and run.mirrored == mark:
            return "unchanged"
        change: Change = "updated" if run else "created"
        began, ended = encode.times_ms(record)
        run = run or self._create(about, began)
        outcome = encode.outcome_metrics(result) if result else {}
        curve = [point for event in TrialFolder(record.path).events() for point in _points(event)]
        metrics = [Metric(k, v, ended, 0) for k, v in outcome.items()] + curve[self._written[about.key] :]
        tags = encode.about_tags(about) | encode.outcome_tags(failure, result)
        self._log(run, params=encode.params(about), tags=tags, metrics=metrics)
        self._copy_files(run.run_id, record)
        self._client.set_terminated(run.run_id, encode.status(record), end_time=ended)
        self._client.set_tag(run.run_id, encode.MIRRORED_TAG, mark)
        run.mirrored = mark
        self._queued.pop(about.key, None)
        return change

    def _copy_files(self, run_id: str, record: Record) -> None:
        for name in encode.COPIED:
            if (record.path / name).is_file():
                self._client.log_artifact(run_id, str(record.path / name))
        if record.failures and record.failures[-1].traceback:
            self._client.log_text(run_id, record.failures[-1].traceback, "traceback.txt")

    def _log(
        self,
        run: _Run,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[Metric] = (),
    ) -> None:
        """Write in as few calls as MLflow's limits allow. Existing params are skipped: MLflow does not change them."""
        new = {k: v for k, v in (params or {}).items() if k not in run.params}
        for param_batch, tag_batch, metric_batch in zip_longest(
            encode.chunks([Param(k, v) for k, v in new.items()], encode.TEXTS_PER_CALL),
            encode.chunks([RunTag(k, v) for k, v in (tags or {}).items()], encode.TEXTS_PER_CALL),
            encode.chunks(metrics, encode.METRICS_PER_CALL),
            fillvalue=(),
        ):
            self._client.log_batch(run.run_id, metrics=metric_batch, params=param_batch, tags=tag_batch)
        run.params.update(new)

    def _guarded(self, key: str, write: Callable[[], object]) -> None:
        """Write; an error is noted instead of raised."""
        if time.monotonic() < self._silent_until:
            self.missed.add(key)
            return
        try:
            write()
        except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests raise unrelated types
            self.missed.add(key)
            if not location.answers(self.uri):
                self._silent_until = time.monotonic() + AWAY_S
            self.problem = self.problem or (
                f"a write to MLflow at {location.without_password(self.uri)} failed ({first_line(error)}); the sweep "
                f"continues, and `ablate sync {self._paths.name}` writes what is missing"
            )
        else:
            self.missed.discard(key)

    # --- sweeps ---------------------------------------------------------------------------------

    def sweep_summary(self, summary: SweepSummary) -> None:
        """Write spec, counts, ranking and figures of a sweep to a run of its own; repeated calls use the same run."""
        self._guarded(f"sweep {summary.sweep}", lambda: self._write_summary(summary))

    def _write_summary(self, summary: SweepSummary) -> None:
        runs = search_runs(self._client, self._experiment_id, f"tags.`{encode.KIND_TAG}` = 'sweep'")
        run_id = next((r.info.run_id for r in runs if r.data.tags.get(encode.SWEEP_TAG) == summary.sweep), None)
        if run_id is None:
            run = self._client.create_run(
                self._experiment_id,
                start_time=encode.ms(summary.started_at),
                run_name=f"sweep {summary.sweep}",
                tags=encode.summary_tags(summary),
            )
            run_id = run.info.run_id
        self._log(_Run(run_id, "", {}), tags=encode.summary_tags(summary))
        self._client.log_text(run_id, summary.spec, "spec.yaml")
        self._client.log_dict(run_id, dict(summary.counts), "counts.json")
        if summary.ranking is not None:
            self._client.log_text(run_id, summary.ranking.to_csv(index=False), "ranking.csv")
        for name, figure in summary.figures.items():
            if isinstance(figure, Path):
                self._client.log_artifact(run_id, str(figure), "figures")
            else:
                self._client.log_figure(run_id, figure, f"figures/{name}.png")
        self._client.set_terminated(run_id)


def sync(paths: StudyPaths, uri: str | None = None) -> Synced:
    """Write everything to MLflow that is in a study's folders but not there. A second call changes nothing.

    No trial of the study may be running: the caller has the study's lock. A trial that was begun but has no end was
    interrupted, and its run becomes KILLED. Trials that never began are skipped.

    Raises:
        AblateError: the store cannot be used or refuses a write.
        RecordError: a folder cannot be read.
    """
    mirror = Mirror.open(paths, uri)
    changes: Counter[str] = Counter()
    for record in scan(paths):
        if not encode.has_begun(record):
            continue
        try:
            changes[mirror._write(record)] += 1
        except Exception as error:
            raise location.unusable(mirror.uri, error) from error
    return Synced(
        created=changes["created"],
        updated=changes["updated"],
        unchanged=changes["unchanged"],
        duplicates=mirror.duplicates,
    )


def _trial_runs(client: MlflowClient, experiment_id: str) -> tuple[dict[str, _Run], tuple[str, ...]]:
    """Key -> oldest run of each trial, and the keys of trials with several runs."""
    oldest: dict[str, _Run] = {}
    repeated: list[str] = []
    for run in reversed(list(search_runs(client, experiment_id, f"tags.`{encode.KIND_TAG}` = 'trial'"))):
        key = run.data.tags[encode.TRIAL_TAG]
        if key in oldest:
            repeated.append(key)
        else:
            data, mark = run.data, run.data.tags.get(encode.MIRRORED_TAG, "")
            oldest[key] = _Run(run.info.run_id, mark, dict(data.params), decode.axes_in(data.tags, data.params))
    return oldest, tuple(sorted(set(repeated)))


def _points(event: Mapping[str, float]) -> list[Metric]:
    """Metrics of one point of a training curve; MLflow keeps repeated ones only once."""
    stamp, step = encode.ms(event.get("time", 0.0)), int(event.get("step", 0))
    return [Metric(key, value, stamp, step) for key, value in encode.event_metrics(event).items()]
