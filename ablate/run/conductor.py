"""Receives the events of an executor and updates trial folders, MLflow and the view."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.errors import first_line
from ablate.record import Failure, FailureClass, Record, RecordError, TrialFolder
from ablate.run.board import LiveView
from ablate.run.job import Job, Progress
from ablate.run.limits import Breaker
from ablate.run.queue import Queue
from ablate.tracking import BackgroundMirror

VISIBLE_S = 60.0
"""Seconds until a result that a worker has written must be visible here: NFS shows files of other machines late."""
LOOK_EVERY_S = 1.0
"""Seconds between two looks for a result that is not visible yet."""
TICK_S = 0.2
"""Seconds between two checks whether a look is due, when no event arrives any more."""


@dataclass
class _Pending:
    """A finished job whose result is not visible yet."""

    job: Job
    until: float
    look_at: float
    problem: str = "there is no result"


class Conductor:
    """The `queue.Listener` of a sweep: each event is recorded in the trial folder, in MLflow and in the view.

    No event raises: an error is noted for its trial, and the sweep goes on.
    """

    def __init__(
        self,
        queue: Queue,
        mirror: BackgroundMirror,
        view: LiveView,
        metric: str,
        breaker: Breaker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.view = view
        self.stopped: str | None = None
        """Why no more trials are started; None if they are."""
        self.failed_labels: dict[str, str] = {}
        """Label -> message of the last failure of each trial that has failed and not run again since."""
        self.notes: dict[str, str] = {}
        """Label -> the first error while an event of the trial was recorded or shown."""
        self.has_started = False
        """Whether any trial has started."""
        self._queue, self._mirror, self._metric, self._breaker, self._clock = queue, mirror, metric, breaker, clock
        self._running: dict[str, tuple[Job, float]] = {}
        self._pending: dict[str, _Pending] = {}
        self._ended_gpu_s = 0.0

    def started(self, job: Job) -> None:
        """An agent has taken the job."""
        self.has_started = True
        self._running[job.key] = (job, self._clock())
        self.failed_labels.pop(job.label, None)
        with self._noted(job):
            self._mirror.changed(job.key, is_running=True)
        with self._noted(job):
            self.view.started(job)
        self._look()

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""
        with self._noted(job):
            self.view.progressed(job, progress)
        if progress.phase in ("training", "testing"):
            with self._noted(job):
                self._mirror.changed(job.key, is_running=True)
        self._look()

    def finished(self, job: Job) -> None:
        """The job's agent reports a result, which may become visible here later."""
        self._end(job)
        now = self._clock()
        self._pending[job.key] = _Pending(job, until=now + VISIBLE_S, look_at=now)
        self._look()

    def failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        """An attempt failed; a failure whose agent could not record it is recorded here."""
        self._end(job)
        self.failed_labels[job.label] = failure.message
        with self._noted(job):
            _record(job, failure)
        with self._noted(job):
            self._mirror.changed(job.key, is_running=False)
        with self._noted(job):
            self.view.attempt_failed(job, failure, retried=retried)
        message = self._breaker.failed(job, failure)
        if message is not None:
            self.stopped = message
            self._queue.stop()
            with self._noted(job):
                self.view.stopped(message)
        self._look()

    def note(self, message: str) -> None:
        """Show something that people should know."""
        with self._guarded("the view"):
            self.view.note(message)

    def gpu_seconds(self) -> float:
        """GPU-seconds of all attempts of this run; may be called from another thread."""
        now = self._clock()
        return self._ended_gpu_s + sum(job.total_gpus * (now - since) for job, since in list(self._running.values()))

    def await_results(self) -> None:
        """Wait for results that are not visible yet, until their time is over."""
        while self._pending:
            self._look()
            if self._pending:
                time.sleep(TICK_S)

    def interrupt(self, reason: str) -> None:
        """The sweep ends while trials run: they are recorded as interrupted, and run again next time.

        Args:
            reason: the message of their failure.
        """
        for pending in list(self._pending.values()):
            self._look_at(pending)
        for job, since in list(self._running.values()):
            with self._noted(job):
                _record(job, _failure("interrupted", reason, self._clock() - since))
            self._end(job)
            with self._noted(job):
                self._mirror.changed(job.key, is_running=False)

    def abandon(self) -> None:
        """The study belongs to another driver now: nothing is recorded any more."""
        self._running.clear()
        self._pending.clear()

    def _end(self, job: Job) -> None:
        """Count the GPU-seconds of an attempt that has ended."""
        now = self._clock()
        _, since = self._running.pop(job.key, (job, now))  # first, so that `gpu_seconds` never counts it twice
        self._ended_gpu_s += job.total_gpus * (now - since)

    def _look(self) -> None:
        """Look for the results that are not visible yet; never waits."""
        now = self._clock()
        for pending in [p for p in self._pending.values() if p.look_at <= now]:
            pending.look_at = now + LOOK_EVERY_S
            self._look_at(pending)

    def _look_at(self, pending: _Pending) -> None:
        job = pending.job
        try:
            os.listdir(job.folder)  # makes an NFS client forget that it has seen no result
            record = TrialFolder(Path(job.folder)).read()
        except (RecordError, OSError) as error:
            record, pending.problem = None, first_line(error)
        if record is not None and record.result is not None:
            del self._pending[job.key]
            self._done(job, record)
        elif self._clock() >= pending.until:
            del self._pending[job.key]
            self._lost(job, pending.problem)

    def _done(self, job: Job, record: Record) -> None:
        """A result is visible."""
        self._breaker.succeeded()
        with self._noted(job):
            self._mirror.changed(job.key, is_running=False)
        all_scores = record.result.scores if record.result else []
        scores = {f"{s.benchmark}/{s.category}": s.score for s in all_scores if s.modality == "video"}
        score = scores.get(self._metric)
        with self._noted(job):
            self.view.finished(job, f"{self._metric} {score:.1f}" if score is not None else f"no score {self._metric}")

    def _lost(self, job: Job, problem: str) -> None:
        """A result has not become visible."""
        message = (
            f"its agent reported a result, but {problem} in {job.folder} after {VISIBLE_S:.0f} s; the runs folder must "
            "be one that all machines share (ABLATE_RUNS)"
        )
        self.failed_labels[job.label] = message
        with self._noted(job):
            self.view.attempt_failed(job, _failure("node", message, 0.0), retried=False)

    def _noted(self, job: Job) -> AbstractContextManager[None]:
        return self._guarded(job.label)

    @contextmanager
    def _guarded(self, label: str) -> Iterator[None]:
        """Note an error of a trial instead of raising it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a full disk, a damaged record, a bug of the view: the sweep goes on
            self.notes.setdefault(label, f"{type(error).__name__}: {first_line(error)}")


def _failure(kind: FailureClass, message: str, seconds: float) -> Failure:
    """A failure that the driver states, since no agent can."""
    return Failure(attempt=0, kind=kind, message=message, traceback="", seconds=seconds, ended_at=time.time())


def _record(job: Job, failure: Failure) -> None:
    """Record a failure in the folder of the job's latest attempt, unless it has a record or the trial has a result."""
    folder = TrialFolder(Path(job.folder))
    attempts = folder.attempts()
    if attempts and attempts[-1].failure() is None and folder.result() is None:
        attempts[-1].fail(replace(failure, attempt=attempts[-1].number))
