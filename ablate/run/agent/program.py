"""Attempts of the user's own trainer: its processes on one node, and what they report in files."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.errors import UsageError
from ablate.record import AttemptFolder, Failure, FailureClass, TrialFolder
from ablate.run.agent.contract import NodeRole, environments
from ablate.run.agent.exits import Exit, failure_of
from ablate.run.agent.processes import Command, ProcessGroup
from ablate.run.agent.watch import Control, Patience, StoppedError, Watch
from ablate.run.job import Job, Program, Progress
from ablate.run.program import (
    Context,
    ProgressFile,
    changed_code,
    changed_data,
    command_line,
    outcome,
    stated_failure,
    variables,
    write_inputs,
)
from ablate.run.start import Start


class ProgramAttempt:
    """One attempt of the user's own trainer on one node."""

    def __init__(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control, patience: Patience) -> None:
        assert job.program is not None
        self._job, self._program, self._attempt, self._role = job, job.program, attempt, role
        self._control, self._patience, self._start = control, patience, Start()
        self._first_process = role.rank * job.processes

    def run(self) -> Failure | None:
        """Run the attempt; returns its failure. On node 0 a trial that succeeded has a result afterwards.

        Raises:
            StoppedError: the executor stops the attempt; all its processes have ended.
            OSError: the attempt's files cannot be written, or the working folder is missing.
        """
        if problem := changed_code(self._program):
            return self._failure("usage", problem)
        if problem := changed_data(self._job):
            return self._failure("data", problem)
        try:
            commands = self._commands()
        except UsageError as error:
            return self._failure("usage", str(error))
        if not Path(self._program.workdir).is_dir():
            return self._failure("usage", f"trainer.workdir: {self._program.workdir} is not a folder on this machine")
        group, progress = ProcessGroup(commands), ProgressFile(self._attempt)
        try:
            failure = self._watch(group, progress)
            self._control.left_processes = 0 if failure else group.left()
        except BaseException:
            group.end(self._patience.grace_s)
            raise
        unkillable = group.end(self._patience.grace_s)
        if self._role.rank == 0:
            self._report(progress, has_ended=True)
        if unkillable:
            numbers = ", ".join(map(str, unkillable))
            why = failure.message if failure else "the program had succeeded"
            return self._failure("node", f"the kernel does not end the processes {numbers} of the attempt; {why}")
        return failure or (self._finish() if self._role.rank == 0 else None)

    def _commands(self) -> list[Command]:
        """How the processes are started, after their inputs have been written and config.json says what runs."""
        context = Context(
            attempt=self._attempt,
            resume=_resumed(self._job, self._attempt),
            gpus=self._job.gpus,
            nodes=self._role.nodes,
            node_rank=self._role.rank,
            master_addr=self._role.master_addr,
            master_port=self._role.master_port,
        )
        arguments = command_line(self._program, context)
        write_inputs(self._job, self._attempt)  # on each node, the same: none has to wait for another
        if self._role.rank == 0:
            self._attempt.configured(_config(self._job, arguments))
        envs = environments(self._job, self._role, variables(self._program, context))
        is_launcher = self._program.processes == "node"
        return [
            Command(
                arguments=arguments,
                env=env,
                workdir=self._program.workdir,
                stdout=self._attempt.stdout(number),
                stderr=self._attempt.stderr(number),
                end_signal=signal.SIGTERM if is_launcher else signal.SIGKILL,  # torchrun then ends its processes
            )
            for number, env in enumerate(envs, self._first_process)
        ]

    def _watch(self, group: ProcessGroup, progress: ProgressFile) -> Failure | None:
        """Wait for the end of all processes, or of the first that fails, or for a limit."""
        is_first = self._role.rank == 0
        watch = Watch(self._job, self._attempt, is_first_node=is_first)
        next_look, running_at = time.monotonic(), time.monotonic()
        while True:
            exits = group.exits()
            if is_first and self._report(progress):
                watch.progressed()
            if any(exits) or None not in exits:
                return self._failed(exits)
            if self._control.stop.wait(self._patience.tick_s):
                raise StoppedError
            now = time.monotonic()
            if now > next_look:
                next_look = now + self._patience.look_s
                watch.look()
                running_at = running_at if group.look() else now
            if problem := watch.overrun():
                return self._failure("timeout", problem)
            if now - running_at > self._patience.frozen_s:
                return self._failure("timeout", f"a process was stopped for {self._patience.frozen_s:g} s")

    def _report(self, progress: ProgressFile, *, has_ended: bool = False) -> bool:
        """Report new progress; returns whether there was any."""
        new: list[Progress] = []
        with contextlib.suppress(OSError):  # a file server that is away for a moment is no reason to end an attempt
            new = progress.new(has_ended=has_ended)
        if new:
            self._control.report(new[-1])
        return bool(new)

    def _failed(self, exits: list[int | None]) -> Failure | None:
        """The failure after the first processes have ended; None if all have ended with exit code 0."""
        ends = [
            Exit(process=number, code=code, stderr=self._attempt.stderr(number))
            for number, code in enumerate(exits, self._first_process)
            if code
        ]
        if not ends:
            return None
        stated = stated_failure(self._job, self._attempt, self._start)
        classes = [end.failure_class for end in ends]
        first = classes.index(max(classes, key=_CAUSES.index))
        unused = "" if not (self._attempt.out / "result.json").is_file() else _UNUSED_RESULT
        return stated or self._failure(classes[first], f"{ends[first]}{unused}")

    def _finish(self) -> Failure | None:
        """Record the result that the program has written."""
        result = outcome(self._job, self._attempt, self._start)
        if isinstance(result, Failure):
            return result
        with contextlib.suppress(FileExistsError):  # an attempt that was given up but went on was first
            TrialFolder(Path(self._job.folder)).finish(result)
        return None

    def _failure(self, kind: FailureClass, message: str) -> Failure:
        return failure_of(kind, message, self._attempt, self._start)


_UNUSED_RESULT = "; it had written result.json, which counts only if all processes end with exit code 0"
_CAUSES: tuple[FailureClass, ...] = ("killed", "code", "oom")
"""Classes of processes that fail together, the cause last: a rank that is out of memory lets the others fail."""


def _resumed(job: Job, attempt: AttemptFolder) -> str:
    """Path of the out/ of the latest earlier attempt that wrote anything there; empty if there is none."""
    earlier = (one for one in reversed(TrialFolder(Path(job.folder)).attempts()) if one.number < attempt.number)
    return next((str(one.out) for one in earlier if one.out.is_dir() and any(one.out.iterdir())), "")


def _config(job: Job, arguments: list[str]) -> dict[str, Any]:
    """Content of config.json: what the attempt ran. Of environment variables only the names: values may be secret."""
    assert job.program is not None
    return {"job": asdict(job) | {"program": _public(job.program)}, "command": arguments}


def _public(program: Program) -> dict[str, Any]:
    return asdict(program) | {"env": sorted(program.env)}
