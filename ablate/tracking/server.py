"""An MLflow server on this machine, for a store without one."""

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
from ablate.tracking.database import require_database
from ablate.tracking.location import absolute_uri, answers, artifact_folder, is_server, require_server, without_login

HOST = "127.0.0.1"
PORTS_TRIED = 20
"""Number of consecutive ports to try."""
BLOCKED_PORTS = {5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
"""Ports that browsers refuse to visit."""
START_S = 90.0
"""Timeout for the start of the server, in seconds; a busy machine needs long."""
STOP_S = 5.0
"""Timeout for the server to end after each signal, in seconds."""
SERVER_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def serving(uri: str | None = None, port: int = 5000) -> Iterator[str]:
    """Run an MLflow server for a store until the block ends; nothing is started for the URI of a server.

    Args:
        uri: the store; by default `paths.store_uri()`.
        port: the first port to try; the next free one is used.

    Yields:
        Address of the server, without user and password: a browser asks for them.

    Raises:
        UsageError: there is no store, or no port is free.
        AblateError: the server does not start or answer; the message has its last output.
    """
    uri = absolute_uri(uri)
    if is_server(uri):
        require_server(uri)
        yield without_login(uri)
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
            env=os.environ | SERVER_ENVIRONMENT,
            start_new_session=True,  # ^C then reaches only this process, which ends the server and its workers
        )
        try:
            address = f"http://{HOST}:{port}"
            _await(server, address, output)
            yield address
        finally:
            _stop(server)


def wait() -> None:
    """Wait until ^C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def free_port(first: int) -> int:
    """The first free port, from `first` on.

    Raises:
        UsageError: `PORTS_TRIED` ports are in use.
    """
    for port in range(first, first + PORTS_TRIED):
        if port in BLOCKED_PORTS:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UsageError(f"ports {first} to {first + PORTS_TRIED - 1} are all in use; choose another with --port")


def _await(server: subprocess.Popen[bytes], address: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        if answers(address):
            return
        time.sleep(0.2)
    output.seek(0)
    last_lines = output.read().decode(errors="replace").strip().splitlines()[-5:]
    ended = "does not answer" if server.poll() is None else f"ended with code {server.returncode}"
    raise AblateError(f"the MLflow server at {address} {ended}; its last output: {' | '.join(last_lines) or 'none'}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its child processes."""
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
    """Raise KeyboardInterrupt at SIGTERM and SIGHUP, as at ^C."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous_handlers = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
