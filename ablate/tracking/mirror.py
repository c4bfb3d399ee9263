"""The only importer of mlflow: mirrors trial records into a study's experiment, and reads the score table back.

One process writes: the driver of a sweep, which holds the study's lock. The folders remain the record; what could not
be mirrored, `sync` catches up. What a trial looks like in MLflow is in encode.py; links.py and server.py open its pages.
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

from ablate.errors import AblateError
from ablate.paths import StudyPaths
from ablate.record import About, Failure, Record, StudyFacts, TrialFolder, Value, facts, scan
from ablate.tracking import decode, encode, location
from ablate.tracking.client import _client, _search
from ablate.tracking.encode import SweepSummary, Synced

# Read by mlflow itself: no report to its makers, no chatter while it creates tables, and no minutes of waiting for a
# server that is away.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

FLUSH_S = 2.0
"""Training curves are written at most this often."""
AWAY_S = 60.0
"""How long a server that did not answer is left alone."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

Change = Literal["created", "updated", "unchanged"]


@dataclass
class _Run:
    """What is known of a run in MLflow."""

    run_id: str
    mirrored: str
    params: dict[str, str]
    axes: dict[str, Value] = field(default_factory=dict)


class Mirror:
    """The one writer of a study's experiment.

    A write that fails is remembered in `missed` and `problem`, and never stops a sweep: the folders hold everything.
    """

    def __init__(
        self, client: MlflowClient, experiment: Experiment, paths: StudyPaths, uri: str, metric: str | None
    ) -> None:
        """Use `Mirror.open`."""
        self.uri = uri
        self.problem: str | None = None
        """Why the first write failed, and the mend; None while all is well."""
        self.missed: set[str] = set()
        """Keys of trials whose latest write failed."""
        self._client, self._experiment_id = client, str(experiment.experiment_id)
        self._paths, self._metric = paths, metric
        self._abouts: dict[str, About] = {}
        self._waiting: dict[str, list[Metric]] = defaultdict(list)
        self._written: Counter[str] = Counter()
        self._flushed_at = time.monotonic()
        self._away_until = 0.0
        self._runs, self.duplicates = _trial_runs(client, self._experiment_id)

    @classmethod
    def open(cls, paths: StudyPaths, uri: str | None = None, known: StudyFacts | None = None) -> Mirror:
        """Open a study's experiment, made where there is none, and look up its runs once.

        Args:
            paths: the study.
            uri: MLflow's tracking URI; `paths.store_uri()` where left out.
            known: what holds for the whole study; study.json's where left out. Its metric is the score that MLflow's
                compare page is to show; until a trial has it, it is NaN there.

        Raises:
            AblateError: the store cannot be used; the message names it.
        """
        uri = location.absolute_uri(uri)
        location.prepare_database(uri)
        known = known or facts(paths)
        try:
            client = _client(uri)
            experiment = client.get_experiment_by_name(paths.name)
            if experiment is None:
                folder = location.artifact_folder(uri)
                artifacts = None if folder is None else (folder / paths.name).as_uri()
                client.create_experiment(paths.name, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
                experiment = client.get_experiment_by_name(paths.name)
            if experiment.lifecycle_stage == "active":
                client.set_experiment_tag(experiment.experiment_id, encode.FACTS_TAG, json.dumps(asdict(known)))
                return cls(client, experiment, paths, uri, known.metric)
        except AblateError:
            raise
        except Exception as error:  # mlflow, sqlalchemy and requests each have their own
            raise location.unusable(uri, error) from error
        raise AblateError(
            f"study {paths.name} was deleted in MLflow at {location.shown(uri)}; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )

    # --- trials ---------------------------------------------------------------------------------

    def start(self, about: About) -> None:
        """A trial starts, or starts again: in the same run."""
        self._abouts[about.key] = about
        self._waiting.pop(about.key, None)
        self._written[about.key] = 0
        self._guarded(about.key, lambda: self._start(about))

    def adopt(self, about: About) -> None:
        """A sweep counts a trial that another one ran: its axes join the run's params, so that plots find them."""
        known = self._runs.get(about.key)
        fresh = {k: v for k, v in encode.params(about).items() if known and k not in known.params}
        if known and fresh:
            known.axes = known.axes | {k: v for k, v in about.axes.items() if k not in known.axes}
            self._guarded(about.key, lambda: self._log(known, params=fresh, tags=encode.axes_tags(known.axes)))

    def events(self, key: str, events: Sequence[Mapping[str, float]]) -> None:
        """Take in lines of a trial's events.jsonl, in order; they are written every few seconds."""
        for event in events:
            self._waiting[key] += _points(event)
        if time.monotonic() - self._flushed_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write the training curves that wait."""
        self._flushed_at = time.monotonic()
        for key in [k for k, points in self._waiting.items() if points and k in self._runs]:
            self._guarded(key, lambda key=key: self._flush(key))  # type: ignore[misc]

    def fail(self, key: str, failure: Failure) -> None:
        """An attempt of a trial that was started here has failed, or was interrupted."""
        about = self._abouts[key]
        self.finish(Record(about=about, result=None, failures=(failure,), path=self._paths.trials / key))

    def finish(self, record: Record) -> None:
        """A trial has ended, well or not: mirror its whole record."""
        self._guarded(record.about.key, lambda: self._write(record))

    def close(self) -> None:
        """Write what waits."""
        self.flush()

    def _start(self, about: About) -> None:
        known = self._runs.get(about.key)
        if known is None:
            self._create(about, encode.ms(time.time()))
            return
        known.mirrored = ""
        tags = encode.about_tags(about) | dict.fromkeys((*encode.FAILURE_TAGS, encode.MIRRORED_TAG), "")
        self._log(known, params=encode.params(about), tags=tags)
        self._client.update_run(known.run_id, status="RUNNING", name=encode.run_name(about.label))

    def _create(self, about: About, start_ms: int) -> _Run:
        run = self._client.create_run(
            self._experiment_id,
            start_time=start_ms,
            tags=encode.about_tags(about),
            run_name=encode.run_name(about.label),
        )
        known = self._runs[about.key] = _Run(run.info.run_id, "", {})
        # MLflow's compare page shows the metric that a run got first: a score, though the curve comes earlier.
        first = [Metric(encode.metric_key(self._metric), math.nan, 0, 0)] if self._metric else []
        self._log(known, params=encode.params(about), metrics=first)
        return known

    def _flush(self, key: str) -> None:
        self._log(self._runs[key], metrics=self._waiting[key])
        self._written[key] += len(self._waiting.pop(key))

    def _write(self, record: Record) -> Change:
        """Bring a trial's run up to its record; the mark that says so is written last."""
        about, result = record.about, record.result
        failure = record.failures[-1] if record.failures else None
        mark = encode.fingerprint(about, None if result else failure, result)
        known = self._runs.get(about.key)
        if known and known.mirrored == mark:
            return "unchanged"
        change: Change = "updated" if known else "created"
        began, ended = encode.times_ms(record)
        known = known or self._create(about, began)
        outcome = encode.outcome_metrics(result) if result else {}
        curve = [point for event in TrialFolder(record.path).events() for point in _points(event)]
        metrics = [Metric(k, v, ended, 0) for k, v in outcome.items()] + curve[self._written[about.key] :]
        tags = encode.about_tags(about) | encode.outcome_tags(failure, result)
        self._log(known, params=encode.params(about), tags=tags, metrics=metrics)
        self._copy_files(known.run_id, record)
        self._client.set_terminated(known.run_id, encode.status(record), end_time=ended)
        self._client.set_tag(known.run_id, encode.MIRRORED_TAG, mark)
        known.mirrored = mark
        self._waiting.pop(about.key, None)
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
        """Write in as few calls as MLflow's limits allow. A param once written stays: MLflow refuses to change it."""
        new = {k: v for k, v in (params or {}).items() if k not in run.params}
        for some_params, some_tags, some_metrics in zip_longest(
            encode.chunks([Param(k, v) for k, v in new.items()], encode.TEXTS_PER_CALL),
            encode.chunks([RunTag(k, v) for k, v in (tags or {}).items()], encode.TEXTS_PER_CALL),
            encode.chunks(metrics, encode.METRICS_PER_CALL),
            fillvalue=(),
        ):
            self._client.log_batch(run.run_id, metrics=some_metrics, params=some_params, tags=some_tags)
        run.params.update(new)

    def _guarded(self, key: str, write: Callable[[], object]) -> None:
        """Write, but let no failure out."""
        if time.monotonic() < self._away_until:
            self.missed.add(key)
            return
        try:
            write()
        except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests each have their own
            self.missed.add(key)
            if not location.answers(self.uri):
                self._away_until = time.monotonic() + AWAY_S
            self.problem = self.problem or (
                f"MLflow at {location.shown(self.uri)} did not take a write ({location.first_line(error)}); the sweep "
                f"goes on and nothing is lost: `ablate sync {self._paths.name}` catches up"
            )
        else:
            self.missed.discard(key)

    # --- sweeps ---------------------------------------------------------------------------------

    def sweep_summary(self, summary: SweepSummary) -> None:
        """Keep the spec, counts, ranking and figures of a sweep in a run of its own; again: in the same run."""
        self._guarded(f"sweep {summary.sweep}", lambda: self._write_summary(summary))

    def _write_summary(self, summary: SweepSummary) -> None:
        runs = _search(self._client, self._experiment_id, f"tags.`{encode.KIND_TAG}` = 'sweep'")
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
    """Bring MLflow up to a study's folders, whatever it holds: nothing, a part, or all. A second call changes nothing.

    No trial of the study may be running: the caller holds the study's lock. So a trial that was begun but has no end
    was cut off, and its run becomes KILLED. Trials that never began are left out.

    Raises:
        AblateError: the store cannot be used or refuses a write.
        RecordError: a folder cannot be read.
    """
    mirror = Mirror.open(paths, uri)
    done: Counter[str] = Counter()
    for record in scan(paths):
        if not encode.has_begun(record):
            continue
        try:
            done[mirror._write(record)] += 1
        except Exception as error:
            raise location.unusable(mirror.uri, error) from error
    counts = {"created": done["created"], "updated": done["updated"], "unchanged": done["unchanged"]}
    return Synced(**counts, duplicates=mirror.duplicates)


def _trial_runs(client: MlflowClient, experiment_id: str) -> tuple[dict[str, _Run], tuple[str, ...]]:
    """The oldest run of each trial, and the keys that more than one run bears."""
    found: dict[str, _Run] = {}
    twice: list[str] = []
    for run in reversed(list(_search(client, experiment_id, f"tags.`{encode.KIND_TAG}` = 'trial'"))):
        key = run.data.tags[encode.TRIAL_TAG]
        if key in found:
            twice.append(key)
        else:
            data, mark = run.data, run.data.tags.get(encode.MIRRORED_TAG, "")
            found[key] = _Run(run.info.run_id, mark, dict(data.params), decode.axes_in(data.tags, data.params))
    return found, tuple(sorted(set(twice)))


def _points(event: Mapping[str, float]) -> list[Metric]:
    """One report of a training curve; the same report gives the same points, which MLflow keeps once."""
    stamp, step = encode.ms(event.get("time", 0.0)), int(event.get("step", 0))
    return [Metric(key, value, stamp, step) for key, value in encode.event_metrics(event).items()]
