"""Execution of jobs in this process, one after another."""

from __future__ import annotations

from ablate.run.job import Job
from ablate.run.queue import Listener, Queue, end_attempt
from ablate.run.worker import run_trial


def run_here(jobs: list[Job], listener: Listener) -> None:
    """Run jobs one after another in this process.

    Args:
        jobs: in the order in which they run.
        listener: receives the events.
    """
    queue = Queue(jobs)
    while (job := queue.take()) is not None:
        listener.started(job)
        for progress in run_trial(job):
            listener.progressed(job, progress)
        end_attempt(queue, listener, job, succeeded=progress.phase == "done")
