"""Optimiser for the pre-training of the shipped parts: Muon for hidden matrices, AdamW for all other parameters.

Betas, weight decay, schedule and the choice of matrices differ from those of trials and are kept, so that the parts can
be reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

_WARMUP = 0.05
"""Share of the steps in which the learning rate rises from 0."""
_NOT_HIDDEN = ("embed", "lm_head", "latents", "wte", "wpe")
"""Parts of the names of two-dimensional parameters that AdamW updates."""


def _is_hidden(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(word in name for word in _NOT_HIDDEN)


def _by_torch(params: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Torch's Muon, which computes in bfloat16: the optimiser of the first parts."""
    return torch.optim.Muon(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


class Learner:
    """Both optimisers with one schedule, the smaller of a linear warm-up and a cosine decay.

    Learning rates of both are those of AdamW (`match_rms_adamw`).
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        *,
        steps: int,
        muon_lr: float,
        adamw_lr: float,
        muon: Callable[[list[nn.Parameter], float, float], torch.optim.Optimizer] = _by_torch,
    ) -> None:
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for module in modules:
            for name, parameter in module.named_parameters():
                (hidden if _is_hidden(name, parameter) else rest).append(parameter)
        self.parameters = [*hidden, *rest]
        self.optimizers = (
            muon(hidden, muon_lr, 0.05),
            torch.optim.AdamW(rest, lr=adamw_lr, weight_decay=0.0, betas=(0.9, 0.98)),
        )
        self.peaks = (muon_lr, adamw_lr)
        self.steps, self.done = steps, 0

    def step(self, loss: torch.Tensor) -> None:
        """One optimiser step, with gradients clipped to a norm of 1."""
        rise = min(1.0, (self.done + 1) / (_WARMUP * self.steps))
        fall = 0.5 * (1 + math.cos(math.pi * self.done / self.steps))
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * min(rise, fall)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.done += 1


def report(name: str, step: int, steps: int, loss: torch.Tensor, unit: str) -> None:
    """Print the loss every 100 steps, and in the last one."""
    if step % 100 == 0 or step == steps - 1:
        print(f"{name} step {step}: {loss.item():.3f} {unit}", flush=True)
