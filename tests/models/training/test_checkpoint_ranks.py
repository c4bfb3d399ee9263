"""A checkpoint of sharded weights is read on another number of ranks."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from models.training import CheckpointStore, Engine, Ranks, Training
from models.training.loop import StageRun
from models.training.position import local, optimizer_tensors
from tests.models.training.small import CPU, small_corpus, small_model, small_prompter, with_design
from tests.models.training.test_recorded_losses import trial_of


class SameOnAllRanks(Engine):
    """An engine whose ranks compute the same."""

    def total(self, *values: float) -> tuple[float, ...]:
        if self.ranks.size == 1:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor)
        return tuple(tensor.tolist())


def training_on(ranks: Ranks, folder: Path, rendezvous: str) -> Training:
    prompter = small_prompter()
    (folder / str(ranks.rank)).mkdir(exist_ok=True, parents=True)
    model = small_model(prompter, folder / str(ranks.rank))  # transformers lets rank 0 alone save
    if ranks.size > 1:
        dist.init_process_group("gloo", init_method=rendezvous, rank=ranks.rank, world_size=ranks.size)
    trial = trial_of("connector and LLM", "muon")
    corpus = with_design(small_corpus(model, prompter), trial.design)
    if ranks.size > 1:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model.llm, mesh=dist.init_device_mesh("cpu", (ranks.size,)))
    return Training(model, trial, corpus, SameOnAllRanks(CPU, ranks), 40)


def fill(tensors: dict[str, Tensor]) -> None:
    """Set tensors to what their names and shapes determine."""
    for name, tensor in tensors.items():
        whole = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if local(tensor) is not tensor:
            from torch.distributed.tensor import distribute_tensor

            whole = distribute_tensor(whole, tensor.device_mesh, tensor.placements)
        with torch.no_grad():
            local(tensor).copy_(local(whole))


def save(training: Training, store: CheckpointStore) -> None:
    training.stage = stage = StageRun(training.model, training.config, 0, training.corpus, 40)
    next(stage.batches)
    stage.done = 1
    for optimizer, names in zip(stage.optimizers, (["momentum"], ["exp_avg", "exp_avg_sq"]), strict=True):
        for parameter in (one for group in optimizer.param_groups for one in group["params"]):
            optimizer.state[parameter] = {name: torch.zeros_like(parameter) for name in names}
            if "exp_avg" in names:
                optimizer.state[parameter]["step"] = torch.tensor(0.0)
    fill(training.state().tensors)
    store.save(training, {"mine": 1})
    store.wait()


def check(training: Training, store: CheckpointStore, folder: Path) -> None:
    choice = store.resume(training, [folder / "c"], lambda _, why: sys.exit(why))
    assert choice is not None
    assert choice[1] == {"mine": 1}
    assert training.step == 1
    assert training.stage is not None
    assert any("momentum" in name for name in optimizer_tensors(training.model, training.stage.optimizers))
    tensors = training.state().tensors
    before = {name: local(tensor).clone() for name, tensor in tensors.items()}
    fill(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(before[name], local(tensor)), name


def main(act: str, rank: int, size: int, folder: Path) -> None:
    ranks = Ranks(rank=rank, size=size, local=rank)
    training = training_on(ranks, folder / "models", f"file://{folder}/{act}{size}")
    store = CheckpointStore(folder / "c", "a", ranks, lambda _, problem: problem and print(problem, file=sys.stderr))
    if act == "save":
        save(training, store)
    else:
        check(training, store, folder)
    if size > 1:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_sharded_weights_are_read_on_another_number_of_ranks(tmp_path: Path, before: int, after: int):
    for act, size in (("save", before), ("check", after)):
        command = [sys.executable, "-m", "tests.models.training.test_checkpoint_ranks", act]
        processes = [
            subprocess.Popen([*command, str(rank), str(size), str(tmp_path)], stderr=subprocess.PIPE, text=True)
            for rank in range(size)
        ]
        ends = [process.communicate(timeout=120)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * size, "\n".join(ends)
    shards = {path.name.split("-model")[0] for path in (tmp_path / "c" / "1").glob("shard-*")}
    assert len(shards) == before


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
