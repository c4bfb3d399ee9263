"""The limits of an attempt: its time, its silence, and stopped processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ablate.record import AttemptFolder
from ablate.run.job import Job, Progress
from ablate.spec import duration_text


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long an agent waits, in seconds."""

    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL."""
    frozen_s: float = 100.0
    """Without a sign of life of the warm process, or with a process of a program stopped."""
    beat_s: float = 5.0
    """Between two signs of life of the warm process."""
    tick_s: float = 0.1
    """Between two looks at processes and files."""
    look_s: float = 2.0
    """Between two looks at what the processes have forked, and at the sizes of their output."""


class Control:
    """What the thread that runs an attempt shares with the agent's caller."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report, self.stop = report, Event()
        self.left_processes = 0
        """Number of processes that a program had started and that were still running after it succeeded."""


class StoppedError(Exception):
    """The executor stops the attempt."""


class Watch:
    """Decides when an attempt has taken too long, or has been silent for too long."""

    def __init__(self, job: Job, attempt: AttemptFolder, *, is_first_node: bool) -> None:
        """Start the clocks.

        Args:
            job: has the limits.
            attempt: where the output of all nodes' processes is.
            is_first_node: whether this is node 0, which alone judges silence, since often one process alone writes.
        """
        self._trial_s, self._silence_s = job.trial_limit_s, job.silence_limit_s if is_first_node else None
        self._attempt, self._states = attempt, _states(attempt)
        self._start = self._sign = time.monotonic()

    def progressed(self) -> None:
        """The attempt has made progress."""
        self._sign = time.monotonic()

    def look(self) -> None:
        """Note whether the processes have written output, or progress that cannot be read."""
        if self._silence_s is not None and (states := _states(self._attempt)) != self._states:
            self._states, self._sign = states, time.monotonic()

    def overrun(self) -> str | None:
        """Which limit the attempt exceeds, as a message; None if none."""
        now = time.monotonic()
        if self._trial_s is not None and now - self._start > self._trial_s:
            return f"the attempt took longer than `limits: {{trial: {duration_text(self._trial_s)}}}`"
        if self._silence_s is not None and now - self._sign > self._silence_s:
            self.look()
            if now - self._sign > self._silence_s:
                limit = f"`limits: {{silence: {duration_text(self._silence_s)}}}`"
                return (
                    f"no progress and no output of the attempt for longer than {limit}; its log: {self._attempt.path}"
                )
        return None


def _states(attempt: AttemptFolder) -> dict[Path, tuple[int, int]]:
    """Size and time of each file that processes write to; a file server that is away for a moment changes none.

    A program may write progress.jsonl again each time with as many bytes.
    """
    states = {}
    for path in (*attempt.path.glob("std*.txt"), attempt.out / "progress.jsonl"):
        with contextlib.suppress(OSError):
            status = path.stat()
            states[path] = (status.st_size, status.st_mtime_ns)
    return states
