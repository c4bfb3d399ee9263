"""The state of a running sweep: trials done and running, their progress, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

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

    The view reads it from another thread, so collections are copied before they are iterated over.
    """

    def __init__(self, jobs: list[Job], clock: Callable[[], float] = time.monotonic) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.running: dict[str, Running] = {}
        self.done: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self._most_at_once = 1
        self.clock = clock
        self.began = clock()

    def started(self, job: Job) -> None:
        """A worker has taken the job."""
        self.running[job.key] = Running(job, self.clock())
        self._most_at_once = max(self._most_at_once, len(self.running))

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""
        self.running.setdefault(job.key, Running(job, self.clock())).progress = progress

    def finished(self, job: Job) -> None:
        """The job is done."""
        self.done[job.key] = self.clock() - self.running.pop(job.key, Running(job, self.clock())).since

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """An attempt failed; the job may be retried."""
        self.running.pop(job.key, None)
        if not retried:
            self.failed[job.key] = message

    @property
    def waiting(self) -> list[Job]:
        """Jobs that wait for a worker, for the first time or for a retry."""
        settled = self.done.keys() | self.failed.keys() | self.running.keys()
        return [job for key, job in self.jobs.items() if key not in settled]

    def seconds_left(self) -> float | None:
        """Estimate from trials that are done and the progress of running ones; None if there is no data yet."""
        seconds_at: dict[str, list[float]] = {}
        for key, seconds in list(self.done.items()):
            seconds_at.setdefault(_scale(self.jobs[key]), []).append(seconds)
        now = self.clock()
        for run in list(self.running.values()):
            if run.fraction() > 0.1:
                seconds_at.setdefault(_scale(run.job), []).append((now - run.since) / run.fraction())
        if not seconds_at:
            return None
        mean = {scale: sum(times) / len(times) for scale, times in seconds_at.items()}
        typical = sum(mean.values()) / len(mean)
        left = [mean.get(_scale(job), typical) for job in self.waiting]
        left += [mean.get(_scale(r.job), typical) * (1 - r.fraction()) for r in list(self.running.values())]
        return sum(left) / self._most_at_once if left else 0.0

    def waits_for(self) -> str:
        """The resources that the next waiting trial needs, and those in use; empty if none waits."""
        if not self.waiting:
            return ""
        first = self.waiting[0]
        busy_cpus = sum(r.job.cpus for r in list(self.running.values()))
        busy_gpus = sum(r.job.gpus for r in list(self.running.values()))
        request = f"{first.cpus:g} CPU" + (f" + {first.gpus:g} GPU" if first.gpus else "")
        if not self.running:
            return f"next: {first.label} waits for a worker to start ({request})"
        in_use = f"{busy_cpus:g} CPU" + (f" + {busy_gpus:g} GPU" if busy_gpus else "")
        return f"next: {first.label} waits for {request}; running trials use {in_use}"


class LiveView(AbstractContextManager[Any], Protocol):
    """Shows the progress of a sweep while its context is entered."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""

    def finished(self, job: Job, summary: str) -> None:
        """The job is done; the summary has its score."""

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """An attempt failed; the job may be retried."""


def _scale(job: Job) -> str:
    return str(job.config["scale"])
