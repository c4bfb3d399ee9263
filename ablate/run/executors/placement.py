"""What the driver knows of the jobs that it has handed out to Ray: where they run, since when, and what follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.record import Failure
from ablate.run.executors.losses import lost, nodes_of_ray
from ablate.run.executors.nodes import Nodes, looked_at
from ablate.run.job import Job, Progress
from ablate.run.queue import Listener, Queue, end_attempt

LOGGER = logging.getLogger(__name__)
REFRESH_S = 5.0
"""Seconds between two looks at the cluster's nodes."""
REPORT_EVERY_S = 1.0
"""Least seconds between two reports of an agent."""
REPORTS_PER_S = 50
"""Most reports of all agents together in a second: Tune's loop needs some milliseconds for each."""


@dataclass
class _Attempt:
    job: Job
    node: str
    """Ray's id of node 0."""
    host: str
    began: float
    actor: Any


class Placement:
    """Hands out jobs with the nodes that they must not run on, and notes how their attempts end."""

    def __init__(self, queue: Queue, listener: Listener) -> None:
        self.queue, self._listener = queue, _Guarded(listener)
        self._nodes = Nodes(nodes_of_ray())
        self._refreshed = time.monotonic()
        self._attempts: dict[str, _Attempt] = {}
        self._waiting_noted: set[tuple[float, float, int]] = set()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Tune pickles its configuration for a restore, which is not used; a listener may hold a terminal's lock."""
        return object, ()

    def note(self, message: str) -> None:
        """Report something that people should know."""
        self._listener.note(message)

    def refresh(self, *, now: bool = False) -> bool:
        """Look at the cluster's nodes, unless that was done within `REFRESH_S`; returns whether it was done."""
        if not now and time.monotonic() - self._refreshed < REFRESH_S:
            return False
        self._nodes.update(nodes_of_ray())
        self._refreshed = time.monotonic()
        return True

    def take(self) -> tuple[Job, tuple[str, ...], float] | None:
        """The next job, the ids of the nodes on which it must not run, and the seconds between its reports."""
        self.refresh()
        job = self.queue.take()
        if job is None:
            return None
        at_once = max(len(self._attempts), min(len(self.queue), self._nodes.capacity(job)))
        return job, self._nodes.excluded(job, self.queue.avoided(job.key)), max(REPORT_EVERY_S, at_once / REPORTS_PER_S)

    def must_withdraw(self, job: Job, excluded: tuple[str, ...]) -> bool:
        """Whether a job that waits for resources should wait in the queue instead.

        It should where the queue is stopped, and where the only nodes that are left for it are those excluded.
        """
        if not self._nodes.fits(job) and (job.cpus, job.gpus, job.nodes) not in self._waiting_noted:
            self._waiting_noted.add((job.cpus, job.gpus, job.nodes))
            needs = f"{job.nodes} node(s) with {job.cpus:g} CPU and {job.gpus:g} GPU"
            self.note(f"{job.label} waits: it needs {needs}, which the cluster does not have now")
        return self.queue.is_stopped or (self._nodes.fits(job) and not self._nodes.fits(job, excluded))

    def refuses(self, result: Mapping[str, Any]) -> bool:
        """Whether an agent must not begin, since its node is left out."""
        return result.get("placed") is not None and self._nodes.is_left_out(result["placed"]["node"])

    def placed(self, job: Job, result: Mapping[str, Any], actor: Any) -> None:
        """An agent is about to begin a job."""
        place = result["placed"]
        if self.refuses(result):
            return
        if self._nodes.get(place["node"]) is None:
            self.refresh(now=True)
        self._attempts[job.key] = _Attempt(job, place["node"], place["host"], time.monotonic(), actor)
        self._listener.started(job)

    def progressed(self, job: Job, progress: Progress) -> None:
        """A running job has made progress."""
        self._listener.progressed(job, progress)

    def withdrawn(self, job: Job) -> None:
        """The job's agent has not begun: the job waits again."""
        if self.queue.has_running(job.key):
            self.queue.withdraw(job.key)

    def ended(self, job: Job, failure: Failure | None) -> None:
        """An attempt has ended."""
        attempt = self._attempts.pop(job.key, None)
        node = attempt.node if attempt is not None else ""
        message = self._nodes.note_end(node, failure) if node else None
        end_attempt(self.queue, self._listener, job, failure, node)
        if message is not None:
            self.note(message)

    def lost(self, job: Job, error: BaseException | None) -> None:
        """The agent of an attempt has gone."""
        self.refresh(now=True)
        attempt = self._attempts.get(job.key)
        node = self._nodes.get(attempt.node) if attempt is not None else None
        if node is not None:
            node = looked_at(node)
            self._nodes.update([node])
        if attempt is None:
            self._listener.started(job)
        seconds = time.monotonic() - attempt.began if attempt is not None else 0.0
        self.ended(job, lost(error, node, seconds))

    def actors(self) -> list[Any]:
        """The actors of the attempts that run."""
        return [attempt.actor for attempt in self._attempts.values()]


class _Guarded:
    """A listener whose errors are logged and do not end the sweep."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def started(self, job: Job) -> None:
        self._call(job.label, lambda: self._listener.started(job))

    def progressed(self, job: Job, progress: Progress) -> None:
        self._call(job.label, lambda: self._listener.progressed(job, progress))

    def finished(self, job: Job) -> None:
        self._call(job.label, lambda: self._listener.finished(job))

    def failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        self._call(job.label, lambda: self._listener.failed(job, failure, retried=retried))

    def note(self, message: str) -> None:
        self._call(message, lambda: self._listener.note(message))

    def _call(self, subject: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            LOGGER.exception("an event of the sweep could not be handled: %s", subject)
