"""Several ranks against one, on the same global batches of text, images and videos (gloo, on CPUs)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from models.architecture.resamplers import MlpPoolResampler
from models.data import IDLE, Row, share_of
from models.design import LearningRates
from models.training import Engine, EngineOptions, Ranks, freeze, ranks
from models.training.sharding import layers_of, mesh_of, shard
from models.training.shared_starts import StartCache
from tests.models.training.on_ranks import CASES, Result, compute, model_of, whole
from tests.models.training.small import CPU

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
SECONDS = 300


def run_ranks(size: int, folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """What each rank found: processes with torchrun's variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.models.training.on_ranks", str(folder), *names]
    processes = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(size)
    ]
    try:
        assert [process.wait(SECONDS) for process in processes] == [0] * size
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
    return [{name: Result(**one) if name in CASES else one for name, one in of_rank.items()} for of_rank in found]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(2, tmp_path_factory.mktemp("two"), [*CASES, "diverge"])


@pytest.fixture(autouse=True)
def _no_start_of_another_case(monkeypatch):
    monkeypatch.setattr("models.training.loop.START_CACHE", StartCache())


def assert_equal(found: Result, expected: Result) -> None:
    """To 1e-5, of a gradient to 1e-5 of the norm of all gradients: the order of sums differs, nothing else."""
    np.testing.assert_allclose(found.losses, expected.losses, **TOLERANCE)
    np.testing.assert_allclose(found.norms, expected.norms, **TOLERANCE)
    np.testing.assert_allclose(found.steps, expected.steps)
    assert len(found.gradients) == len(expected.gradients)
    for mine, theirs, norm in zip(found.gradients, expected.gradients, expected.norms, strict=True):
        assert mine.keys() == theirs.keys()
        for name, gradient in mine.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=1e-5, atol=1e-5 * max(1, norm), msg=name)
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in found.weights.items():
        torch.testing.assert_close(weight, expected.weights[name], rtol=1e-4, atol=1e-4)


def assert_same_answers(found: Result, expected: Result) -> None:
    assert found.outcomes["predicted"].tolist() == expected.outcomes["predicted"].tolist()
    for mine, theirs in zip(found.outcomes["log_likelihoods"], expected.outcomes["log_likelihoods"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_and_answer_as_one(of_two: list[dict[str, Any]], name: str):
    expected = compute(CASES[name], model_of(CASES[name]), Ranks())
    for of_rank in of_two:
        assert_equal(of_rank[name], expected)
        assert_same_answers(of_rank[name], expected)


@pytest.mark.slow
def test_both_ranks_see_a_loss_that_is_not_a_number_on_one(of_two: list[dict[str, Any]]):
    messages = [of_rank["diverge"] for of_rank in of_two]
    assert messages[0] == messages[1]
    assert "loss is nan at step 1" in messages[0]


@pytest.mark.slow
def test_four_ranks_in_two_groups_of_shards_train_as_one(tmp_path: Path):
    names = ["all, sharded", "stages"]
    expected = {name: compute(CASES[name], model_of(CASES[name]), Ranks()) for name in names}
    for of_rank in run_ranks(4, tmp_path, names):
        for name in names:
            assert_equal(of_rank[name], expected[name])


@pytest.fixture
def group():
    """A process group of this process alone."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_masters_are_fp32_where_layers_compute_in_bf16(group, model, corpus, monkeypatch):
    def bf16(_mesh: object, *, casts: bool = False) -> MixedPrecisionPolicy:
        return MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=casts)

    model.resampler = MlpPoolResampler(16, 32, (1, 1, 2))
    batch = corpus.collate([corpus.training_row(one, 9, np.random.default_rng(0)) for one in corpus.train])
    lr = {"connector": LearningRates(connector=1e-3), "all": LearningRates(vision=1e-3, connector=1e-3, llm=1e-3)}

    def gradients(rates: LearningRates) -> list[torch.Tensor]:
        model.zero_grad()
        freeze(model, rates)
        model.loss(batch).backward()
        return [whole(one.grad) for one in model.trainable() if one.grad is not None]

    expected = {name: gradients(rates) for name, rates in lr.items()}
    model.zero_grad()
    monkeypatch.setattr("models.training.sharding._policy", bf16)
    shard(model, mesh_of(CPU, 1, 1), [])
    for name, rates in lr.items():  # the LLM learns only in the second
        found = gradients(rates)
        assert {one.dtype for one in [*found, *model.parameters()]} == {torch.float32}
        norm = torch.cat([one.flatten() for one in expected[name]]).norm()
        difference = torch.cat([(a - b).flatten() for a, b in zip(found, expected[name], strict=True)]).norm()
        assert 0 < difference / norm < 0.02


def row(length: int) -> Row:
    return Row([1] * length, [])


def test_ranks_get_as_many_micro_batches_of_similar_work():
    micro_batches = [[row(length)] for length in (3, 9, 1, 8, 4)]
    shares = [share_of(micro_batches, rank, 2) for rank in range(2)]
    lengths = [[rows[0].length if rows else 0 for rows in of_rank] for of_rank in shares]
    assert lengths == [[9, 4, 1], [8, 3, 0]]
    assert share_of(micro_batches, 0, 1) == micro_batches
    assert IDLE.num_targets == 0


def test_torchruns_variables_are_read_all_or_none(monkeypatch):
    assert Ranks.of({}) == Ranks()
    assert Ranks.of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Ranks(rank=3, size=8, local=1)
    with pytest.raises(ValueError, match="not LOCAL_RANK"):
        Ranks.of({"RANK": "3", "WORLD_SIZE": "8"})
    with pytest.raises(ValueError, match="rank 8 of 8"):
        Ranks.of({"RANK": "8", "WORLD_SIZE": "8", "LOCAL_RANK": "0"})
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with ranks() as mine:
        assert mine == Ranks()
        assert not torch.distributed.is_initialized()
    assert Ranks(rank=3, size=8, local=1).device("cuda") == torch.device("cuda:1")


def test_ranks_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="6 ranks cannot be divided into groups of 4"):
        mesh_of(CPU, 6, 4)


def test_layers_that_are_computed_again_change_no_gradient(model, corpus):
    rows = [corpus.training_row(one, 9, np.random.default_rng(0)) for one in corpus.train]
    model.requires_grad_(True).eval()

    def gradients() -> list[torch.Tensor | None]:
        model.zero_grad()
        model.loss(corpus.collate(rows)).backward()
        return [weight.grad for weight in model.parameters()]

    expected, calls = gradients(), []
    Engine(CPU, options=EngineOptions(checkpointing=True)).place(model)
    layers_of(model.llm)[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    for found, once in zip(gradients(), expected, strict=True):
        assert (found is None) == (once is None)
        assert found is None or torch.equal(found, once)
    assert len(calls) == 2
