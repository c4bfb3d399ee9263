"""Connecting to Ray: a local one, or a cluster by address and token."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ablate.errors import AblateError, UsageError
from ablate.run.executors.address import check_address

PENDING_JOBS = 16
"""Jobs that wait for resources at once, so that small ones start beside a large one that waits (ray#14835, #43451)."""
FORWARDED = ("HF_", "TRANSFORMERS_", "ABLATE_")
"""Beginnings of the names of environment variables that a cluster's workers get from this machine: `ablate plan` looked
for weights where these say, so the workers must look there too."""
SECRETS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
"""Parts of the names of variables that are never sent: Ray shows variables in its dashboard and its logs."""
SOCKET_NAME = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
"""Longest path of a Unix socket, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that Ray runs on.

    Raises:
        UsageError: nodes may come to this machine.
    """

    address: str | None = None
    """Address of a running cluster; None for this machine alone."""
    num_cpus: float | None = None
    """Number of cores of this machine to use; None for all."""
    num_gpus: float | None = None
    """Number of GPUs of this machine to use; None for all."""
    nodes_may_come: bool = False
    """Whether trials may wait for nodes that the cluster does not have and does not announce."""

    def __post_init__(self) -> None:
        if self.nodes_may_come and self.address is None:
            raise UsageError("--nodes-may-come is for clusters: name one with --address; no node comes to this machine")


@contextmanager
def ray_connection(cluster: Cluster) -> Iterator[list[dict[str, float]]]:
    """Start or connect to Ray, without its console output, until the block ends.

    Yields:
        The resources of each node, and of each node that the cluster's autoscaler may start.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
        AblateError: Ray does not start or connect, or the cluster runs no actors.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ^C must end the sweep, not start a checkpoint
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # the plan and the view report it
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the view reports failures
        "TUNE_MAX_PENDING_TRIALS_PG": str(PENDING_JOBS),
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if cluster.address is not None:
        check_address(cluster.address)
        os.environ |= {"RAY_BACKEND_LOG_LEVEL": "error"}
    with _short_folder(cluster) as folder:
        with _same_handler(signal.SIGTERM):
            _connect(cluster, folder)
        import ray

        try:
            yield [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]] + _announced_nodes()
        finally:
            ray.shutdown()


def _connect(cluster: Cluster, folder: str | None) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster.address is None:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": 200 * 2**20}
        options |= {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus}
        options |= {"_temp_dir": folder} if folder is not None else {}
    else:
        options["address"] = cluster.address
        options |= {"runtime_env": {"env_vars": variables}} if (variables := forwarded(os.environ)) else {}
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001 - Ray raises unrelated types; all mean that there is no connection
        action = f"connect to {cluster.address}" if cluster.address else "start on this machine"
        token = "; if the cluster requires a token, set RAY_AUTH_TOKEN" if cluster.address else ""
        raise AblateError(f"Ray could not {action}: {error}{token}") from None


@contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Keep the handler of a signal: Ray puts two of its own in its place, which end the process at once."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def forwarded(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that the workers of a cluster get. A local cluster's workers inherit all."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(FORWARDED)
        and (name.endswith("_PATH") or not any(part in name for part in SECRETS))
        and not ("://" in value and "@" in value)  # a URL with a password
    }


@contextmanager
def _short_folder(cluster: Cluster) -> Iterator[str | None]:
    """A folder for the files of a local Ray where the usual one makes its sockets' paths too long; else None.

    Raises:
        AblateError: there is no short one.
    """
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if cluster.address is not None or len(os.fsencode(usual)) + SOCKET_NAME <= SOCKET_LIMIT:
        yield None
        return
    try:
        folder = tempfile.mkdtemp(prefix="ablate-ray-", dir="/tmp")
    except OSError as error:
        raise AblateError(
            f"Ray's sockets below {usual} would have paths of more than {SOCKET_LIMIT} bytes, and /tmp cannot be "
            f"used ({error}): set RAY_TMPDIR to a folder with a path of at most {SOCKET_LIMIT - SOCKET_NAME} bytes"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _announced_nodes() -> list[dict[str, float]]:
    """Resources of one node of each kind that the autoscaler may start, as it announces them to the head node."""
    from ray._private.state import state  # Ray Train reads the same; there is no public way

    config = state.get_cluster_config()
    groups = config.node_group_configs if config is not None else []
    return [dict(group.resources) for group in groups if group.max_count != 0]
