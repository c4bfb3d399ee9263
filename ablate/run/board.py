"""The state of a running sweep: trials done and running, their progress, the time left."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ablate.record import Failure
from ablate.run.job import Job, Progress

PHASE_SHARE = {"preparing": 0.02, "training": 0.92, "testing": 1.0}
"""Phase -> approximate share of a trial's time that has passed at its end; used to estimate the time left."""


@dataclass
class Running:
    """A trial that is running."""

    job: Job
    since: float
    """Time of its start on the board's clock, in seconds."""
    progress: Progress = field(default_factory=lambda: Progress(phase="preparing"))

    def fraction(self) -> float:
        """Approximate share of the trial that is done, from 0 to 1."""
        p = self.progress
        part = p.step / p.steps if p.steps else 0.0
        starts = {"preparing": 0.0, "training": PHASE_SHARE["preparing"], "testing": PHASE_SHARE["training"]}
        start = starts.get(p.phase, 1.0)
        return start + part * (PHASE_SHARE.get(p.phase, 1.0) - start)


class Board:
    """The state that the view shows; updated by events.

    The view reads it from another thread, so every method takes the lock. No method walks all jobs: there may be
    thousands, and the view draws several times a second.
    """

    def __init__(
        self, jobs: list[Job], clock: Callable[[], float] = time.monotonic, max_running: int | None = None
    ) -> None:
        self.clock, self.began, self.total = clock, clock(), len(jobs)
        self.running: dict[str, Running] = {}
        self.num_done = 0
        self.num_failed = 0
        """Number of trials that failed and are not retried."""
        self._waiting = OrderedDict((job.key, job) for job in jobs)
        self._waiting_at = Counter(_scale(job) for job in jobs)
        self._seconds_at: dict[str, tuple[float, int]] = {}  # scale -> seconds of its finished trials, and their number
        self._most_at_once, self._max_running, self._is_stopped = 1, max_running, False
        self._lock = threading.RLock()

    def started(self, job: Job) -> None:
        """A worker has taken the job."""
        with self._lock:
            self._unqueue(job)
            self.running[job.key] = Running(job, self.clock())
            self._most_at_once = max(self._most_at_once, len(self.running))

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""
        with self._lock:
            if job.key not in self.running:
                self.started(job)
            self.running[job.key].progress = progress

    def finished(self, job: Job) -> float:
        """The job is done; returns how many seconds it ran."""
        with self._lock:
            self._unqueue(job)
            run = self.running.pop(job.key, None)
            seconds = self.clock() - run.since if run else 0.0
            total, count = self._seconds_at.get(_scale(job), (0.0, 0))
            self._seconds_at[_scale(job)] = (total + seconds, count + 1)
            self.num_done += 1
            return seconds

    def attempt_failed(self, job: Job, *, retried: bool) -> None:
        """An attempt failed; the job may be retried."""
        with self._lock:
            self._unqueue(job)
            self.running.pop(job.key, None)
            if retried:
                self._waiting[job.key] = job
                self._waiting_at[_scale(job)] += 1
            else:
                self.num_failed += 1

    def stop(self) -> None:
        """No more trials start."""
        self._is_stopped = True

    @property
    def num_waiting(self) -> int:
        """Number of jobs that wait for a worker, for the first time or for a retry."""
        return len(self._waiting)

    def ended(self) -> float:
        """Number of trials that have ended, with the finished shares of those that run."""
        with self._lock:
            return self.num_done + self.num_failed + sum(run.fraction() for run in self.running.values())

    def runs(self) -> list[Running]:
        """The running trials."""
        with self._lock:
            return list(self.running.values())

    def seconds_left(self) -> float | None:
        """Estimate from trials that are done and the progress of running ones; None if there is no data yet."""
        with self._lock:
            if not self._seconds_at:
                return None
            mean = {scale: seconds / count for scale, (seconds, count) in self._seconds_at.items()}
            typical = sum(mean.values()) / len(mean)
            waiting = {} if self._is_stopped else self._waiting_at
            left = sum(count * mean.get(scale, typical) for scale, count in waiting.items())
            left += sum(mean.get(_scale(r.job), typical) * (1 - r.fraction()) for r in self.running.values())
            return left / self._most_at_once

    def waits_for(self) -> str:
        """What the next waiting trial waits for; empty if none waits."""
        with self._lock:
            if not self._waiting:
                return ""
            if self._is_stopped:
                return f"no more trials start; {len(self.running)} go on"
            first, runs = next(iter(self._waiting.values())), list(self.running.values())
        if self._max_running is not None and len(runs) >= self._max_running:
            return f"next: {first.label} waits for one of {len(runs)} running trials to end (--max-running)"
        request = _resources(first.cpus * first.nodes, first.total_gpus)
        if first.nodes > 1:
            request += f" on {first.nodes} nodes"
        if not runs:
            return f"next: {first.label} waits for a worker to start ({request})"
        in_use = _resources(sum(r.job.cpus * r.job.nodes for r in runs), sum(r.job.total_gpus for r in runs))
        return f"next: {first.label} waits for {request}; running trials use {in_use}"

    def _unqueue(self, job: Job) -> None:
        """Remove the job from those that wait, if it is one."""
        if self._waiting.pop(job.key, None) is not None:
            self._waiting_at[_scale(job)] -= 1


class LiveView(AbstractContextManager[Any], Protocol):
    """Shows the progress of a sweep while its context is entered."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""

    def finished(self, job: Job, summary: str) -> None:
        """The job is done; the summary has its score."""

    def attempt_failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        """An attempt failed; the job may be retried."""

    def note(self, message: str) -> None:
        """Something that people should know; also before and after the context."""

    def stopped(self, message: str) -> None:
        """No more trials start; running ones go on."""


def _resources(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + (f" + {gpus:g} GPU" if gpus else "")


def _scale(job: Job) -> str:
    return str(job.config["scale"])
