"""The group of a trial's processes: opened from torchrun's environment, closed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from models.training.engine import Ranks


@contextmanager
def ranks(kind: str = "cpu") -> Iterator[Ranks]:
    """The ranks of this trial, by torchrun's environment; one without it. The group is closed at the end.

    Args:
        kind: type of the devices: `cpu` (gloo), or `cuda` (NCCL).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    local = int(os.environ["LOCAL_RANK"])
    if kind == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), size=size, local=local)
    finally:
        dist.destroy_process_group()
