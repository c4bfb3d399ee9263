"""An attempt of ablate's own trainer with several processes: this node's, one for each of its GPUs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ablate.record import AttemptFolder, Failure, FailureClass
from ablate.run.agent.contract import NodeRole, environments
from ablate.run.agent.exits import Exit, failure_of, recorded_failure
from ablate.run.agent.warm import UNRECORDED
from ablate.run.agent.watch import Control, Patience, StoppedError, Watch
from ablate.run.agent.worker_process import WorkerProcess, config_of
from ablate.run.job import Job, Progress
from ablate.run.start import Start

SETTLE_S = 3.0
"""Seconds after a process has failed in which the others may fail: one of them may be the cause."""
_CAUSES: tuple[FailureClass, ...] = ("code", "killed", "oom")
"""Classes of processes that end without a word, the cause last: a library may abort who loses a connection."""
LEAVE_S = 20.0
"""Seconds after the trial has a result in which the other processes leave their group by themselves."""


class RanksAttempt:
    """One attempt on one node. Its processes are started for it, and all end with it; process 0 has the result."""

    def __init__(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control, patience: Patience) -> None:
        self._job, self._attempt, self._role = job, attempt, role
        self._control, self._patience, self._start = control, patience, Start()
        self._processes: list[WorkerProcess] = []
        self._ends: dict[int, str] = {}
        """Number of a process -> how it says that it has ended: done, failed."""

    def run(self) -> Failure | None:
        """Run the attempt; returns its failure.

        Raises:
            StoppedError: the executor stops the attempt; all its processes have ended.
            OSError: the attempt's files cannot be written.
        """
        self._attempt.configured(config_of(self._job))  # on each node, the same: none has to wait for another
        try:
            for env in environments(self._job, self._role, {}):
                self._processes.append(WorkerProcess(self._attempt, env, self._patience.beat_s))
                self._processes[-1].ask(self._attempt, env)
            return self._watch()
        finally:
            for process in self._processes:
                process.end()

    def _watch(self) -> Failure | None:
        """Wait until all processes are done, or the first fails, or a limit is reached."""
        watch = Watch(self._job, self._attempt, is_first_node=self._role.rank == 0)
        next_look, done_at = time.monotonic(), float("inf")
        while True:
            for progress in self._read():
                watch.progressed()
                self._control.report(progress)
            if self._control.stop.is_set():
                raise StoppedError
            if any(self._has_failed(process) for process in self._processes):
                return self._cause()
            now = time.monotonic()
            if 0 in self._ends:  # process 0 has written the result
                done_at = min(done_at, now)
            if len(self._ends) == len(self._processes) or now - done_at > LEAVE_S:
                return None
            if now > next_look:
                next_look = now + self._patience.look_s
                watch.look()
                for process in self._processes:
                    process.look()
            frozen = (process.frozen(self._patience.frozen_s) for process in self._processes)
            if problem := watch.overrun() or next(filter(None, frozen), None):
                return failure_of("timeout", problem, self._attempt, self._start)

    def _read(self) -> Iterator[Progress]:
        """Read what the processes say; the progress is that of process 0, with which the others keep step."""
        for process in self._processes:
            for message in process.messages(self._patience.tick_s / len(self._processes)):
                if "ended" in message:
                    self._ends[process.number] = message["ended"]
                if "progress" in message and process.number == 0:
                    yield Progress(**message["progress"])

    def _has_failed(self, process: WorkerProcess) -> bool:
        """Whether a process says so, or has ended without a word."""
        end = self._ends.get(process.number)
        return end == "failed" or (end is None and process.has_ended)

    def _cause(self) -> Failure:
        """The failure that caused the others: broken connections to a process that has ended are of class `code`."""
        until = time.monotonic() + SETTLE_S
        while True:
            silent = self._silent()
            stated = recorded_failure(self._attempt)
            is_known = any(end.failure_class != "code" for end in silent) or (stated and stated.kind != "code")
            if is_known or len(self._ends) + len(silent) == len(self._processes) or time.monotonic() > until:
                break
            for _ in self._read():
                pass
        end = max(silent, key=lambda end: _CAUSES.index(end.failure_class), default=None)
        if stated is not None and (stated.kind != "code" or end is None or end.failure_class == "code"):
            return stated
        if end is None:
            return failure_of("node", UNRECORDED, self._attempt, self._start)
        failure = failure_of(end.failure_class, str(end), self._attempt, self._start)
        self._attempt.fail(failure)  # instead of the record of a process that lost its connection
        return failure

    def _silent(self) -> list[Exit]:
        """The ends of processes that have said nothing."""
        return [
            Exit(process=process.number, code=code, stderr=self._attempt.stderr(process.number))
            for process in self._processes
            if process.number not in self._ends and (code := process.exit_code) is not None
        ]
