"""Attempts of ablate's own trainer, in a warm process: it has imported torch, and is kept for the next trial."""

from __future__ import annotations

import time

from ablate.record import AttemptFolder, Failure
from ablate.run.agent.contract import NodeRole, environments
from ablate.run.agent.exits import Exit, failure_of, recorded_failure
from ablate.run.agent.watch import Control, Patience, StoppedError, Watch
from ablate.run.agent.worker_process import WorkerProcess, config_of
from ablate.run.job import Job, Progress
from ablate.run.start import Start

UNRECORDED = "the trial failed, but could not write its record; is the disk full?"
"""Message for a process that reports a failure of which there is no record."""


class WarmProcess:
    """Runs attempts in one process, which is started at need and ended after a failed attempt."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._process: WorkerProcess | None = None
        self._setting: tuple[int, float] = (0, 0.0)

    def run(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control) -> Failure | None:
        """Run an attempt; returns its failure, whose record the process has written if it could.

        Raises:
            StoppedError: the executor stops the attempt; the process has ended.
        """
        start = Start()
        (env,) = environments(job, role, {})
        attempt.configured(config_of(job))
        process = self._started(job, attempt, env)
        try:
            failure = self._run(process, job, attempt, start, control)
        except BaseException:
            self.close()
            raise
        if failure is not None:
            self.close()
        return failure

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _started(self, job: Job, attempt: AttemptFolder, env: dict[str, str]) -> WorkerProcess:
        """The process, which has been asked to run the attempt."""
        setting = (job.threads, job.gpus)  # numbers of threads are fixed when libraries are loaded
        if self._process is None or self._setting != setting or self._process.has_ended:
            self.close()
            self._process, self._setting = WorkerProcess(attempt, env, self._patience.beat_s), setting
        self._process.ask(attempt, env)
        return self._process

    def _run(
        self, process: WorkerProcess, job: Job, attempt: AttemptFolder, start: Start, control: Control
    ) -> Failure | None:
        watch, next_look = Watch(job, attempt, is_first_node=True), time.monotonic() + self._patience.look_s
        while True:
            for message in process.messages(self._patience.tick_s):
                if "progress" in message:
                    watch.progressed()
                    control.report(Progress(**message["progress"]))
                if message.get("ended") == "done":
                    return None
                if message.get("ended") == "failed":
                    return recorded_failure(attempt) or failure_of("node", UNRECORDED, attempt, start)
            if control.stop.is_set():
                raise StoppedError
            if (code := process.exit_code) is not None:
                end = Exit(process=0, code=code, stderr=attempt.stderr())
                return recorded_failure(attempt) or failure_of(end.failure_class, str(end), attempt, start)
            if time.monotonic() > next_look:
                next_look = time.monotonic() + self._patience.look_s
                process.look()
                watch.look()
            if problem := watch.overrun() or process.frozen(self._patience.frozen_s):
                return failure_of("timeout", problem, attempt, start)
