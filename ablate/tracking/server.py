"""MLflow's pages of a study: links to them, and a server on this machine for a store that has none. Prints nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, NoReturn

from ablate.errors import AblateError, UsageError
from ablate.tracking.location import absolute_uri, answers, artifact_folder, is_server, require_database

HOST = "127.0.0.1"
PORTS_TRIED = 20
BLOCKED = {5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
"""Ports that browsers refuse to visit."""
START_S = 90.0
"""Patience with a server that starts, on a busy machine."""
STOP_S = 5.0
FRUGAL = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def serving(uri: str | None = None, port: int = 5000) -> Iterator[str]:
    """An MLflow server for a store, for as long as the block lasts; a server's own URI is used as it is.

    Args:
        uri: the store; `paths.store_uri()` where left out.
        port: the first port that is tried; the next free one is taken.

    Yields:
        The server's address.

    Raises:
        UsageError: there is no store, or no port is free.
        AblateError: the server does not start, or does not answer; with what it said.
    """
    uri = absolute_uri(uri)
    if is_server(uri):
        yield uri
        return
    require_database(uri)
    port = free_port(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--workers", "1"]
    if artifacts := artifact_folder(uri):
        command += ["--artifacts-destination", str(artifacts)]
    with tempfile.TemporaryFile() as output, _signals_raised():
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | FRUGAL,
            start_new_session=True,  # ^C reaches us alone; we end the server and its workers
        )
        try:
            address = f"http://{HOST}:{port}"
            _await(server, address, output)
            yield address
        finally:
            _stop(server)


def wait() -> None:
    """Return at ^C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def free_port(first: int) -> int:
    """The first port from `first` on that nothing listens on.

    Raises:
        UsageError: none of them is free.
    """
    for port in range(first, first + PORTS_TRIED):
        if port in BLOCKED:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UsageError(f"ports {first} to {first + PORTS_TRIED - 1} are all taken; choose another with --port")


def _await(server: subprocess.Popen[bytes], address: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        if answers(address):
            return
        time.sleep(0.2)
    output.seek(0)
    said = output.read().decode(errors="replace").strip().splitlines()[-5:]
    ended = "does not answer" if server.poll() is None else f"ended with code {server.returncode}"
    raise AblateError(f"the MLflow server at {address} {ended}; it said: {' | '.join(said) or 'nothing'}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
    server.wait()


@contextmanager
def _signals_raised() -> Iterator[None]:
    """A terminal that closes, or SIGTERM, ends the block as ^C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
