"""The ranks of a trial: processes under torchrun's contract, and their process group."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a trial, one for each device: torchrun's contract."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Index of this process on its node."""

    def __post_init__(self) -> None:
        """Refuse a rank that is not one of `size`."""
        if not 0 <= self.rank < self.size or self.local < 0:
            raise ValueError(f"rank {self.rank} of {self.size} (on its node {self.local}): no such rank")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Ranks:
        """The ranks in torchrun's variables RANK, WORLD_SIZE and LOCAL_RANK; one rank without them.

        Raises:
            ValueError: some of them are missing, or no such rank can be.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        missing = [name for name in names if name not in environment]
        if len(missing) == len(names):
            return cls()
        if missing:
            raise ValueError(f"the environment has some of torchrun's variables, but not {', '.join(missing)}")
        rank, size, local = (int(environment[name]) for name in names)
        return cls(rank=rank, size=size, local=local)

    def device(self, kind: str) -> torch.device:
        """The device of this rank: the CPU, or the CUDA device of its index on the node."""
        return torch.device(kind, self.local) if kind == "cuda" else torch.device(kind)


@contextmanager
def ranks(kind: str = "cpu") -> Iterator[Ranks]:
    """The ranks of this trial, with a process group between them while the context lasts.

    A process that torchrun did not start is the only rank. It has a group of its own on CUDA, where the weights of one
    rank are handled as those of several, and none on a CPU.

    Args:
        kind: type of the devices: `cpu` (gloo), or `cuda` (NCCL, and gloo for tensors on the CPU).

    Raises:
        ValueError: torchrun's variables are incomplete.
        RuntimeError: a process group exists already.
    """
    mine = Ranks.of(os.environ)
    if mine.size == 1 and kind != "cuda":
        yield mine
        return
    if dist.is_initialized():
        raise RuntimeError("this process has a process group already: another trial runs in it")
    if kind == "cuda":
        torch.cuda.set_device(mine.local)
    _open(mine, kind)
    try:
        yield mine
    finally:
        dist.destroy_process_group()


def _open(mine: Ranks, kind: str) -> None:
    """Open the process group, by MASTER_ADDR and MASTER_PORT; that of a single rank needs no address."""
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    if mine.size == 1:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    else:
        dist.init_process_group(backend, rank=mine.rank, world_size=mine.size)
