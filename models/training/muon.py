"""Muon (Jordan et al., kellerjordan.github.io/posts/muon, 2024) in float32 on a CPU, batched by shape.

torch.optim.Muon computes in bfloat16, which takes half of a step or more on a processor without bfloat16 instructions
(AVX2 only: a step of the embedded study's `video-mae` takes 190 ms, and 102 ms with `Muon32`). On a GPU `Muon32`
computes in bfloat16 too. Weights that are sharded over ranks are gathered one group at a time, and each rank computes
the whole update. Learning rates are those of AdamW (`match_rms_adamw`, Liu et al., arXiv 2502.16982): the root
mean square of an update is 0.2. A convolution kernel counts as the matrix (outputs, all that it multiplies), as in
Jordan's Muon; the matrices of a fused layer are updated one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from models.training.weights import Fused

MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5
VALUES_PER_UPDATE = 2**22
"""Number of values that one call updates: small matrices are batched into one call, large ones are processed one at a
time to bound memory."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz step, as published."""


class Muon32(torch.optim.Optimizer):
    """Muon on matrices and convolution kernels, with Nesterov momentum and decoupled weight decay."""

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]], lr: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        """Split each group of parameters by shape.

        Args:
            params: parameters of at least two dimensions, or groups of them with learning rates of their own; the
                group of a fused layer has its layout as `fused`.
            lr: learning rate of groups without one.
            weight_decay: decoupled weight decay of groups without one.
        """
        items: list[Any] = list(params)
        groups = items if items and isinstance(items[0], Mapping) else [{"params": items}]
        groups_by_shape = [{**group, "params": same} for group in groups for same in _by_shape(group["params"])]
        super().__init__(groups_by_shape, {"lr": lr, "weight_decay": weight_decay, "fused": None})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update all weights that have a gradient; the others are unchanged."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            updates = _updates([_whole(self._averaged(weight)) for weight in weights], group["fused"])
            for weight, update in zip(weights, updates, strict=True):
                mine = _share(update, weight)
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(mine, alpha=group["lr"])

    def _averaged(self, weight: nn.Parameter) -> Tensor:
        """The gradient averaged with its momentum, which is updated first (Nesterov)."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(state["momentum"], MOMENTUM)


def _whole(matrix: Tensor) -> Tensor:
    """A matrix that is sharded over ranks, gathered: an orthogonal matrix cannot be computed in parts."""
    return matrix.full_tensor() if isinstance(matrix, DTensor) else matrix


def _share(update: Tensor, weight: Tensor) -> Tensor:
    """This rank's shard of an update, which every rank has computed, if the weight is sharded."""
    if not isinstance(weight, DTensor):
        return update
    return distribute_tensor(update, weight.device_mesh, weight.placements, src_data_rank=None)


def _updates(gradients: list[Tensor], fused: Fused | None) -> list[Tensor]:
    """Updates of weights of one shape at a learning rate of 1: orthogonal matrices with a root mean square of 0.2."""
    matrices = [fused.split(gradient) if fused else [gradient.flatten(1)] for gradient in gradients]
    updates: list[Tensor] = []  # for each matrix of a weight, those of all weights
    for same in zip(*matrices, strict=True):
        directions = orthogonalise(torch.stack(same))
        updates.append(directions.mul_(0.2 * max(directions.shape[1:]) ** 0.5))
    if fused:
        return [fused.join(list(parts)) for parts in zip(*updates, strict=True)]
    return [update.view_as(gradient) for update, gradient in zip(updates[0], gradients, strict=True)]


def _by_shape(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Groups of weights of one shape, with at most `VALUES_PER_UPDATE` values each: a step copies them."""
    shapes: dict[torch.Size, list[nn.Parameter]] = {}
    for weight in weights:
        shapes.setdefault(weight.shape, []).append(weight)
    groups: list[list[nn.Parameter]] = []
    for shape, same in shapes.items():
        size = max(1, VALUES_PER_UPDATE // shape.numel())
        groups += [same[start : start + size] for start in range(0, len(same), size)]
    return groups


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices (G, rows, columns) near 1 by five quintic Newton-Schulz steps."""
    first, second, third = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = first * x + (second * gram + third * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)
