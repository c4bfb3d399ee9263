"""The agents of all nodes of one trial: that of node 0 in this process, the others in actors that it owns."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ablate.errors import AblateError
from ablate.record import AttemptFolder, Failure, FailureClass, TrialFolder
from ablate.run.agent import Agent, Ended, NodeRole, free_port
from ablate.run.executors.losses import attempt_lost, lost, nodes_of_ray
from ablate.run.executors.nodes import looked_at
from ablate.run.job import Job, Progress, job_from

POLL_S = 0.5
"""Most seconds between two looks at an agent."""
START_LIMIT_S = 300.0
"""Most seconds until the actors of the further nodes have started their processes."""
SETTLE_S = 3.0
"""Seconds after a failure on one node in which the failures of others are collected: one of them may be the cause."""
STOP_LIMIT_S = 25.0
"""Most seconds for the agents of the further nodes to end their processes, before their actors are killed."""


class NodeAgents:
    """Runs attempts of jobs that ask for the same resources, one after another, on all their nodes.

    An end on any node ends the attempt on all of them. If this process dies, Ray ends the actors that it owns.
    """

    def __init__(self) -> None:
        self._own = Agent()
        self._others: list[Any] = []
        self._polls: dict[Any, int] = {}
        """Pending poll of a further node -> its index in `_others`."""
        self._places: list[str] = []
        """Ray's ids of the further nodes."""
        self._attempt: AttemptFolder | None = None
        self._began = 0.0

    def begin(self, job: Job) -> Failure | None:
        """Begin an attempt.

        Returns:
            The failure, if this machine or a further node could not begin it.
        """
        self._began = time.monotonic()
        folder = Path(job.folder)
        if not folder.is_dir():
            return self._failure("node", f"{folder} does not exist here; all nodes must share the runs folder")
        try:
            self._attempt = TrialFolder(folder).begin()
        except OSError as error:
            return self._failure("node", f"the attempt's folder cannot be made: {error}")
        role = NodeRole(nodes=job.nodes, master_addr=_own_address(job), master_port=free_port())
        self._begin_others(job, self._attempt, role)
        self._own.begin(job, self._attempt, role)
        return None

    def _begin_others(self, job: Job, attempt: AttemptFolder, role: NodeRole) -> None:
        """Begin the attempt on nodes 1, 2, ...

        Raises:
            AttemptLostError: one of them does not answer.
        """
        import ray

        if job.nodes > 1 and not self._others:
            self._others = [_other(job, index) for index in range(1, job.nodes)]
        roles = [asdict(replace(role, rank=rank)) for rank in range(1, job.nodes)]
        begins = [
            other.begin.remote(asdict(job), str(attempt.path), its)
            for other, its in zip(self._others, roles, strict=True)
        ]
        try:
            self._places = ray.get(begins, timeout=START_LIMIT_S)
        except ray.exceptions.GetTimeoutError:
            message = f"the agents of {len(begins)} further node(s) did not start within {START_LIMIT_S:g} s"
            raise self._recorded_loss(self._failure("node", message)) from None
        except ray.exceptions.RayError as error:
            raise self._recorded_loss(lost(error, None, self._seconds())) from None
        self._polls = {other.poll.remote(POLL_S): index for index, other in enumerate(self._others)}

    def poll(self, wait_s: float) -> Progress | Ended:
        """The newest progress, or the end of the attempt.

        Args:
            wait_s: most seconds to wait for the end.

        Raises:
            AttemptLostError: the agent of a further node was lost; these agents cannot be used any more.
        """
        until = time.monotonic() + wait_s
        while True:
            left = until - time.monotonic()
            now = self._own.poll(max(0.0, min(POLL_S, left) if self._others else left))
            failures = [now.failure] if isinstance(now, Ended) and now.failure is not None else []
            failures += self._failures_of_others(0.0)
            if failures:
                return self._end(self._settled(failures, now))
            if isinstance(now, Ended):
                self._stop_others()
                return now
            if time.monotonic() >= until:
                return now

    def _failures_of_others(self, wait_s: float) -> list[Failure]:
        """New failures on the further nodes; nodes that have ended without one are not polled again."""
        import ray

        failures = []
        ready, _ = (
            ray.wait(list(self._polls), num_returns=len(self._polls), timeout=wait_s) if self._polls else ([], [])
        )
        for poll in ready:
            index = self._polls.pop(poll)
            try:
                end = ray.get(poll)
            except ray.exceptions.RayError as error:
                node = next((node for node in nodes_of_ray() if node.id == self._places[index]), None)
                failure = lost(error, looked_at(node) if node is not None else None, self._seconds())
                raise self._recorded_loss(replace(failure, message=f"node {index + 1}: {failure.message}")) from None
            if end is None:
                self._polls[self._others[index].poll.remote(POLL_S)] = index
            elif end["failure"] is not None:
                failures.append(Failure(**end["failure"]))
        return failures

    def _settled(self, failures: list[Failure], now: Progress | Ended) -> list[Failure]:
        """The failures and those that follow within `SETTLE_S` on nodes that still run, until one is not `code`.

        Where one process is killed, those of other nodes report broken connections, which are `code`.

        Args:
            failures: the first failures.
            now: state of node 0.
        """
        until = time.monotonic() + SETTLE_S
        while all(one.kind == "code" for one in failures) and (left := until - time.monotonic()) > 0:
            if not isinstance(now, Ended):
                now = self._own.poll(min(POLL_S, left))
                new = [now.failure] if isinstance(now, Ended) and now.failure is not None else []
                failures = failures + new + self._failures_of_others(0.0)
            elif self._polls:
                failures = failures + self._failures_of_others(left)
            else:
                break
        return failures

    def _end(self, failures: list[Failure]) -> Ended:
        """End the attempt on all nodes, with the failure that most likely caused the others."""
        failure = min(failures, key=lambda one: one.kind == "code")
        self._own.stop()
        self._stop_others()
        assert self._attempt is not None
        failure = replace(failure, attempt=self._attempt.number)
        self._attempt.fail(failure)  # agents of several nodes may have recorded failures there
        return Ended(failure=failure)

    def _stop_others(self) -> None:
        import ray

        self._polls = {}
        stops = [other.stop.remote() for other in self._others]
        done, late = ray.wait(stops, num_returns=len(stops), timeout=STOP_LIMIT_S) if stops else ([], [])
        if late or any(_is_lost(stop) for stop in done):
            self._kill_others()

    def _kill_others(self) -> None:
        import ray

        for other in self._others:
            ray.kill(other)
        self._others, self._polls = [], {}

    def _recorded_loss(self, failure: Failure) -> Exception:
        """Stop the attempt on the nodes that are left, record its failure, and return the error to raise."""
        self._own.stop()
        self._kill_others()
        if self._attempt is not None:
            failure = replace(failure, attempt=self._attempt.number)
            self._attempt.fail(failure)
        return attempt_lost(failure)

    def close(self) -> None:
        """End the attempt and all agents."""
        self._own.close()
        if self._others:
            self._stop_others()
            self._kill_others()

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _failure(self, kind: FailureClass, message: str) -> Failure:
        return Failure(
            attempt=0,
            kind=kind,
            message=message,
            traceback="",
            seconds=self._seconds(),
            ended_at=time.time(),
            node=platform.node(),
        )


def _own_address(job: Job) -> str:
    if job.nodes == 1:
        return "127.0.0.1"
    import ray

    return str(ray.util.get_node_ip_address())


def _other(job: Job, index: int) -> Any:
    """An actor with the agent of a further node, in its bundle of the trial's placement group."""
    import ray
    from ray.util import get_current_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    strategy = PlacementGroupSchedulingStrategy(
        get_current_placement_group(), placement_group_bundle_index=index, placement_group_capture_child_tasks=True
    )
    options = {"num_cpus": job.cpus, "num_gpus": job.gpus, "scheduling_strategy": strategy}
    return ray.remote(OtherNode).options(**options).remote()


def _is_lost(reference: Any) -> bool:
    import ray

    try:
        ray.get(reference)
    except ray.exceptions.RayError:
        return True
    return False


class OtherNode:
    """The agent of a further node of a trial, as an actor."""

    def __init__(self) -> None:
        self._agent = Agent()
        self._is_running = False

    def begin(self, job: dict[str, Any], attempt: str, role: dict[str, Any]) -> str:
        """Begin this node's part of an attempt; returns Ray's id of the node.

        Raises:
            AblateError: the node does not see the attempt's folder.
        """
        import ray

        if not Path(attempt).is_dir():
            raise AblateError(f"{attempt} does not exist on {platform.node()}; all nodes must share the runs folder")
        self._agent.begin(job_from(job), AttemptFolder(Path(attempt)), NodeRole(**role))
        self._is_running = True
        return str(ray.get_runtime_context().get_node_id())

    def poll(self, wait_s: float) -> dict[str, Any] | None:
        """The end of this node's part, with its failure as plain data; None if it still runs."""
        now = self._agent.poll(wait_s)
        if not isinstance(now, Ended):
            return None
        self._is_running = False
        return {"failure": asdict(now.failure) if now.failure else None}

    def stop(self) -> None:
        """End this node's processes of the attempt."""
        if self._is_running:
            self._agent.stop()
        self._is_running = False


def here() -> dict[str, str]:
    """Ray's id of this node, and its host name."""
    import ray

    return {"node": str(ray.get_runtime_context().get_node_id()), "host": platform.node()}
