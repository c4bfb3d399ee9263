"""Connecting to Ray: a local one, or a cluster by address and token."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import AblateError, UsageError


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where Ray runs."""

    address: str | None = None
    """Of a running cluster; this machine alone where left out."""
    num_cpus: float | None = None
    """Cores to use of this machine; all where left out."""
    num_gpus: float | None = None
    """GPUs to use of this machine; all where left out."""


@contextmanager
def _ray(cluster: Cluster) -> Iterator[list[dict[str, float]]]:
    """Ray up and quiet; yields the resources of each node."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ^C is ours: it must end the sweep, not start a checkpoint
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # the plan has checked, the view says who waits
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if cluster.address is not None:
        _check_reachable(cluster.address)
        os.environ |= {"RAY_BACKEND_LOG_LEVEL": "error"}
        if "RAY_AUTH_MODE" not in os.environ and _has_token():
            os.environ["RAY_AUTH_MODE"] = "token"  # Ray 2.60 starts such a cluster with it, but connects without
    import ray

    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster.address is None:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": 200 * 2**20}
        options |= {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus}
    else:
        options["address"] = cluster.address
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001 - Ray raises many kinds; all mean that it could not be reached
        where = f"connect to {cluster.address}" if cluster.address else "start on this machine"
        token = "; if the cluster asks for a token, give it as RAY_AUTH_TOKEN" if cluster.address else ""
        raise AblateError(f"Ray could not {where}: {error}{token}") from None
    try:
        yield [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse at once an address at which nothing listens: Ray itself tries for two minutes.

    Raises:
        UsageError: it is no address, or nothing listens there.
    """
    if address == "auto" or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address must be `auto` or HOST:PORT (the head's port, 6379 as a rule), not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nothing listens at {address} ({error}); start a cluster with `ray start --head`, or leave --address "
            "out to run on this machine"
        ) from None


def _has_token() -> bool:
    """Whether Ray would find a token of the user's (docs.ray.io, token authentication)."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()
