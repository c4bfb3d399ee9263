"""The driver of a sweep in a process of its own: reads a JSON object from its standard input, prints events.

Ray keeps the first authentication mode of a process, and a test must be able to interrupt or kill a driver.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from ablate.errors import InfeasibleError
from ablate.record import Failure
from ablate.run import Cluster, Job, Progress, run_on_ray
from ablate.run.job import job_from
from ablate.run.queue import Queue


class PrintedEvents:
    """A listener that prints each event as a line of JSON; it raises after those of `raises`.

    When the trial `stop_after` has finished, it stops the queue, as a limit of the sweep does.
    """

    def __init__(self, queue: Queue, raises: list[str], stop_after: str | None) -> None:
        self._queue, self._raises, self._stop_after = queue, raises, stop_after

    def started(self, job: Job) -> None:
        self._event("started", job)

    def progressed(self, job: Job, progress: Progress) -> None:
        self._event("progressed", job, step=progress.step)

    def finished(self, job: Job) -> None:
        if job.label == self._stop_after:
            self._queue.stop()
        self._event("finished", job)

    def failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        self._event("failed", job, kind=failure.kind, message=failure.message, retried=retried)

    def note(self, message: str) -> None:
        print(json.dumps({"event": "note", "message": message}), flush=True)

    def _event(self, name: str, job: Job, **facts: Any) -> None:
        print(json.dumps({"event": name, "label": job.label, "time": time.monotonic(), **facts}), flush=True)
        if name in self._raises:
            raise OSError(28, "No space left on device")


def run() -> None:
    order = json.load(sys.stdin)
    queue = Queue([job_from(job) for job in order["jobs"]], max_running=order.get("max_running"))

    def check(nodes: list[dict[str, float]]) -> None:
        print(json.dumps({"event": "nodes", "nodes": nodes}), flush=True)
        if "infeasible" in order:
            raise InfeasibleError(order["infeasible"])

    events = PrintedEvents(queue, order.get("raises", []), order.get("stop_after"))
    run_on_ray(queue, events, Cluster(**order["cluster"]), check)


if __name__ == "__main__":
    run()
