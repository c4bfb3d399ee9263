"""Muon (Jordan et al., kellerjordan.github.io/posts/muon, 2024) in float32 on a CPU, matrices of one shape at once.

torch.optim.Muon computes in bfloat16, which takes half of a step or more where the processor has no instructions for
it (AVX2 alone: a step of the embedded study's `video-mae` 190 ms, with this one 102). On a GPU this one computes in
bfloat16 too. Rates are AdamW's (`match_rms_adamw`, Liu et al., arXiv 2502.16982): an update's root mean square is 0.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
STEPS = 5
AT_ONCE = 2**22
"""Values that a step works on together: many small matrices cost one call, large ones no more memory than one."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz step, as published."""


class Muon32(torch.optim.Optimizer):
    """Muon on two-dimensional weights, with Nesterov momentum and decoupled weight decay."""

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]], lr: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        """Take parameters, or groups of them with a rate each; each group is parted by shape."""
        given: list[Any] = list(params)
        groups = given if given and isinstance(given[0], Mapping) else [{"params": given}]
        parted = [{**group, "params": same} for group in groups for same in _by_shape(group["params"])]
        super().__init__(parted, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step; weights without a gradient stay as they are."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            held = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
            for momentum, gradient in zip(held, gradients, strict=True):
                momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalise(torch.stack(gradients).lerp(torch.stack(held), MOMENTUM))
            rate = group["lr"] * 0.2 * max(update.shape[1:]) ** 0.5
            for weight, direction in zip(weights, update, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=rate)


def _by_shape(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Weights of one shape together, as many as `AT_ONCE` values hold: a step works on copies of them."""
    shapes: dict[torch.Size, list[nn.Parameter]] = {}
    for weight in weights:
        shapes.setdefault(weight.shape, []).append(weight)
    parted: list[list[nn.Parameter]] = []
    for shape, same in shapes.items():
        most = max(1, AT_ONCE // shape.numel())
        parted += [same[start : start + most] for start in range(0, len(same), most)]
    return parted


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of each matrix (G, rows, columns) near 1: five quintic Newton-Schulz steps."""
    first, second, third = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = first * x + (second * gram + third * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)
