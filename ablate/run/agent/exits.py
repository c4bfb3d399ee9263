"""The class of a failure, from how a process ended.

A process that is ended from outside is `killed`, by whichever signal: who sent it is not recorded, and the machine or
its owner may be the reason. A crash (SIGSEGV, SIGABRT, as after a CUDA error) is `code`: most often it would repeat,
and a machine that breaks every trial is noticed by the executor, which leaves it out.
"""

from __future__ import annotations

import platform
import re
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from ablate.environment import describe
from ablate.errors import plain
from ablate.record import AttemptFolder, Failure, FailureClass, RecordError, read_end
from ablate.run.start import Start

_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_SHELL_SIGNAL = 128
"""A shell, and a launcher that is one, ends with 128 + the number of the signal that ended its program."""
OOM_LINES = 50
"""Last lines of standard error that are searched for `out of memory`, the only output that is ever read."""
_TAIL_BYTES = 64 * 1024
_OOM = re.compile("out of memory", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Exit:
    """The end of a process."""

    process: int
    """Index of the process among those of the attempt."""
    code: int
    """Exit code, or the negative number of the signal that ended it."""
    stderr: Path

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that ended it, or the program that it had started."""
        number = -self.code if self.code < 0 else self.code - _SHELL_SIGNAL
        try:
            return signal.Signals(number) if self.code < 0 or number in _FROM_OUTSIDE else None
        except ValueError:  # a real-time signal
            return None

    @property
    def failure_class(self) -> FailureClass:
        """Class of the failure, for a process that wrote no record of it."""
        if self.signal == signal.SIGKILL:
            return "killed"
        if any(_OOM.search(line) for line in self.last_lines()):
            return "oom"
        return "killed" if self.signal in _FROM_OUTSIDE else "code"

    def __str__(self) -> str:
        """How it ended, the file with its output, and that file's last line."""
        process = f"process {self.process}"
        if self.signal is not None:
            what = f"{process} was ended by signal {self.signal.value} ({self.signal.name})"
            what += ", which the system sends when memory runs out" if self.signal == signal.SIGKILL else ""
        else:
            what = f"{process} ended with exit code {self.code}"
        lines = [plain(line).strip() for line in self.last_lines() if plain(line).strip()]
        if not lines:
            return f"{what}; {self.stderr} is empty"
        return f"{what}; {self.stderr} ends with: {lines[-1][:300]}"

    def last_lines(self) -> list[str]:
        """The last `OOM_LINES` lines of its standard error."""
        try:
            return read_end(self.stderr, _TAIL_BYTES).splitlines()[-OOM_LINES:]
        except OSError:
            return []


def recorded_failure(attempt: AttemptFolder) -> Failure | None:
    """The failure that a process of the attempt has recorded; None without a record that can be read."""
    try:
        return attempt.failure()
    except RecordError:  # it was ended while it wrote, or its disk is full
        return None


def failure_of(kind: FailureClass, message: str, attempt: AttemptFolder, start: Start) -> Failure:
    """The record of a failure that the agent noticed.

    Args:
        kind: its class.
        message: what happened.
        attempt: the attempt.
        start: the start of the attempt.
    """
    return Failure(
        attempt=attempt.number,
        kind=kind,
        message=message,
        traceback=traceback.format_exc() if sys.exception() else "",
        seconds=start.seconds,
        ended_at=time.time(),
        node=platform.node(),
        environment=describe(),
    )
