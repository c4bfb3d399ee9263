"""The failure of an attempt whose agent was lost: what Ray reports about its process and its node."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import asdict
from typing import Any

from ablate.errors import AblateError, first_line
from ablate.record import Failure, FailureClass
from ablate.run.executors.nodes import Node


class AttemptLostError(Exception):
    """The agent of a further node of a trial was lost. Its argument is the failure as plain data."""

    def failure(self) -> Failure:
        """The failure of the attempt."""
        return Failure(**self.args[0])


def attempt_lost(failure: Failure) -> AttemptLostError:
    """The error that reports a failure to the driver and ends the actor that raises it."""
    return AttemptLostError(asdict(failure))


def lost(error: BaseException | None, node: Node | None, seconds: float) -> Failure:
    """The failure of an attempt whose agent has gone.

    Args:
        error: what Ray raised instead of a report.
        node: the node that the agent ran on, in its present state; None if it had not reported one.
        seconds: how long the attempt ran.
    """
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    if isinstance(cause, AttemptLostError):
        return cause.failure()
    host = node.host if node is not None else ""
    kind: FailureClass
    if isinstance(error, OutOfMemoryError):
        return _failure("oom", f"Ray ended the agent on {host}, which ran out of memory", error, host, seconds)
    if (isinstance(error, RayActorError) and error.preempted) or (node is not None and node.is_preempted):
        return _failure("preempted", f"the node {host} was taken away by the cluster", error, host, seconds)
    if node is not None and not node.is_alive:
        reason = node.death or "Ray gives no reason"
        return _failure("node", f"the node {host} ({node.id[:8]}) was lost: {reason}", error, host, seconds)
    if isinstance(error, RayActorError):
        kind = "killed" if node is not None else "node"
        return _failure(kind, f"the agent's process{_named(error, host)}: {_detail(error)}", error, host, seconds)
    kind = "node" if isinstance(cause, AblateError | OSError) else "code"  # such as a folder that it cannot write
    message = f"the agent{_named(error, host)} failed: {first_line(cause or error or 'without a message')}"
    return _failure(kind, message, error, host, seconds)


def _named(error: BaseException | None, host: str) -> str:
    pid = re.search(r"\bpid: (\d+)", str(error))
    return (f" {pid[1]}" if pid else "") + (f" on {host}" if host else "")


def _detail(error: BaseException) -> str:
    """What is known about the end of a process: Ray sees its connection close, not the signal that ended it."""
    text = " ".join(str(error).split())
    if "connection error" in text:
        return "ended without a report, most likely by signal 9 (kill -9, or the system for lack of memory)"
    return "was lost: " + (text.split("The actor is dead because ")[-1])[:300]


def _failure(kind: FailureClass, message: str, error: BaseException | None, host: str, seconds: float) -> Failure:
    report = "".join(traceback.format_exception(error)) if error is not None else ""
    return Failure(
        attempt=0, kind=kind, message=message, traceback=report, seconds=seconds, ended_at=time.time(), node=host
    )


def nodes_of_ray() -> list[Node]:
    """All nodes that Ray knows, also those that are gone."""
    import ray
    from ray.core.generated.common_pb2 import NodeDeathInfo

    return [_node(node, NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED) for node in ray.nodes()]


def _node(facts: dict[str, Any], preempted: int) -> Node:
    return Node(
        id=facts["NodeID"],
        host=facts["NodeManagerHostname"],
        resources=facts["Resources"],
        is_alive=facts["Alive"],
        death=facts["DeathReasonMessage"],
        is_preempted=facts["DeathReason"] == preempted,
        address=(facts["NodeManagerAddress"], facts["NodeManagerPort"]),
    )
