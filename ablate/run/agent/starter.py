"""Becomes a program that ends with the agent: `python starter.py SIGNAL AGENT COMMAND...`.

The kernel sends the signal when the agent's thread ends, however it ends. Popen's `preexec_fn` would do the same, but
may block for ever in a process with threads. This file is started by its path, and imports only the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""
_NOT_STARTED = 127
"""Exit code of shells for a command that cannot be started."""


def become(end_signal: int, agent: int, command: list[str]) -> None:
    """Replace this process by the command.

    Args:
        end_signal: what it receives if the agent ends.
        agent: process id of the agent.
        command: program and arguments.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, end_signal, 0, 0, 0)
    if os.getppid() != agent:  # it ended before prctl
        os._exit(_NOT_STARTED)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and programs would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot start {command[0]!r}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_NOT_STARTED)


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
