"""What one of several ranks does in test_llm_source.py: it builds a sharded model, loads it, and reports.

`python -m tests.models.architecture.loading_on_ranks FOLDER SHARD:WEIGHTS ...`, under torchrun's variables.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from models.architecture import BuildOptions, build, load_weights
from models.architecture.llm import load_llm
from models.design import TrialConfig
from models.presets import PRESETS

IDS = torch.tensor([[3, 4, 5, 6, 7]])


class PeakMemory:
    """The most anonymous memory of this process while it is entered, above what it had at the start, in bytes.

    Pages of mapped files are not counted: they belong to all ranks, and the kernel drops them when it needs to.
    """

    def __enter__(self) -> PeakMemory:
        self._start, self.bytes, self._is_over = anonymous_bytes(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, anonymous_bytes() - self._start)
            if self._is_over.is_set():
                return
            time.sleep(0.001)


def anonymous_bytes() -> int:
    (found,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found)


def main(folder: str, *cases: str) -> None:
    """Load with FSDP2, and then as one process does, for each case `SHARD:WEIGHTS`; save what this rank found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {}
    for case in cases:
        shard, _, weights = case.partition(":")
        found[weights] = load(weights, int(shard))
        dist.barrier()
    torch.save(found, Path(folder) / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


def load(weights: str, shard: int) -> dict[str, Any]:
    """Peaks of memory in both ways of loading, names of parameters that differ, and whether logits are the same."""
    config = TrialConfig(design=PRESETS["tiny"].design, scale="mine", llm=weights, seed=0, samples=64)
    with PeakMemory() as sharded:
        torch.manual_seed(0)
        model, _ = build(config, BuildOptions(is_llm_deferred=True))
        mesh = init_device_mesh("cpu", (dist.get_world_size() // shard, shard), mesh_dim_names=("replicate", "shard"))
        model.llm.requires_grad_(False)
        for layer in model.llm.get_decoder().layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert load_weights(model, torch.device("cpu")) == []
    assert all(isinstance(parameter, DTensor) for parameter in model.llm.parameters())
    assert not any(parameter.requires_grad for parameter in model.llm.parameters()), "it stays frozen"
    assert all(parameter.requires_grad for parameter in model.resampler.parameters())
    dist.barrier()
    with PeakMemory() as whole:
        llm = load_llm(weights)
    expected = dict(llm.named_parameters())
    differing = [
        name for name, one in model.llm.named_parameters() if not torch.equal(one.full_tensor(), expected[name])
    ]
    with torch.no_grad():
        model.unshard()
        is_same = torch.equal(model.llm(IDS).logits, llm(IDS).logits)
    return {"sharded": sharded.bytes, "whole": whole.bytes, "differing": differing, "same_logits": is_same}


if __name__ == "__main__":
    main(*sys.argv[1:])
