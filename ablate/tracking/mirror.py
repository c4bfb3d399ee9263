"""Writes trial records into a study's MLflow experiment, one call after the other.

One process writes: the one that has the study's lock. What is written comes from the trial folders, which remain the
record. background.py writes during a sweep, catch_up.py afterwards; encode.py defines the representation of a trial.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, RunTag, ViewType

from ablate.errors import AblateError
from ablate.paths import StudyPaths
from ablate.record import About, Record, StudyFacts, TrialFolder, Value, facts, folder_of, read_end, read_trial
from ablate.tracking import decode, encode, location
from ablate.tracking.client import connect, search_runs
from ablate.tracking.curve import Curve
from ablate.tracking.database import sole_creator
from ablate.tracking.encode import SweepSummary
from ablate.tracking.problems import unusable

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

Change = Literal["created", "updated", "unchanged", "deleted", "not begun"]


@dataclass
class _Run:
    """The state of a run in MLflow."""

    run_id: str
    mirrored: str
    """Fingerprint of the record that was mirrored; empty if it is not complete."""
    params: dict[str, str]
    axes: dict[str, Value] = field(default_factory=dict)


class Mirror:
    """The only writer of a study's experiment, for one thread. Its methods raise whatever MLflow raises."""

    def __init__(
        self, client: MlflowClient, experiment: Experiment, paths: StudyPaths, uri: str, metric: str | None
    ) -> None:
        """Use `Mirror.open`."""
        self.uri = uri
        self._client, self._experiment_id = client, str(experiment.experiment_id)
        self._paths, self._metric = paths, metric
        self._running: dict[str, int | None] = {}  # key -> number of the attempt; None before it has a folder
        self._curves: dict[str, Curve] = {}
        self._unanswered: set[str] = set()  # trials whose run may exist, although its creation raised
        self._runs, self.duplicates = _trial_runs(client, self._experiment_id)
        self.deleted = _deleted_runs(client, self._experiment_id, self._runs)
        """Key -> id of the run, for trials whose run was deleted in MLflow. It stays deleted until it is restored."""

    @classmethod
    def open(cls, paths: StudyPaths, uri: str | None = None, study_facts: StudyFacts | None = None) -> Mirror:
        """Open a study's experiment, creating it if needed, and read its runs.

        Args:
            paths: the study.
            uri: MLflow's tracking URI; by default `paths.store_uri()`.
            study_facts: facts about the whole study; by default those of study.json. MLflow's compare page shows their
                metric, as NaN for trials without it.

        Raises:
            AblateError: the store cannot be used; the message names it and the fix.
        """
        uri = location.absolute_uri(uri)
        study_facts = study_facts or facts(paths)
        try:
            with sole_creator(uri):
                client = connect(uri)
            experiment = client.get_experiment_by_name(paths.name) or _new_experiment(client, paths, uri)
            _require_active(experiment, uri)
            client.set_experiment_tag(experiment.experiment_id, encode.FACTS_TAG, json.dumps(asdict(study_facts)))
            return cls(client, experiment, paths, uri, study_facts.metric)
        except AblateError:
            raise
        except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests raise unrelated types
            raise unusable(uri, error) from None  # the original may contain a password

    def check(self) -> None:
        """Check that the study was not deleted in MLflow.

        Raises:
            AblateError: it was; the message has the command that restores it.
        """
        _require_active(self._client.get_experiment(self._experiment_id), self.uri)

    # --- trials ---------------------------------------------------------------------------------

    def trial_keys(self) -> list[str]:
        """The keys of all trials that have a folder, sorted."""
        folder = self._paths.trials
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def record(self, key: str) -> Record | None:
        """The record of a trial, from its folder; None if it has none.

        Raises:
            RecordError: it cannot be read.
        """
        return read_trial(self._paths, key)

    def show_running(self, key: str) -> None:
        """Mirror a trial that is running: its start, its attempt, and new points of its training curve.

        All attempts of a trial use one run. A later attempt adds its curve to those of earlier ones: where it resumes
        from a checkpoint, the curve goes on; where it starts over, MLflow shows both, at different times.

        Raises:
            AblateError: the folder cannot be read, or the trial's run was deleted.
        """
        folder = folder_of(self._paths, key)
        if (folder.path / "result.json").exists():
            return  # it has ended meanwhile; `write` mirrors that
        self.require_not_deleted(key)
        if key not in self._running:
            record = self.record(key)
            if record is None:
                return
            self._start(record.about)
            self._running[key] = None
        attempts = folder.attempts()
        if not attempts:
            return
        run, number = self._runs[key], attempts[-1].number
        if self._running[key] != number:
            self._log(run, tags=encode.attempt_tags(attempts[-1]))
            self._running[key] = number
        points, curve = self._curve(key, attempts[-1].path / "events.jsonl").rest()
        if points:
            self._log(run, metrics=points)
        self._curves[key] = curve

    def write(self, record: Record) -> Change:
        """Mirror the whole record of a trial that is not running; the fingerprint is written last.

        So a write that failed is repeated. A trial that was begun but has no end was interrupted, and its run becomes
        KILLED. A run that was deleted in MLflow stays deleted, and trials that never began are skipped.
        """
        about, result = record.about, record.result
        if about.key in self.deleted:
            return "deleted"
        run = self._runs.get(about.key)
        if run is None and not encode.has_begun(record):
            return "not begun"
        failure = record.failures[-1] if record.failures else None
        mark = encode.fingerprint(about, None if result else failure, result)
        if run and run.mirrored == mark:
            return "unchanged"
        change: Change = "updated" if run else "created"
        began_ms, ended_ms = encode.times_ms(record)
        run = run or self._create(about, began_ms)
        outcome = encode.outcome_metrics(result) if result else {}
        curve_points, curve = self._curve(about.key, TrialFolder(record.path).file("events.jsonl")).rest()
        metrics = [Metric(key, value, ended_ms, 0) for key, value in outcome.items()] + curve_points
        tags = encode.about_tags(about) | encode.outcome_tags(record)
        self._log(run, params=encode.params(about), tags=tags, metrics=metrics)
        self._curves[about.key] = curve
        self._copy_files(run.run_id, record)
        self._client.set_terminated(run.run_id, encode.status(record), end_time=ended_ms)
        self._client.set_tag(run.run_id, encode.MIRRORED_TAG, mark)
        run.mirrored = mark
        self._running.pop(about.key, None)
        return change

    def adopt(self, about: About) -> None:
        """Add the axes of a sweep to the run of a trial that another sweep ran, so that MLflow's plots include it."""
        run = self._runs.get(about.key)
        new = {k: v for k, v in encode.params(about).items() if run and k not in run.params}
        if run and new:
            axes = run.axes | {k: v for k, v in about.axes.items() if k not in run.axes}
            self._log(run, params=new, tags=encode.axes_tags(axes))
            run.axes = axes

    def deleted_run(self, key: str, label: str) -> str:
        """What to know about a trial whose run was deleted."""
        return (
            f"the run of {label} was deleted in MLflow and stays deleted; `mlflow runs restore --run-id "
            f"{self.deleted[key]}` restores it, with MLFLOW_TRACKING_URI={location.without_password(self.uri)}"
        )

    def require_not_deleted(self, key: str) -> None:
        """Check that the run of a trial was not deleted in MLflow.

        Raises:
            AblateError: it was; the message has the command that restores it.
        """
        if key in self.deleted:
            raise AblateError(self.deleted_run(key, key))

    def _curve(self, key: str, path: Path) -> Curve:
        """The curve of an attempt; another attempt than before starts at its first point that is not in MLflow."""
        curve = self._curves.get(key)
        if curve is None:
            return Curve(path=path)
        return curve if curve.path == path else curve.of_attempt(path)

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
        run = self._created_before(about.key) if about.key in self._unanswered else None
        if run is None:
            self._unanswered.add(about.key)  # a server may create the run although its answer never comes
            created = self._client.create_run(
                self._experiment_id,
                start_time=start_ms,
                tags=encode.about_tags(about),
                run_name=encode.run_name(about.label),
            )
            run = _Run(created.info.run_id, "", {})
        self._unanswered.discard(about.key)
        self._runs[about.key] = run
        # MLflow's compare page shows the metric that was logged first: this must be the score, not the training curve.
        first = [Metric(encode.metric_key(self._metric), math.nan, 0, 0)] if self._metric else []
        self._log(run, params=encode.params(about), metrics=first)
        return run

    def _created_before(self, key: str) -> _Run | None:
        runs = search_runs(self._client, self._experiment_id, f"tags.`{encode.TRIAL_TAG}` = '{key}'")
        return next((_Run(run.info.run_id, "", dict(run.data.params)) for run in runs), None)

    def _copy_files(self, run_id: str, record: Record) -> None:
        folder = TrialFolder(record.path)
        for name in encode.COPIED:
            path = record.verified(name)  # what MLflow shows is what the trial wrote
            if path.is_file():
                self._client.log_artifact(run_id, str(path))
        if record.result is None and (text := read_end(folder.file("stderr.txt"), encode.STDERR_BYTES)):
            self._client.log_text(run_id, text, "stderr.txt")
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

    # --- sweeps ---------------------------------------------------------------------------------

    def write_summary(self, summary: SweepSummary) -> None:
        """Write spec, counts, ranking and figures of a sweep to a run of its own; repeated calls use the same run."""
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


def _new_experiment(client: MlflowClient, paths: StudyPaths, uri: str) -> Experiment:
    folder = location.artifact_folder(uri)
    artifacts = None if folder is None else (folder / paths.name).as_uri()
    client.create_experiment(paths.name, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
    return client.get_experiment_by_name(paths.name)


def _require_active(experiment: Experiment, uri: str) -> None:
    if experiment.lifecycle_stage != "active":
        raise AblateError(
            f"study {experiment.name} was deleted in MLflow at {location.without_password(uri)}; restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )


def _trial_runs(client: MlflowClient, experiment_id: str) -> tuple[dict[str, _Run], tuple[str, ...]]:
    """Key -> oldest run of each trial, and the keys of trials with several runs."""
    oldest: dict[str, _Run] = {}
    repeated: list[str] = []
    for run in reversed(list(search_runs(client, experiment_id, f"tags.`{encode.KIND_TAG}` = 'trial'"))):
        key = run.data.tags.get(encode.TRIAL_TAG, run.info.run_id)
        if key in oldest:
            repeated.append(key)
        else:
            data, mark = run.data, run.data.tags.get(encode.MIRRORED_TAG, "")
            oldest[key] = _Run(run.info.run_id, mark, dict(data.params), decode.axes_in(data.tags, data.params))
    return oldest, tuple(sorted(set(repeated)))


def _deleted_runs(client: MlflowClient, experiment_id: str, active: Mapping[str, _Run]) -> dict[str, str]:
    """Key -> id of the newest deleted run, for trials without another run."""
    condition = f"tags.`{encode.KIND_TAG}` = 'trial'"
    newest: dict[str, str] = {}
    for run in search_runs(client, experiment_id, condition, ViewType.DELETED_ONLY):
        key = run.data.tags.get(encode.TRIAL_TAG, "")
        if key not in active:
            newest.setdefault(key, run.info.run_id)
    return newest
