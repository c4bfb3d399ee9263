"""Trials that wait, and what happens when one ends: done, tried again, or given up."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Protocol

from ablate.record import TrialFolder
from ablate.run.job import Job, Progress

ATTEMPTS = 2  # a trial that fails is tried once more: machines fail more often than code that worked before


class Listener(Protocol):
    """Told by an executor what happens, in the driver's process, one call at a time."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job is at this point."""

    def finished(self, job: Job) -> None:
        """The job's folder holds a result."""

    def failed(self, job: Job, *, retried: bool) -> None:
        """The attempt failed; its folder says why, unless its process was killed."""

    def killed(self, job: Job, message: str) -> None:
        """The job's process ended without a word; `failed` follows."""


class Queue:
    """Jobs that wait, run and are tried again."""

    def __init__(self, jobs: list[Job], attempts: int = ATTEMPTS) -> None:
        self._waiting = deque(jobs)
        self._running: dict[str, Job] = {}
        self._left = {job.key: attempts for job in jobs}

    def take(self) -> Job | None:
        """The next job, from now on running; None if none waits."""
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._running[job.key] = job
        return job

    def settle(self, key: str, *, succeeded: bool) -> bool:
        """Note the end of an attempt; returns whether the job will be tried again."""
        job = self._running.pop(key)
        self._left[key] -= 1
        again = not succeeded and self._left[key] > 0
        if again:
            self._waiting.append(job)
        return again

    @property
    def empty(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def running(self) -> list[Job]:
        """Jobs that a worker has."""
        return list(self._running.values())


def _settle(queue: Queue, listener: Listener, job: Job, *, succeeded: bool) -> None:
    """By what the folder says: a worker may die between finishing a trial and telling so."""
    succeeded = succeeded or TrialFolder(Path(job.folder)).result() is not None
    again = queue.settle(job.key, succeeded=succeeded)
    if succeeded:
        listener.finished(job)
    else:
        listener.failed(job, retried=again)
