"""Attempts of ablate's own trainer, in a warm process: it has imported torch, and is kept for the next trial."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ablate.record import AttemptFolder, Failure
from ablate.run.agent.contract import NodeRole, environments
from ablate.run.agent.exits import Exit, failure_of, recorded_failure
from ablate.run.agent.processes import Command, ProcessGroup
from ablate.run.agent.watch import Control, Patience, StoppedError, Watch
from ablate.run.job import Job, Progress
from ablate.run.start import Start

_PER_JOB = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES"),
)
"""Variables that the process receives with each attempt; all others stay those of its start."""


class WarmProcess:
    """Runs attempts in one process, which is started at need and ended after a failed attempt."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._process: _Process | None = None

    def run(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control) -> Failure | None:
        """Run an attempt; returns its failure, whose record the process has written if it could.

        Raises:
            StoppedError: the executor stops the attempt; the process has ended.
        """
        start = Start()
        if job.total_gpus > 1 or role.nodes > 1:
            message = "ablate's own trainer runs as one process on at most one GPU so far; set `resources: {gpus: 1}`"
            return failure_of("usage", message, attempt, start)
        (env,) = environments(job, role, {})
        attempt.configured({"job": asdict(job), "command": _arguments("JOBS", "PROGRESS", "BEAT_S")})
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

    def _started(self, job: Job, attempt: AttemptFolder, env: dict[str, str]) -> _Process:
        """The process, which has been asked to run the attempt."""
        setting = (job.threads, job.gpus)  # numbers of threads are fixed when libraries are loaded
        if self._process is None or self._process.setting != setting or self._process.has_ended:
            self.close()
            self._process = _Process(setting, attempt, env, self._patience.beat_s)
        per_job = {name: env[name] for name in _PER_JOB}
        self._process.ask({"attempt": str(attempt.path), "env": per_job})
        return self._process

    def _run(
        self, process: _Process, job: Job, attempt: AttemptFolder, start: Start, control: Control
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
                    unrecorded = "the trial failed, but could not write its record; is the disk full?"
                    return recorded_failure(attempt) or failure_of("node", unrecorded, attempt, start)
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


class _Process:
    """The process, and the pipes to and from it."""

    def __init__(self, setting: tuple[int, float], attempt: AttemptFolder, env: dict[str, str], beat_s: float) -> None:
        self.setting = setting
        jobs, self._jobs = os.pipe()
        self._progress, progress = os.pipe()
        command = Command(
            arguments=_arguments(str(jobs), str(progress), str(beat_s)),
            env=env | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            workdir=os.getcwd(),
            stdout=attempt.stdout(),
            stderr=attempt.stderr(),
            inherited=(jobs, progress),
        )
        try:
            self._group = ProcessGroup([command])
        except BaseException:
            os.close(self._jobs)
            os.close(self._progress)
            raise
        finally:
            os.close(jobs)
            os.close(progress)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._progress, selectors.EVENT_READ)
        self._text, self._sign = b"", time.monotonic()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._group.exits()[0]

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.exit_code is not None

    def ask(self, message: dict[str, Any]) -> None:
        """Send a job; a process that has just ended is noticed by its exit code."""
        self._sign = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._jobs, (json.dumps(message) + "\n").encode())

    def messages(self, wait_s: float) -> Iterator[dict[str, Any]]:
        """The messages that have arrived, after a wait for the first."""
        if not self._selector.select(wait_s):
            return
        block = os.read(self._progress, 65536)
        if not block:  # it has closed its end
            time.sleep(wait_s)
            return
        self._sign = time.monotonic()
        *lines, self._text = (self._text + block).split(b"\n")
        yield from (json.loads(line) for line in lines)

    def look(self) -> None:
        """Note what it has forked."""
        self._group.look()

    def frozen(self, limit_s: float) -> str | None:
        """Whether it has given no sign of life for too long, as a message."""
        if time.monotonic() - self._sign <= limit_s:
            return None
        return (
            f"the trial's process gave no sign of life for {limit_s:g} s: it was stopped, or its interpreter is blocked"
        )

    def end(self) -> None:
        """End it and what it has forked, at once: nothing that it could still write is needed."""
        os.close(self._jobs)
        self._group.end(0.0)
        self._selector.close()
        os.close(self._progress)


def _arguments(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "ablate.run.worker.serve", *arguments]
