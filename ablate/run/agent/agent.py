"""The agent: runs attempts on one node, one after another. Executors, and `ablate trial`, drive it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Condition, Thread

from ablate.record import AttemptFolder, Failure
from ablate.run.agent.attempt import Runner
from ablate.run.agent.contract import NodeRole
from ablate.run.agent.processes import end_leftovers
from ablate.run.agent.watch import Control, Patience, StoppedError
from ablate.run.job import Job, Progress


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of an attempt on a node."""

    failure: Failure | None
    """None if it succeeded; on node 0 the trial then has a result."""
    left_processes: int = 0
    """Number of processes that a program had started, and that the agent ended after it had succeeded."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """An attempt that the agent runs."""

    job: Job
    attempt: AttemptFolder
    role: NodeRole
    control: Control


class Agent:
    """Runs attempts on one node, one after another.

    A trial of ablate's own trainer with one process runs in a warm process, which has imported torch and is kept for
    the next trial; a failed attempt ends it. Other attempts start new processes.

    All is done by a thread of the agent, so that limits hold however rarely `poll` is called. The processes end with
    the thread: also when this process is killed, they do not go on.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        """Start nothing yet.

        Args:
            patience: how long the agent waits for processes.
        """
        self._patience = patience or Patience()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._changed = Condition()
        self._task: _Task | None = None
        self._progress = Progress(phase="preparing")
        self._ended: Ended | None = None

    def begin(self, job: Job, attempt: AttemptFolder, role: NodeRole) -> None:
        """Start an attempt; returns at once.

        Args:
            job: the trial.
            attempt: the attempt's folder, the same on all nodes.
            role: what this node is in it.
        """
        assert self._task is None or self._ended is not None, "one attempt at a time"
        if self._thread is None:
            self._thread = Thread(target=self._work, name="ablate-agent", daemon=True)
            self._thread.start()
        self._progress, self._ended = Progress(phase="preparing"), None
        self._task = _Task(job=job, attempt=attempt, role=role, control=Control(self._report))
        self._tasks.put(self._task)

    def poll(self, wait_s: float) -> Progress | Ended:
        """The end of the attempt if it comes within `wait_s` seconds, else its newest progress."""
        assert self._task is not None
        with self._changed:
            self._changed.wait_for(lambda: self._ended is not None, wait_s)
            return self._ended or self._progress

    def stop(self) -> None:
        """End all processes of the attempt, also those that it has forked; the attempt gets no record."""
        if self._task is None:
            return
        self._task.control.stop.set()
        with self._changed:
            self._changed.wait_for(lambda: self._ended is not None)
        self._task = None

    def close(self) -> None:
        """Stop, and end the warm process."""
        self.stop()
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        """Run attempts until the agent is closed; the thread's whole life."""
        runner = Runner(self._patience)
        end_leftovers()
        try:
            while (task := self._tasks.get()) is not None:
                failure = None
                with contextlib.suppress(StoppedError):  # nobody polls any more
                    failure = runner.run(task.job, task.attempt, task.role, task.control)
                with self._changed:
                    self._ended = Ended(failure=failure, left_processes=task.control.left_processes)
                    self._changed.notify_all()
        finally:
            runner.close()

    def _report(self, progress: Progress) -> None:
        with self._changed:
            self._progress = progress


def free_port() -> int:
    """A port of this machine that no process listens on now."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
