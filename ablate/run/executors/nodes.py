"""The nodes of a cluster: which a job may run on, and which are left out."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ablate.record import Failure, FailureClass
from ablate.run.job import Job

FAILURES_OF_A_NODE = 3
"""Failures in a row on one node, all of classes whose cause may be the machine, after which it is left out."""
MACHINE_SUSPECTED: frozenset[FailureClass] = frozenset({"killed", "node", "timeout"})
"""Classes that speak against the node. Not `oom`, which a design causes on every node, and not `preempted`."""
CONNECT_S = 2.0
"""Most seconds for a connection to a node."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node, as Ray describes it."""

    id: str
    """Ray's node id: unique also where several nodes share a host name, and new after a restart."""
    host: str
    resources: Mapping[str, float] = field(default_factory=dict)
    is_alive: bool = True
    death: str = ""
    """Why it is not alive."""
    is_preempted: bool = False
    """Whether it was taken away by the cluster."""
    address: tuple[str, int] | None = None
    """Where its Ray process listens."""

    def fits(self, job: Job) -> bool:
        """Whether one node's share of the job fits on it when it is empty."""
        needs = {"CPU": job.cpus, "GPU": job.gpus}
        return all(self.resources.get(kind, 0) >= need for kind, need in needs.items())


def looked_at(node: Node) -> Node:
    """A node, not alive if its Ray process refuses connections: Ray itself notices that after half a minute."""
    if not node.is_alive or node.address is None:
        return node
    try:
        socket.create_connection(node.address, timeout=CONNECT_S).close()
    except OSError as error:
        host, port = node.address
        return replace(node, is_alive=False, death=f"its Ray process does not answer at {host}:{port} ({error})")
    return node


class Nodes:
    """The nodes of the cluster and the failures on them."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self._nodes: dict[str, Node] = {}
        self._streaks: Counter[str] = Counter()
        self._left_out: set[str] = set()
        self.update(nodes)

    def update(self, nodes: Iterable[Node]) -> None:
        """Take over the present state of nodes; failures on them stay, and so do nodes that are not among these."""
        self._nodes |= {node.id: node for node in nodes}

    def get(self, node_id: str) -> Node | None:
        """The node with an id; None if it is not known."""
        return self._nodes.get(node_id)

    def is_left_out(self, node_id: str) -> bool:
        """Whether no more attempts should begin on a node."""
        return node_id in self._left_out

    def excluded(self, job: Job, avoided: Iterable[str]) -> tuple[str, ...]:
        """The nodes on which the next attempt of a job must not run, sorted.

        Nodes are excluded only as long as enough others are alive that the job fits on: a trial that could run nowhere
        else runs on an avoided node again.

        Args:
            job: the job.
            avoided: ids of the nodes on which the job failed.
        """
        alive = {node.id for node in self._nodes.values() if node.is_alive}
        usable = {node_id for node_id in alive if self._nodes[node_id].fits(job)}
        for excluded in (self._left_out | set(avoided), self._left_out):
            if len(usable - excluded) >= job.nodes:
                return tuple(sorted(excluded & alive))
        return ()

    def fits(self, job: Job, excluded: Iterable[str] = ()) -> bool:
        """Whether enough nodes are alive on which the job fits."""
        left_out = set(excluded)
        usable = [n for n in self._nodes.values() if n.is_alive and n.fits(job) and n.id not in left_out]
        return len(usable) >= job.nodes

    def capacity(self, job: Job) -> int:
        """How many jobs like this one run at once when nothing else does."""
        per_node = [
            min(
                int(node.resources.get(kind, 0) / need) for kind, need in (("CPU", job.cpus), ("GPU", job.gpus)) if need
            )
            for node in self._nodes.values()
            if node.is_alive and (job.cpus or job.gpus)
        ]
        return sum(per_node) // job.nodes

    def note_end(self, node_id: str, failure: Failure | None) -> str | None:
        """Note the end of an attempt on a node.

        Args:
            node_id: the node.
            failure: why the attempt failed; None if it has a result.

        Returns:
            A message if the node is left out from now on. It is only if another living node has not failed since its
            last success: where all nodes fail, the cause is not one of them.
        """
        if failure is None or failure.kind not in MACHINE_SUSPECTED:
            if failure is None:
                self._streaks.pop(node_id, None)
            return None
        self._streaks[node_id] += 1
        healthy = [n for n in self._nodes.values() if n.is_alive and not self._streaks[n.id]]
        node = self._nodes.get(node_id)
        if self._streaks[node_id] < FAILURES_OF_A_NODE or not healthy or node is None or not node.is_alive:
            return None
        if node_id in self._left_out:
            return None
        self._left_out.add(node_id)
        return (
            f"node {node.host} ({node_id[:8]}) is left out for the rest of this sweep: the last "
            f"{self._streaks[node_id]} attempts on it failed ({failure.kind}: {failure.message})"
        )
