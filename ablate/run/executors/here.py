"""Execution of jobs on this machine without Ray, one after another."""

from __future__ import annotations

from pathlib import Path

from ablate.record import TrialFolder
from ablate.run.agent import Agent, Ended, NodeRole, free_port
from ablate.run.queue import Listener, Queue, end_attempt

POLL_S = 1.0
"""Most seconds between two reports of progress."""


def run_here(queue: Queue, listener: Listener) -> None:
    """Run jobs one after another on this machine.

    Args:
        queue: the jobs, in the order in which they run.
        listener: receives the events.
    """
    agent = Agent()
    try:
        while (job := queue.take()) is not None:
            listener.started(job)
            agent.begin(job, TrialFolder(Path(job.folder)).begin(), NodeRole(master_port=free_port()))
            while not isinstance(now := agent.poll(POLL_S), Ended):
                listener.progressed(job, now)
            end_attempt(queue, listener, job, now.failure)
    finally:
        agent.close()
