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
    """The cluster that Ray runs on."""

    address: str | None = None
    """Address of a running cluster; None for this machine alone."""
    num_cpus: float | None = None
    """Number of cores of this machine to use; None for all."""
    num_gpus: float | None = None
    """Number of GPUs of this machine to use; None for all."""


@contextmanager
def ray_connection(cluster: Cluster) -> Iterator[list[dict[str, float]]]:
    """Start or connect to Ray, without its console output, until the block ends.

    Yields:
        The resources of each node.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
        AblateError: Ray does not start or connect.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ^C must end the sweep, not start a checkpoint
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # the plan and the view report it
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if cluster.address is not None:
        _check_reachable(cluster.address)
        os.environ |= {"RAY_BACKEND_LOG_LEVEL": "error"}
        if "RAY_AUTH_MODE" not in os.environ and _has_token():
            os.environ["RAY_AUTH_MODE"] = "token"  # Ray 2.60 starts a cluster with a token, but connects without one
    _connect(cluster)
    import ray

    try:
        yield [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _connect(cluster: Cluster) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster.address is None:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": 200 * 2**20}
        options |= {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus}
    else:
        options["address"] = cluster.address
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001 - Ray raises unrelated types; all mean that there is no connection
        action = f"connect to {cluster.address}" if cluster.address else "start on this machine"
        token = "; if the cluster requires a token, set RAY_AUTH_TOKEN" if cluster.address else ""
        raise AblateError(f"Ray could not {action}: {error}{token}") from None


def _check_reachable(address: str) -> None:
    """Check that something listens at an address; Ray itself would try for two minutes.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
    """
    if address == "auto" or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(
            f"--address must be `auto` or HOST:PORT (the port of the head node, usually 6379), not {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nothing listens at {address} ({error}); start a cluster with `ray start --head`, or leave --address "
            "out to run on this machine"
        ) from None


def _has_token() -> bool:
    """Whether the user has a token where Ray looks for one (docs.ray.io, token authentication)."""
    is_set = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return is_set or (Path.home() / ".ray" / "auth_token").is_file()
