"""Sweeps without a terminal: `ablate sweep --detach` starts one, `ablate attach` follows it."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.errors import UsageError
from ablate.paths import StudyPaths, runs_root, study_paths

if TYPE_CHECKING:
    from ablate.record import Claim, Driver

POLL_S = 0.3
"""Seconds between two looks at the log."""
LAST_WORDS_S = 60.0
"""Longest wait for a driver's process after it has recorded its end, in seconds."""


def start_detached(*, as_json: bool) -> int:
    """Start the sweep of this command line in a session of its own, and wait until it has the study.

    Until then it writes to this terminal, so that errors in the spec, the resources and the lock are seen.

    Returns:
        The exit code: 0 if the sweep runs.
    """
    ready, ready_of_child = os.pipe()
    words = [f"--detached={ready_of_child}" if word == "--detach" else word for word in sys.argv[1:]]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ablate.cli", *words],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[ready_of_child],
        env=os.environ | {"TERM": "dumb", "COLUMNS": os.environ.get("COLUMNS", "200")},  # its output becomes a file
    )
    os.close(ready_of_child)
    try:
        with os.fdopen(ready, encoding="utf-8") as pipe:
            message = pipe.read()  # until it has the study, or ends
        if not message:
            return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 130
    started = json.loads(message)
    if as_json:
        print_json(started)
    else:
        OUT.print(f"the sweep runs as process {started['pid']}; its output goes to {started['log']}")
        OUT.print(f"follow it: ablate attach {started['study']}   end it: kill {started['pid']}")
    return 0


def write_to_log(claim: Claim, paths: StudyPaths, ready: int) -> None:
    """From now on the output of this process goes to the study's driver.log.

    Args:
        claim: of this process.
        paths: the study.
        ready: the pipe on which `start_detached` waits.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with paths.driver_log.open("ab") as log:
        claim.begin(log_start=log.seek(0, os.SEEK_END))
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    started = {"study": paths.name, "pid": os.getpid(), "host": claim.driver.host, "log": str(paths.driver_log)}
    with os.fdopen(ready, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps(started))


def follow(study: str | None) -> int:
    """Copy the log of a detached sweep to stdout until the sweep ends. `^C` leaves it running.

    Args:
        study: the study; if None, the one in which a sweep runs.

    Returns:
        The sweep's exit code, also of one that has ended; 1 if it has recorded none; 0 after `^C`.

    Raises:
        UsageError: the study is not named and there is no choice, no sweep ran in it, or it runs in a terminal.
    """
    from ablate.record import latest_driver

    paths = study_paths(study) if study is not None else _running_study()
    driver, is_running = latest_driver(paths)
    if driver is None:
        raise UsageError(f"no sweep has run in study {paths.name!r} of {paths.root}")
    if not is_running:
        ERR.print("no sweep runs in the study")
        return _show_end(paths, driver)
    if driver.log_start is None:
        raise UsageError(
            f"process {driver.pid} on {driver.host} runs `{driver.command}` in a terminal and has no log; "
            "`ablate sweep SPEC --detach` writes one"
        )
    try:
        with paths.driver_log.open("rb") as log:
            log.seek(driver.log_start)
            for text in _lines(log, paths, driver):
                print(text, end="", flush=True)
    except KeyboardInterrupt:
        ERR.print(f"\nthe sweep goes on; end it with `kill {driver.pid}` on {driver.host}")
        return 0
    return _show_end(paths, driver)


def _lines(log: BinaryIO, paths: StudyPaths, driver: Driver) -> Iterator[str]:
    """What a driver writes to its log, until it has ended."""
    from ablate.record import latest_driver

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a read may end within a character
    is_running = True
    while is_running:
        current, is_running = latest_driver(paths)
        is_running = is_running and current == driver
        if not is_running:
            _await_exit(driver)
        yield decoder.decode(log.read(), final=not is_running)
        time.sleep(POLL_S if is_running else 0.0)


def _await_exit(driver: Driver) -> None:
    """Wait until a driver of this machine, which has given the study back, has written its last lines."""
    import socket

    from ablate.record import runs_here

    until = time.monotonic() + LAST_WORDS_S
    while driver.host == socket.gethostname() and runs_here(driver.pid) and time.monotonic() < until:
        time.sleep(POLL_S)


def _show_end(paths: StudyPaths, driver: Driver) -> int:
    """Print when and how a driver ended; returns its exit code."""
    from ablate.record import latest_end

    end = latest_end(paths)
    name = f"`{driver.command}` (process {driver.pid} on {driver.host})"
    if end is None or end.driver != driver:
        ERR.print(f"{name} has ended without a record: it was killed, or its machine was lost", style="yellow")
        return 1
    ERR.print(
        f"{name} ended at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(end.ended_at))}: {_how(end.exit_code)}"
    )
    return end.exit_code


def _how(exit_code: int) -> str:
    meanings = {0: "all trials done", 1: "some trials are not done", 2: "wrong usage", 3: "lack of resources"}
    return f"exit code {exit_code}, {meanings.get(exit_code, 'interrupted')}"


def _running_study() -> StudyPaths:
    """The only study in which a sweep runs.

    Raises:
        UsageError: there is none, or there are several.
    """
    from ablate.record import latest_driver, studies

    running = [name for name in studies(runs_root()) if latest_driver(study_paths(name))[1]]
    if len(running) != 1:
        names = ", ".join(running) or "none"
        raise UsageError(f"studies of {runs_root()} in which a sweep runs: {names}; name one: ablate attach STUDY")
    return study_paths(running[0])
