"""One driver per study: a lease that its process renews, a record of that process, and a record of its end.

The lease is a file, so that it works on network disks without locks. It fences nothing: attempts have folders of their
own and `result.json` is written once, so that a driver which has lost its lease harms no trial until it notices.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from ablate.errors import AblateError
from ablate.paths import StudyPaths
from ablate.record.files import RecordError, read_record, write_json

LEASE_S = 120.0
"""Seconds without renewal after which another driver may take the study over."""
RENEW_S = 20.0
"""Seconds between two renewals of a lease."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Driver:
    """driver.json: the process that runs a sweep of a study, or ran the last one."""

    host: str
    pid: int
    user: str
    started_at: float
    """Unix time."""
    command: str
    """What was typed."""
    log_start: int | None = None
    """Where its output starts in driver.log, in bytes; None if it goes elsewhere."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class DriverEnd:
    """driver-end.json: how a sweep's driver ended."""

    driver: Driver
    exit_code: int
    ended_at: float
    """Unix time."""
    schema_version: int = SCHEMA_VERSION


class Claim:
    """The claim of this process on a study."""

    def __init__(self, paths: StudyPaths, driver: Driver) -> None:
        self._paths, self.driver = paths, driver
        self._is_lost = threading.Event()

    @property
    def is_lost(self) -> bool:
        """Whether another driver has taken the study over: this process must not write to it any more."""
        return self._is_lost.is_set()

    def lose(self) -> None:
        """Note that the lease is lost."""
        self._is_lost.set()

    def begin(self, log_start: int | None = None) -> None:
        """Record that this process runs a sweep.

        Args:
            log_start: where its output starts in driver.log, in bytes.
        """
        self.driver = replace(self.driver, log_start=log_start)
        write_json(self._paths.driver, asdict(self.driver))

    def end(self, exit_code: int) -> None:
        """Record how the sweep ended, unless the lease is lost."""
        if not self.is_lost:
            end = DriverEnd(driver=self.driver, exit_code=exit_code, ended_at=time.time())
            write_json(self._paths.driver_end, asdict(end))


@contextmanager
def sole_driver(
    paths: StudyPaths, *, take_over: bool = False, on_lost: Callable[[], None] | None = None
) -> Iterator[Claim]:
    """Be the only process that writes to a study, until the block ends.

    The lease of a process of this machine that has ended is taken over silently.

    Args:
        paths: the study.
        take_over: also take over a lease that has expired, after watching for `LEASE_S` that nobody renews it.
        on_lost: called from another thread when another process has taken the lease over.

    Raises:
        AblateError: another process has the study; the message names it, and what to type.
    """
    paths.folder.mkdir(parents=True, exist_ok=True)
    claim = Claim(paths, _this_process())

    def lose(_: object) -> None:
        claim.lose()
        if on_lost is not None:
            on_lost()

    lease = _lease(paths, lose)
    _acquire(lease, paths, take_over=take_over)
    try:
        yield claim
    finally:
        lease.release()


def latest_driver(paths: StudyPaths) -> tuple[Driver | None, bool]:
    """The process of a study's latest sweep (None if there was none), and whether it still runs.

    Raises:
        RecordError: driver.json cannot be read.
    """
    driver, owner = read_record(Driver, paths.driver, SCHEMA_VERSION), _lease(paths).owner
    if driver is None or owner is None or owner.pid != driver.pid:
        return driver, False
    if driver.host == socket.gethostname():
        return driver, runs_here(driver.pid)
    return driver, (silence_s(paths) or 0.0) < LEASE_S


def runs_here(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def latest_end(paths: StudyPaths) -> DriverEnd | None:
    """How the last sweep's driver ended; None if there is no record of it.

    Raises:
        RecordError: driver-end.json cannot be read.
    """
    return read_record(DriverEnd, paths.driver_end, SCHEMA_VERSION)


def _lease(paths: StudyPaths, lose: Callable[[object], None] | None = None) -> SoftFileLease:
    """The lease of a study, with a callback for its loss."""
    return SoftFileLease(
        paths.lock, lease_duration=LEASE_S, heartbeat_interval=RENEW_S, on_compromise=lose, thread_local=False
    )


def _this_process() -> Driver:
    words = [Path(sys.argv[0]).name.replace("__main__.py", "ablate"), *sys.argv[1:]]
    words = ["--detach" if word.startswith("--detached=") else word for word in words]  # what a person typed
    return Driver(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=_user(),
        started_at=time.time(),
        command=re.sub(r"://[^/\s]*@", "://***@", shlex.join(words)),  # a password in a tracking URI
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _acquire(lease: SoftFileLease, paths: StudyPaths, *, take_over: bool) -> None:
    """Acquire the lease of a study.

    Raises:
        AblateError: another process has it.
    """
    first = _renewal(paths)
    try:
        if take_over and (silence_s(paths) or 0.0) >= LEASE_S:
            # filelock compares no clocks of two machines: it takes a lease that nobody renews while it watches.
            lease.acquire(timeout=2 * LEASE_S, poll_interval=0.5, cancel_check=lambda: _renewal(paths) != first)
        else:
            lease.acquire(timeout=0)
    except (Timeout, LeaseSettingsMismatch):
        raise _refusal(paths) from None
    except PermissionError:
        if not paths.lock.exists():
            raise
        raise _refusal(paths) from None  # the lease of a colleague


def _renewal(paths: StudyPaths) -> tuple[int, int] | None:
    """What changes when the lease is renewed or changes hands; None if nobody has it."""
    try:
        status = os.stat(paths.lock)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def silence_s(paths: StudyPaths) -> float | None:
    """Seconds since the lease was renewed; None if nobody has it.

    Both times are of the disk's clock, so that clocks of two machines are not compared.
    """
    if not paths.lock.exists():
        return None
    with tempfile.NamedTemporaryFile(dir=paths.folder, prefix=".now-") as now:
        try:
            return max(0.0, os.stat(now.name).st_mtime - paths.lock.stat().st_mtime)
        except FileNotFoundError:
            return None


def _refusal(paths: StudyPaths) -> AblateError:
    """The error for a study that another process has."""
    owner, silent_s = _lease(paths).owner, silence_s(paths) or 0.0
    if owner is None:  # it has ended this moment, or the file is damaged
        return AblateError(f"study {paths.name!r} is in use ({paths.lock}); run the command again")
    host = owner.hostname.split("?")[0]  # filelock adds the container, after a character that no host name has
    try:
        driver = read_record(Driver, paths.driver, SCHEMA_VERSION)
    except RecordError:
        driver = None
    if driver is not None and (driver.pid, driver.host) == (owner.pid, host):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(driver.started_at))
        name = f"process {owner.pid} of {driver.user} on {host}, started {since}: `{driver.command}`"
    else:
        name = f"process {owner.pid} on {host}, an `ablate sync`, an `ablate import`, or a sweep that starts"
    what = f"wait for it, follow a sweep with `ablate attach {paths.name}`, or end it with `kill {owner.pid}`"
    what += "" if host == socket.gethostname() else f" on {host}"
    if silent_s >= LEASE_S:
        what = f"if it or its machine has ended, take over with `ablate sweep SPEC --take-over`; otherwise {what}"
    return AblateError(
        f"study {paths.name!r} belongs to {name}; its last sign of life was {_duration(silent_s)} ago; {what}"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
