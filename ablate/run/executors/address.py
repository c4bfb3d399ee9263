"""Whether a cluster can be used: its address, its authentication, and what its workers have installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ablate.errors import AblateError, UsageError

PROBE_LIMIT_S = 60.0
"""Most seconds for connecting to the cluster and running one empty actor there."""


@cache
def check_address(address: str) -> None:
    """Check that a cluster answers at an address and runs an actor; nothing is written.

    Where the user has not set RAY_AUTH_MODE, it is set to the mode that works: with and without a token.

    Args:
        address: `auto` or HOST:PORT.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
        AblateError: the cluster does not run an actor, or its workers lack this version of ablate.
    """
    _check_form(address)
    problems = {}
    for mode in _auth_modes():
        problem = _probe(address, mode)
        if problem is None:
            if mode is not None:
                os.environ["RAY_AUTH_MODE"] = mode
            return
        problems[mode] = problem
    tries = "; ".join(f"with RAY_AUTH_MODE={mode or '(not set)'}: {problem}" for mode, problem in problems.items())
    raise AblateError(
        f"the cluster at {address} does not run an empty actor ({tries}). If it requires a token, set RAY_AUTH_TOKEN "
        "or RAY_AUTH_TOKEN_PATH; if it was started without one, set RAY_AUTH_MODE=disabled"
    )


def _check_form(address: str) -> None:
    """Check that an address has the right form and that something listens there; Ray would try for long.

    Raises:
        UsageError: otherwise.
    """
    if address == "auto":
        return
    if address.startswith("ray://"):
        host = address.removeprefix("ray://").partition(":")[0] or "HOST"
        raise UsageError(
            f"--address {address} is an address of Ray Client, through which Ray Tune cannot run a sweep. Type "
            f"--address {host}:6379 on a machine of the cluster's network, --address auto on one of its nodes, or "
            "submit the sweep: ray job submit --address http://HOST:8265 -- ablate sweep SPEC --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UsageError(
            f"--address must be `auto` or HOST:PORT (the port of the head node, usually 6379), not {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            f"nothing listens at {address} ({error}); start a cluster with `ray start --head`, or leave --address "
            "out to run on this machine"
        ) from None


def _auth_modes() -> list[str | None]:
    """Authentication modes to try, in this order. None leaves the choice to Ray."""
    if "RAY_AUTH_MODE" in os.environ:
        return [None]
    is_set = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    # Ray 2.60 starts a cluster with a token as soon as there is one, but connects without it to an explicit address.
    return ["token", "disabled"] if is_set or (Path.home() / ".ray" / "auth_token").is_file() else [None]


def _probe(address: str, mode: str | None) -> str | None:
    """Run an empty actor on the cluster, from a process of its own: Ray keeps the first mode of a process.

    Returns:
        Why the cluster does not run an actor; None if it does.

    Raises:
        UsageError: no cluster runs on this machine, for `auto`.
        AblateError: the workers lack this version of ablate.
    """
    command = [sys.executable, "-m", "ablate.run.executors.probe", address]
    environment = os.environ | ({"RAY_AUTH_MODE": mode} if mode is not None else {})
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        process = subprocess.run(command, env=environment, timeout=PROBE_LIMIT_S, check=False, **pipes)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_LIMIT_S:g} s"
    lines = process.stdout.strip().splitlines()
    if process.returncode or not lines:
        last_lines = process.stderr.strip().splitlines()[-1:]
        return f"the probe ended with exit code {process.returncode} {last_lines}"
    report: dict[str, str] = json.loads(lines[-1])
    if report.get("no_cluster"):
        raise UsageError(
            f"--address {address}: no Ray cluster was found on this machine; type HOST:PORT of its head node, start a "
            "cluster with `ray start --head`, or leave --address out to run on this machine"
        )
    if "problem" in report:
        return report["problem"]
    if report["here"] != report["there"]:
        raise AblateError(
            f"the cluster's workers ({report['python']} on {report['host']}) have ablate {report['there']}, this "
            f"machine has {report['here']}: install the same version on all nodes"
        )
    return None
