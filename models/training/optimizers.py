"""Optimizers and learning-rate schedules of a stage."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from models.architecture import VideoLMM
from models.design import AdamW, LearningRates, Muon, Optimizer, warmup_steps
from models.training.muon import Muon32

NOT_HIDDEN = ("embed", "lm_head", "latents", "wte", "wpe")
"""Two-dimensional parameters that are no hidden weights, so not Muon's (Jordan et al., "Muon", 2024)."""


def make_optimizers(model: VideoLMM, config: Optimizer, lr: LearningRates) -> list[TorchOptimizer]:
    """Optimisers over the parts that learn, one group a part with its own learning rate."""
    hidden: list[dict[str, object]] = []
    rest: list[dict[str, object]] = []
    for name, part in model.parts().items():
        rate = getattr(lr, name)
        if rate == 0:
            continue
        named = [(n, p) for n, p in part.named_parameters() if p.requires_grad]
        flat = [p for n, p in named if p.ndim == 2 and not any(word in n for word in NOT_HIDDEN)]
        others = [p for n, p in named if all(p is not q for q in flat)]
        hidden += [{"params": flat, "lr": rate}] if flat else []
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
    """Linear rise over a share of the steps, then half a cosine to zero (Apollo, Table 7)."""
    rise = warmup_steps(steps, warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimizer, factor)
