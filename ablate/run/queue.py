"""The queue of jobs, with retries, and the events that an executor reports."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from ablate.record import Failure, FailureClass
from ablate.run.failures import ON_ANOTHER_NODE
from ablate.run.job import Job, Progress
from ablate.spec import Retries

RETRIES: Mapping[str, int] = Retries().model_dump()
"""Class -> number of retries of a trial after failures of this class, where a spec does not state it. Each class is
counted alone: the loss of a node takes no retry away from a trial that is killed later. Other classes are never
retried."""


class Listener(Protocol):
    """Callbacks for the events of an executor; called in the driver's process, one at a time, never raising."""

    def started(self, job: Job) -> None:
        """An agent has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""

    def finished(self, job: Job) -> None:
        """The job's agent reports a result."""

    def failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        """An attempt failed; an executor that lost the attempt's agent has made the failure itself."""

    def note(self, message: str) -> None:
        """Something that people should know, such as a node that is left out."""


class Queue:
    """Jobs that wait and run; failed jobs wait again as their failures' classes allow."""

    def __init__(
        self,
        jobs: list[Job],
        retries: Mapping[str, int] = RETRIES,
        max_running: int | None = None,
    ) -> None:
        self._waiting = deque(jobs)
        self._running: dict[str, Job] = {}
        self._failures: dict[str, Counter[FailureClass]] = {job.key: Counter() for job in jobs}
        self._avoided: dict[str, set[str]] = {job.key: set() for job in jobs}
        self._retries, self._max_running = retries, max_running
        self._is_stopped = False

    def take(self) -> Job | None:
        """Remove the next waiting job, which counts as running from now on; None if none may start now."""
        if not self._waiting or (self._max_running is not None and len(self._running) >= self._max_running):
            return None
        job = self._waiting.popleft()
        self._running[job.key] = job
        return job

    def avoided(self, key: str) -> frozenset[str]:
        """Nodes that the next attempt of a job should avoid, as the executor named them to `settle`."""
        return frozenset(self._avoided[key])

    def withdraw(self, key: str) -> None:
        """Take back a job whose attempt has not begun: it waits again, as the next one, unless the queue is stopped."""
        job = self._running.pop(key)
        if not self._is_stopped:
            self._waiting.appendleft(job)

    def settle(self, key: str, failure: Failure | None, node: str = "") -> bool:
        """Note the end of an attempt.

        Args:
            key: the job's key.
            failure: why the attempt failed; None if it has a result.
            node: the executor's name of the node that it ran on; the next attempt may have to avoid it.

        Returns:
            Whether the job is retried.
        """
        job = self._running.pop(key)
        if failure is None:
            return False
        failures = self._failures[key]
        failures[failure.kind] += 1
        if failure.kind in ON_ANOTHER_NODE and node:
            self._avoided[key].add(node)
        is_retried = not self._is_stopped and failures[failure.kind] <= self._retries.get(failure.kind, 0)
        if is_retried:
            self._waiting.append(replace(job, oom_failures=failures["oom"]))
        return is_retried

    def stop(self) -> None:
        """Hand out no more jobs, also no retries."""
        self._is_stopped = True
        self._waiting.clear()

    @property
    def is_stopped(self) -> bool:
        """Whether no more jobs are handed out."""
        return self._is_stopped

    @property
    def empty(self) -> bool:
        """Whether no job waits and none runs."""
        return not self._waiting and not self._running

    def __len__(self) -> int:
        """Number of jobs that wait or run."""
        return len(self._waiting) + len(self._running)

    def has_running(self, key: str) -> bool:
        """Whether a job has been handed out and its attempt has not been settled."""
        return key in self._running


def end_attempt(queue: Queue, listener: Listener, job: Job, failure: Failure | None, node: str = "") -> None:
    """Note the end of an attempt in the queue and report it to the listener; nothing if its end was noted before.

    Args:
        queue: has the job.
        listener: receives the event.
        job: the job.
        failure: why the attempt failed; None if it has a result.
        node: the executor's name of the node that it ran on.
    """
    if not queue.has_running(job.key):
        return
    is_retried = queue.settle(job.key, failure, node)
    if failure is None:
        listener.finished(job)
    else:
        listener.failed(job, failure, retried=is_retried)
