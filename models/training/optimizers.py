"""Optimizers and learning-rate schedules of a stage."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from models.architecture import VideoLMM
from models.design import AdamW, LearningRates, Muon, Optimizer, warmup_steps
from models.training.muon import Muon32

NOT_HIDDEN = ("embed", "lm_head", "latents", "wte", "wpe")
"""Parts of the names of two-dimensional parameters that are not hidden weights, and so not updated by Muon (Jordan et
al., "Muon", 2024)."""


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a hidden weight matrix, which Muon updates; AdamW updates all others."""
    return parameter.ndim == 2 and not any(word in name for word in NOT_HIDDEN)


def make_optimizers(model: VideoLMM, config: Optimizer, lr: LearningRates) -> list[TorchOptimizer]:
    """Optimisers of the parts that learn, with one parameter group per part and kind of parameter.

    `freeze` must have been called with the same learning rates.
    """
    hidden: list[dict[str, object]] = []
    rest: list[dict[str, object]] = []
    for name, part in model.parts().items():
        rate = getattr(lr, name)
        if rate == 0:
            continue
        named = [(n, p) for n, p in part.named_parameters() if p.requires_grad]
        matrices = [p for n, p in named if is_hidden(n, p)]
        others = [p for n, p in named if not is_hidden(n, p)]
        hidden += [{"params": matrices, "lr": rate}] if matrices else []
        rest += [{"params": others, "lr": rate}] if others else []
    match config:
        case AdamW():
            return [torch.optim.AdamW([*hidden, *rest], weight_decay=config.weight_decay, fused=True)]
        case Muon():
            muon = [Muon32(hidden, weight_decay=config.weight_decay)] if hidden else []
            adam = [torch.optim.AdamW(rest, weight_decay=config.weight_decay, fused=True)] if rest else []
            return [*muon, *adam]
        case _:
            assert_never(config)


def warmup_cosine(optimizer: TorchOptimizer, steps: int, warmup: float) -> LambdaLR:
    """Linear warm-up over a share `warmup` of the steps, then a cosine decay to zero (Apollo, Table 7)."""
    rise = warmup_steps(steps, warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimizer, factor)
