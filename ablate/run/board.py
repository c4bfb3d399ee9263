"""The state of a running sweep: which trials are done, which run, how far they are, time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ablate.run.job import Job, Progress

PHASE_SHARE = {"preparing": 0.02, "training": 0.92, "testing": 1.0}
"""Part of a trial that is over at the end of each phase, roughly; only the time left is estimated with it."""


@dataclass
class Running:
    """A trial that a worker has."""

    job: Job
    since: float
    progress: Progress = field(default_factory=lambda: Progress(phase="preparing"))

    def fraction(self) -> float:
        """Rough share of the trial that is over."""
        p = self.progress
        part = p.step / p.steps if p.steps else 0.0
        starts = {"preparing": 0.0, "training": PHASE_SHARE["preparing"], "testing": PHASE_SHARE["training"]}
        start = starts.get(p.phase, 1.0)
        return start + part * (PHASE_SHARE.get(p.phase, 1.0) - start)


class Board:
    """What the view shows, kept apart from how; fed with events.

    The view draws from a thread of its own, so everything that is iterated over is copied first.
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
        """The job is at this point."""
        self.running.setdefault(job.key, Running(job, self.clock())).progress = progress

    def finished(self, job: Job) -> None:
        """The job is done."""
        self.done[job.key] = self.clock() - self.running.pop(job.key, Running(job, self.clock())).since

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """An attempt failed, for good or to be tried again."""
        self.running.pop(job.key, None)
        if not retried:
            self.failed[job.key] = message

    @property
    def waiting(self) -> list[Job]:
        """Jobs that nobody has taken yet, or that wait to be tried again."""
        settled = self.done.keys() | self.failed.keys() | self.running.keys()
        return [job for key, job in self.jobs.items() if key not in settled]

    def seconds_left(self) -> float | None:
        """Estimate from the trials that are done and the progress of those that run; None before any is known."""
        known: dict[str, list[float]] = {}
        for key, seconds in list(self.done.items()):
            known.setdefault(_scale(self.jobs[key]), []).append(seconds)
        now = self.clock()
        for run in list(self.running.values()):
            if run.fraction() > 0.1:
                known.setdefault(_scale(run.job), []).append((now - run.since) / run.fraction())
        if not known:
            return None
        mean = {scale: sum(times) / len(times) for scale, times in known.items()}
        typical = sum(mean.values()) / len(mean)
        left = [mean.get(_scale(job), typical) for job in self.waiting]
        left += [mean.get(_scale(r.job), typical) * (1 - r.fraction()) for r in list(self.running.values())]
        return sum(left) / self._most_at_once if left else 0.0

    def waits_for(self) -> str:
        """What keeps the waiting trials from running."""
        if not self.waiting:
            return ""
        first = self.waiting[0]
        busy_cpus = sum(r.job.cpus for r in list(self.running.values()))
        busy_gpus = sum(r.job.gpus for r in list(self.running.values()))
        wants = f"{first.cpus:g} CPU" + (f" + {first.gpus:g} GPU" if first.gpus else "")
        if not self.running:
            return f"next: {first.label} waits for a worker to start ({wants})"
        held = f"{busy_cpus:g} CPU" + (f" + {busy_gpus:g} GPU" if busy_gpus else "")
        return f"next: {first.label} waits for {wants}; running trials hold {held}"


class LiveView(AbstractContextManager[Any], Protocol):
    """Shows a board while a sweep runs, as long as it is entered."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job is at this point."""

    def finished(self, job: Job, summary: str) -> None:
        """The job is done, with this score."""

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """An attempt failed, for good or to be tried again."""


def _scale(job: Job) -> str:
    return str(job.config["scale"])
