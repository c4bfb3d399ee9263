"""A process of ablate's own trainer, and the pipes to and from it (`ablate.run.worker.serve`)."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ablate.record import AttemptFolder
from ablate.run.agent.processes import Command, ProcessGroup
from ablate.run.job import Job

_PER_JOB = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES"),
)
"""Variables that the process receives with each attempt; all others stay those of its start."""


class WorkerProcess:
    """A process that runs attempts one after another; it is started here, and has imported torch a moment later."""

    def __init__(self, attempt: AttemptFolder, env: Mapping[str, str], beat_s: float) -> None:
        """Start it.

        Args:
            attempt: the first attempt, whose files get its output.
            env: its whole environment; RANK is its number in the attempt.
            beat_s: seconds between two signs of life.
        """
        self.number = int(env["RANK"])
        jobs, self._jobs = os.pipe()
        self._progress, progress = os.pipe()
        command = Command(
            arguments=arguments(str(jobs), str(progress), str(beat_s)),
            env={**env, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            workdir=os.getcwd(),
            stdout=attempt.stdout(self.number),
            stderr=attempt.stderr(self.number),
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

    def ask(self, attempt: AttemptFolder, env: Mapping[str, str]) -> None:
        """Let it run an attempt; a process that has just ended is noticed by its exit code.

        Args:
            attempt: the attempt, whose config.json has the job.
            env: the environment of the attempt, of which the variables of torchrun's contract are passed on.
        """
        self._sign = time.monotonic()
        message = {"attempt": str(attempt.path), "env": {name: env[name] for name in _PER_JOB}}
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
        which = f"process {self.number} of the trial" if self.number else "the trial's process"
        return f"{which} gave no sign of life for {limit_s:g} s: it was stopped, or its interpreter is blocked"

    def end(self) -> None:
        """End it and what it has forked, at once: nothing that it could still write is needed."""
        os.close(self._jobs)
        self._group.end(0.0)
        self._selector.close()
        os.close(self._progress)


def arguments(*values: str) -> list[str]:
    """The command line of the process."""
    return [sys.executable, "-P", "-m", "ablate.run.worker.serve", *values]


def config_of(job: Job) -> dict[str, Any]:
    """Content of config.json: what an attempt of ablate's own trainer ran."""
    return {"job": asdict(job), "command": arguments("JOBS", "PROGRESS", "BEAT_S")}
