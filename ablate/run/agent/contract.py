"""The environment of an attempt's processes: torchrun's contract, and the number of threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ablate.run.job import Job

_OF_LAUNCHERS = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES"),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"),
    }
)
"""Variables of torchrun's contract: inherited ones are those of another program, in which the sweep runs."""


@dataclass(frozen=True, kw_only=True)
class NodeRole:
    """The part of one node in an attempt over one or more nodes: torchrun's environment contract."""

    rank: int = 0
    """Index of the node among those of the attempt. Node 0 records the result."""
    nodes: int = 1
    master_addr: str = "127.0.0.1"
    """Address of node 0."""
    master_port: int = 0
    """Port of node 0 on which process 0 opens the store."""


def environments(job: Job, role: NodeRole, env: Mapping[str, str]) -> list[dict[str, str]]:
    """The whole environment of each process of an attempt on a node.

    Args:
        job: the trial. CUDA_VISIBLE_DEVICES is inherited: all of the node's GPUs that the attempt has.
        role: what the node is in the attempt.
        env: variables that the program gets besides; they come before those that a user may set (OMP_NUM_THREADS,
            PYTHONUNBUFFERED), not before those of the contract.
    """
    threads = max(1, job.threads // max(1, int(job.gpus)))  # a launcher started once a node starts one process a GPU
    common = {
        **{name: value for name, value in os.environ.items() if not _is_of_launcher(name)},
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",  # output reaches its file when it is written: the log of a killed process is whole
        **env,
        "MASTER_ADDR": role.master_addr,
        "MASTER_PORT": str(role.master_port),
        "NODE_RANK": str(role.rank),
        "NNODES": str(role.nodes),
    }
    if job.program is not None and job.program.processes == "node":
        return [common]
    num = job.processes
    ranks = {
        "WORLD_SIZE": str(num * role.nodes),
        "LOCAL_WORLD_SIZE": str(num),
        "GROUP_RANK": str(role.rank),
    }
    return [common | ranks | {"RANK": str(role.rank * num + n), "LOCAL_RANK": str(n)} for n in range(num)]


def _is_of_launcher(name: str) -> bool:
    return name in _OF_LAUNCHERS or name.startswith("TORCHELASTIC_")
