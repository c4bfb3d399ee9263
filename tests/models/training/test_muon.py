"""Muon: singular values near 1, the same steps as torch's except for rounding, groups with rates of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training import Muon32
from models.training.muon import orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 12), (2, 12, 5)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_steps_are_torchs_except_for_its_bfloat16():
    torch.manual_seed(0)
    start = torch.randn(24, 16)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        Muon32([ours], lr=0.02, weight_decay=0.05),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    )
    for step in range(5):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = torch.randn(24, 16, generator=torch.Generator().manual_seed(step))
            optimizer.step()
    moved = (ours - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_a_kernel_takes_the_step_of_the_matrix_that_it_is():
    """A convolution multiplies every patch by a matrix: outputs x (inputs x kernel)."""
    torch.manual_seed(0)
    start = torch.randn(8, 4, 3, 3)
    kernel, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    optimizer = Muon32([kernel, matrix], lr=0.02, weight_decay=0.05)
    for _ in range(3):
        kernel.grad = torch.randn(8, 4, 3, 3)
        matrix.grad = kernel.grad.flatten(1)
        optimizer.step()
    assert kernel.shape == start.shape
    torch.testing.assert_close(kernel.flatten(1), matrix)
    moved = (kernel - start * (1 - 0.02 * 0.05) ** 3).square().mean().sqrt() / (3 * 0.02)
    assert 0.05 < moved < 0.25, "the root mean square of an update is near 0.2, as of AdamW"


def test_momenta_are_allocated_once(monkeypatch: pytest.MonkeyPatch):
    weights = [nn.Parameter(torch.randn(6, 4)) for _ in range(3)]
    optimizer = Muon32(weights, lr=0.1)
    allocated: list[torch.Size] = []
    zeros_like = torch.zeros_like
    monkeypatch.setattr(torch, "zeros_like", lambda one: allocated.append(one.shape) or zeros_like(one))
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn(6, 4)
        optimizer.step()
    assert len(allocated) == len(weights)


def test_groups_keep_their_rates_and_weights_without_a_gradient_stay():
    fast, slow, idle = (nn.Parameter(torch.eye(4)) for _ in range(3))
    optimizer = Muon32([{"params": [fast, idle], "lr": 0.1}, {"params": [slow], "lr": 0.01}])
    for weight in (fast, slow):
        weight.grad = torch.eye(4)
    optimizer.step()
    assert torch.equal(idle, torch.eye(4))
    moved = [float((weight.detach() - torch.eye(4)).norm()) for weight in (fast, slow)]
    assert moved[0] == pytest.approx(10 * moved[1], rel=1e-3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.01}


def test_large_matrices_are_processed_a_few_at_a_time_with_the_same_result(monkeypatch):
    """Copies of all matrices of a shape would take gigabytes of a real LLM."""

    def stepped() -> list[torch.Tensor]:
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(6, 4)) for _ in range(5)]
        for weight in weights:
            weight.grad = torch.randn(6, 4)
        optimizer = Muon32(weights, lr=0.1)
        optimizer.step()
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        return [torch.tensor(sizes), *(weight.detach() for weight in weights)]

    together = stepped()
    monkeypatch.setattr("models.training.muon.VALUES_PER_UPDATE", 2 * 24)
    apart = stepped()
    assert (together[0].tolist(), apart[0].tolist()) == ([5], [2, 2, 1])
    torch.testing.assert_close(apart[1:], together[1:])
