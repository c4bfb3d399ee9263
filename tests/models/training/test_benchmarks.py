"""The benchmarks of training: their FLOP formula, their rows, and small runs of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_parts, throughput
from benchmarks.random_models import (
    Lengths,
    alone,
    attended_pairs,
    flops_of,
    llm_step_flops,
    random_llm,
    row_of,
    sizes_of,
    text_model,
)
from models.data import Branch, Row, collate

ROOT = Path(__file__).parents[3]
LENGTHS = Lengths(20, ((12, 4), (9, 2), (15, 7)))
BARE = """\
import runpy
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {absent} else find(name, path, target)
PathFinder.find_spec = find_spec
runpy.run_module("benchmarks.gpu_check", run_name="__main__")
"""


@pytest.fixture
def row() -> Row:
    return row_of(LENGTHS, 600, np.random.default_rng(0))


def test_the_flop_formula_is_six_for_each_weight_and_token_and_attention():
    card = sizes_of("100M")
    with torch.device("meta"):
        llm = random_llm(card, "meta")
    matrices = sum(p.numel() for name, p in llm.named_parameters() if p.ndim == 2 and "embed" not in name)
    tokens, pairs, targets = 2048, 4 * 512 * 513 // 2, 256
    attention = 12 * 12 * 768 * pairs
    assert llm_step_flops(card, tokens, pairs, targets) == 6 * matrices * tokens + 6 * 768 * 32000 * targets + attention
    assert 95e6 < sum(p.numel() for p in llm.parameters()) < 105e6


def test_the_flop_formula_equals_what_torch_counts_in_a_step(row: Row):
    card = sizes_of("tiny")
    model = text_model(random_llm(card))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(collate([row])).backward()
    all_pairs = row.length**2  # the plain kernel computes the pairs that the mask forbids, too
    assert counter.get_total_flops() == pytest.approx(
        llm_step_flops(card, row.length, all_pairs, row.num_targets), rel=0.01
    )
    assert flops_of(card, [row]) < llm_step_flops(card, row.length, all_pairs, row.num_targets)


def test_attended_pairs_are_those_of_the_definition():
    row = Row([5] * 7, [Branch((6,) * 3, ()), Branch((7,) * 2, (), parent=1), Branch((8,) * 4, ())])
    prefix = sum(range(1, 8))
    first = sum(7 + i for i in range(1, 4))
    second = sum(7 + 3 + i for i in range(1, 3))
    third = sum(7 + i for i in range(1, 5))
    assert attended_pairs(row) == prefix + first + second + third


def test_each_question_alone_has_the_targets_of_its_branch(row: Row):
    pairs = alone(row)
    assert [len(ids) for ids, _ in pairs] == [32, 29, 35]
    assert [sum(label != -100 for label in labels) for _, labels in pairs] == [4, 2, 7]
    for ids, labels in pairs:
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_committed_lengths_are_those_that_the_function_draws():
    content = json.loads(throughput.LENGTHS.read_text())
    assert content["samples"] == throughput.drawn_lengths()
    assert {one["seconds"] for one in content["samples"]} == set(throughput.DURATIONS)
    assert sorted(len(one["questions"]) for one in content["samples"]) == sorted([*range(1, 13), *range(1, 13)])
    assert max(one.tokens for one in throughput.read_lengths()) <= throughput.MAX_LENGTH


@pytest.mark.parametrize(
    ("card", "gib", "tflops"),
    [
        ("NVIDIA H200", 140, 989),
        ("NVIDIA A100-SXM4-40GB", 39.5, 312),
        ("NVIDIA GeForce RTX 4090", 23.6, 165),
        ("NVIDIA RTX A6000", 47.5, 155),
        ("NVIDIA H100 80GB HBM3", 79.1, 989),
        ("Tesla T4", 14.6, 65),
        ("Some Card", 10, None),
    ],
)
def test_the_data_sheet_of_a_card(card: str, gib: float, tflops: float | None):
    flops = gpu_parts.data_sheet_flops(card, int(gib * 2**30))
    assert flops == (tflops and tflops * 1e12)


@pytest.mark.slow
def test_our_trainer_learns_the_same_questions_as_trainer_and_computes_fewer_positions():
    results = throughput.measure("tiny", throughput.read_lengths()[:4], repetitions=1)
    (ours,), (peer,) = results["ours"], results["Trainer"]
    assert ours.loss == pytest.approx(peer.loss, abs=1e-3)
    assert peer.positions > 4 * ours.positions


def gpu_check(folder: Path, *options: str, absent: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    """Name -> part of a tiny check, in an interpreter without some packages."""
    program = BARE.format(absent=absent)
    results = folder / "check.json"
    command = [sys.executable, "-c", program, "--device", "cpu", "--tiny", "--json", str(results), *options]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {part["name"]: part for part in json.loads(results.read_text())["parts"]}


@pytest.mark.slow
def test_the_gpu_check_runs_on_a_cpu(tmp_path: Path):
    parts = gpu_check(tmp_path)
    assert {part["outcome"] for part in parts.values()} <= {"ok", "skipped"}
    assert parts["training tiny"]["figures"]["last loss"] < parts["training tiny"]["figures"]["first loss"]
    assert parts["sweep of two trials through Ray"]["outcome"] == "ok"
    assert "CUDA" in parts["out of memory"]["reason"]


@pytest.mark.slow
def test_the_gpu_check_runs_with_torch_transformers_and_pydantic_alone(tmp_path: Path):
    absent = (
        "lazy_loader", "pyarrow", "PIL", "pandas", "scipy", "av", "decord", "ray", "mlflow", "typer", "rich", "ruamel",
        "platformdirs", "psutil", "matplotlib", "accelerate",
    )  # fmt: skip
    parts = gpu_check(tmp_path, absent=absent)
    assert parts["training tiny"]["outcome"] == "ok"
    sweep = parts["sweep of two trials through Ray"]
    assert sweep["outcome"] == "skipped"
    assert "ray" in sweep["reason"]
