"""The queue of jobs, with retries, and the events that an executor reports."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Protocol

from ablate.record import TrialFolder
from ablate.run.job import Job, Progress

ATTEMPTS = 2  # a failed trial is retried once, since machines fail more often than code that worked before


class Listener(Protocol):
    """Callbacks for the events of an executor; called in the driver's process, one at a time."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""

    def finished(self, job: Job) -> None:
        """A job's folder contains a result."""

    def failed(self, job: Job, *, retried: bool) -> None:
        """An attempt failed; the reason is in the folder, unless the process was killed."""

    def killed(self, job: Job, message: str) -> None:
        """A job's process ended without a record; `failed` follows."""


class Queue:
    """Jobs that wait and run; failed jobs wait again until their attempts are used up."""

    def __init__(self, jobs: list[Job], attempts: int = ATTEMPTS) -> None:
        self._waiting = deque(jobs)
        self._running: dict[str, Job] = {}
        self._left = {job.key: attempts for job in jobs}

    def take(self) -> Job | None:
        """Remove the next waiting job, which counts as running from now on; None if none waits."""
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._running[job.key] = job
        return job

    def settle(self, key: str, *, succeeded: bool) -> bool:
        """Note the end of an attempt; returns whether the job is retried."""
        job = self._running.pop(key)
        self._left[key] -= 1
        is_retried = not succeeded and self._left[key] > 0
        if is_retried:
            self._waiting.append(job)
        return is_retried

    @property
    def empty(self) -> bool:
        """Whether no job waits and none runs."""
        return not self._waiting and not self._running

    @property
    def running(self) -> list[Job]:
        """The jobs that are running."""
        return list(self._running.values())


def end_attempt(queue: Queue, listener: Listener, job: Job, *, succeeded: bool) -> None:
    """Note the end of an attempt in the queue and report it to the listener.

    An attempt whose folder contains a result succeeded: a worker may die between writing it and reporting it.
    """
    succeeded = succeeded or TrialFolder(Path(job.folder)).result() is not None
    is_retried = queue.settle(job.key, succeeded=succeeded)
    if succeeded:
        listener.finished(job)
    else:
        listener.failed(job, retried=is_retried)
