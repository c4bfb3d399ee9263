"""The processes of an attempt on one node: started together, ended together, with everything that they have forked.

A forked process is recognised by an environment variable, `ABLATE_AGENT`, which it inherits also in a session of its
own; one without it, as a descendant while its parent lives. A daemon that has cleared its environment and lost its
parents between two looks is not recognised.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

_MARK = "ABLATE_AGENT"
"""Environment variable of an attempt's processes: PID namespace, process id and start of the agent, and a number."""
_STARTER = Path(__file__).with_name("starter.py")
_LOOK_S = 0.05
"""Seconds between two looks at processes that are ending."""
KILL_S = 20.0
"""Seconds after SIGKILL in which processes end, unless the kernel cannot end them: a hung driver or file server."""
LEAVE_S = 1.0
"""Seconds in which helpers of a program that has ended, such as those of `multiprocessing`, end by themselves."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """How a process is started."""

    arguments: Sequence[str]
    env: Mapping[str, str]
    """Its whole environment, without the mark."""
    workdir: str
    stdout: Path
    stderr: Path
    end_signal: signal.Signals = signal.SIGKILL
    """What it receives if the agent dies."""
    inherited: Sequence[int] = ()
    """File descriptors that it inherits."""


class ProcessGroup:
    """Processes of one attempt; used by one thread, which the processes do not outlive."""

    def __init__(self, commands: Iterable[Command]) -> None:
        """Start the processes, each in a session of its own; standard input is empty.

        Raises:
            OSError: a file or the working folder cannot be opened.
        """
        self._mark = f"{_agent_mark(os.getpid())}:{uuid4().hex}"
        self._forked: set[psutil.Process] = set()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for command in commands:
                self._processes.append(_start(command, self._mark))
        except BaseException:
            self.end(0.0)
            raise

    def exits(self) -> list[int | None]:
        """Exit code of each process, the negative number of a signal, or None while it runs."""
        return [process.poll() for process in self._processes]

    def look(self) -> bool:
        """Note what the processes have forked by now; returns whether a process is stopped, as by SIGSTOP."""
        is_stopped = False
        for process in self._processes:
            if process.poll() is not None:
                continue
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(process.pid)
                is_stopped |= leader.status() == psutil.STATUS_STOPPED
                self._forked |= set(leader.children(recursive=True))
        return is_stopped

    def left(self) -> int:
        """Number of processes that outlive those of the commands, which have ended, by more than `LEAVE_S`."""
        _until(lambda: not self._alive(), LEAVE_S)
        return len(self._alive())

    def end(self, grace_s: float) -> list[int]:
        """End the processes and everything that they have forked.

        Args:
            grace_s: seconds between SIGTERM and SIGKILL; without any there is no SIGTERM.

        Returns:
            Process ids of those that the kernel has not ended `KILL_S` after SIGKILL.
        """
        if grace_s > 0 and self._alive():
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process would not act on SIGTERM
            _until(lambda: not self._some_alive(), grace_s)
        until = time.monotonic() + KILL_S
        while alive := self._alive():
            self._signal(signal.SIGKILL)
            if not _until(lambda: not self._some_alive(), 1.0) and time.monotonic() > until:
                return sorted(process.pid for process in alive)
        return []

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all groups, and to what left them."""
        for process in self._processes:
            if process.poll() is None:  # only then is the group's number certainly ours
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
        for forked in self._forked:
            with contextlib.suppress(psutil.Error):  # psutil checks that the process id is not another process's
                forked.send_signal(number)

    def _alive(self) -> set[psutil.Process]:
        """All processes that have not ended, after a look at the whole machine."""
        self.look()
        self._forked |= set(_marked(lambda mark: mark == self._mark)) - {psutil.Process()}
        leaders = {psutil.Process(process.pid) for process in self._processes if process.poll() is None}
        return leaders | {process for process in self._forked if _is_alive(process)}

    def _some_alive(self) -> bool:
        """Whether one of the processes noted so far has not ended."""
        return None in self.exits() or any(_is_alive(process) for process in self._forked)


def end_leftovers() -> list[int]:
    """End the processes that agents of this machine have left, which were killed themselves; returns their ids.

    Those are what a program has forked: the processes that an agent starts end with it.
    """
    leftovers = list(_marked(_is_of_dead_agent))
    for process in leftovers:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return [process.pid for process in leftovers]


def _start(command: Command, mark: str) -> subprocess.Popen[bytes]:
    starter = [sys.executable, "-I", "-S", str(_STARTER), str(int(command.end_signal)), str(os.getpid())]
    with command.stdout.open("ab") as stdout, command.stderr.open("ab") as stderr:
        return subprocess.Popen(
            [*starter, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=command.workdir,
            env={**command.env, _MARK: mark},
            pass_fds=tuple(command.inherited),
            start_new_session=True,
        )


def _agent_mark(pid: int) -> str:
    """PID namespace, process id and start of a process: no other process, here or in a container, has the same."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
        started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:  # not Linux, or the process has ended
        return f"-:{pid}:-"
    return f"{namespace.replace(':', '')}:{pid}:{started}"


def _is_of_dead_agent(mark: str) -> bool:
    agent, _, _ = mark.rpartition(":")
    namespace, _, rest = agent.partition(":")
    here, _, _ = _agent_mark(os.getpid()).partition(":")
    pid, _, _ = rest.partition(":")
    if namespace != here or namespace == "-" or not pid.isdecimal():
        return False
    return _agent_mark(int(pid)) != agent


def _marked(matches: Callable[[str], bool]) -> Iterable[psutil.Process]:
    """Processes of this user whose mark matches."""
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(_MARK)
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
        if mark is not None and matches(mark):
            yield process


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, at most some seconds; returns whether it does."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
    return True
