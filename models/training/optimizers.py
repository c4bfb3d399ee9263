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
from models.training.weights import Fused, Weight, refuse_indivisible, weights_that_learn


def make_optimizers(model: VideoLMM, config: Optimizer, lr: LearningRates) -> list[TorchOptimizer]:
    """Optimisers of the parts that learn, with groups by part and kind of parameter.

    Weight decay acts on matrices and kernels alone (`models/training/weights.py`). `Trainer` of transformers, with
    which Apollo and LLaVA train, spares biases and norms too, but lets embeddings, latents, tokens and position tables
    decay.

    `freeze` must have been called with the same learning rates.

    Raises:
        ValueError: Muon does not know the matrices of a fused layer.
    """
    muon: list[dict[str, object]] = []
    adamw: list[dict[str, object]] = []
    for name, part in model.parts().items():
        rate = getattr(lr, name)
        if rate == 0:
            continue
        weights = list(weights_that_learn(part, model.llm.get_output_embeddings()))
        is_muon = isinstance(config, Muon)
        if is_muon:
            refuse_indivisible(weights)
            muon += _groups_of_muon(weights, rate)
        decaying = [
            w.parameter for w in weights if w.kind in ("output", "adapter") or (w.kind == "hidden" and not is_muon)
        ]
        spared = [w.parameter for w in weights if w.kind == "spared"]
        adamw += [{"params": decaying, "lr": rate}] if decaying else []
        adamw += [{"params": spared, "lr": rate, "weight_decay": 0.0}] if spared else []
    match config:
        case AdamW() | Muon():
            return [
                *([Muon32(muon, weight_decay=config.weight_decay)] if muon else []),
                *([torch.optim.AdamW(adamw, weight_decay=config.weight_decay, fused=True)] if adamw else []),
            ]
        case _:
            assert_never(config)


def _groups_of_muon(weights: list[Weight], rate: float) -> list[dict[str, object]]:
    """Groups of the hidden weights, one for each layout."""
    layouts: dict[Fused | None, list[torch.nn.Parameter]] = {}
    for weight in weights:
        if weight.kind == "hidden":
            layouts.setdefault(weight.fused, []).append(weight.parameter)
    return [{"params": parameters, "lr": rate, "fused": fused} for fused, parameters in layouts.items()]


def warmup_cosine(optimizer: TorchOptimizer, steps: int, warmup: float) -> LambdaLR:
    """Linear warm-up over a share `warmup` of the steps, then a cosine decay to zero (Apollo, Table 7)."""
    rise = warmup_steps(steps, warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimizer, factor)
