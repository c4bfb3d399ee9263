"""Receives the events of an executor and updates trial folders, MLflow and the view."""

from __future__ import annotations

import time
from pathlib import Path

from ablate.errors import AblateError
from ablate.plan import Plan
from ablate.record import Failure, FailureClass, TrialFolder
from ablate.run.board import LiveView
from ablate.run.job import Job, Progress
from ablate.run.planned import about
from ablate.tracking import Mirror


class Conductor:
    """The `queue.Listener` of a sweep: each event is recorded in the trial folder, in MLflow and in the view."""

    def __init__(self, plan: Plan, mirror: Mirror, view: LiveView) -> None:
        self._about = {p.trial.key: about(plan, p.trial) for p in plan.missing}
        self._metric, self._mirror, self.view = plan.metric, mirror, view
        self._mirrored: dict[str, int] = {}  # key -> number of points of the training curve
        self._running: dict[str, tuple[Job, float]] = {}
        self.failed_labels: dict[str, str] = {}
        """Label -> message of each trial that failed and is not retried."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""
        self._running[job.key] = (job, time.time())
        self._mirrored[job.key] = 0
        self._mirror.start(self._about[job.key])
        self.view.started(job)

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""
        self.view.progressed(job, progress)
        if progress.phase in ("training", "testing"):
            self._mirror_curve(job)

    def finished(self, job: Job) -> None:
        """A job's folder contains a result.

        Raises:
            AblateError: it does not; workers and the driver do not share the folder.
        """
        self._running.pop(job.key, None)
        self._mirror_curve(job)
        record = _folder(job).read()
        if record is None or record.result is None:
            raise AblateError(
                f"a worker finished {job.label}, but {job.folder} has no result; the runs folder must be shared"
            )
        self._mirror.finish(record)
        scores = {f"{s.benchmark}/{s.category}": s.score for s in record.result.scores if s.modality == "video"}
        score = scores.get(self._metric)
        self.view.finished(job, f"{self._metric} {score:.1f}" if score is not None else f"no score {self._metric}")

    def killed(self, job: Job, message: str) -> None:
        """A job's process ended without a record; `failed` follows."""
        self._record_end(job, "killed", f"the trial's process died ({message})")

    def failed(self, job: Job, *, retried: bool) -> None:
        """An attempt failed; the reason is in the folder."""
        if not _folder(job).failures():
            self._record_end(
                job, "killed", "the trial failed without a record; is the disk full, is the runs folder shared?"
            )
        self._running.pop(job.key, None)
        failure = _folder(job).failures()[-1]
        self._mirror.fail(job.key, failure)
        self.view.attempt_failed(job, failure.message, retried=retried)
        if not retried:
            self.failed_labels[job.label] = failure.message

    def interrupt(self) -> None:
        """The sweep ends: running trials are recorded as interrupted, and run again next time."""
        for job, _ in list(self._running.values()):
            record = _folder(job).read()
            if record is not None and record.result is not None:
                self._mirror.finish(record)
                continue
            self._record_end(job, "interrupted", "the sweep was interrupted")
            self._mirror.fail(job.key, _folder(job).failures()[-1])

    def _record_end(self, job: Job, kind: FailureClass, message: str) -> None:
        folder, began = _folder(job), self._running.get(job.key, (job, time.time()))[1]
        folder.fail(
            Failure(
                attempt=len(folder.failures()),
                kind=kind,
                message=message,
                traceback="",
                seconds=time.time() - began,
                ended_at=time.time(),
            )
        )

    def _mirror_curve(self, job: Job) -> None:
        events = _folder(job).events()
        new = events[self._mirrored.get(job.key, 0) :]
        self._mirrored[job.key] = len(events)
        if new:
            self._mirror.events(job.key, new)


def _folder(job: Job) -> TrialFolder:
    return TrialFolder(Path(job.folder))
