"""One training loop: stages, frozen parts, learning rates per part. A generator of steps; who records them is
the caller's business."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from models.data import Corpus
from models.design import AdamW, LearningRates, Muon, Optimizer, TrialConfig, warmup_steps
from models.ladder import rung_of
from models.memory import PLACES_AT_ONCE
from models.muon import Muon32
from models.video_lmm import Batch, VideoLMM

NOT_HIDDEN = ("embed", "lm_head", "latents", "wte", "wpe")
"""Two-dimensional parameters that are no hidden weights, so not Muon's (Jordan et al., "Muon", 2024)."""


class DivergedError(RuntimeError):
    """The loss became infinite or NaN; what follows would be meaningless."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one optimiser step did."""

    stage: str
    step: int
    """From 1, over all stages."""
    steps: int
    """Steps of the whole training."""
    samples: int
    """Training samples seen so far."""
    loss: float
    """Mean cross-entropy of the batch's target tokens, in nats."""
    tokens: int
    """Places of the batch, padding included."""
    padding: float
    """Share of those that is padding."""
    seconds: float
    """Of this step, data included."""
    is_shared: bool = False
    """Whether another trial of this process did it, see `Start`."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a trial's first stages came to. Trials of one worker that begin alike need not repeat them.

    Stages that train the connector alone are shared (what they leave is small), between trials that differ in nothing
    that such a stage sees: of designs that differ in how videos are sampled an alignment on pictures is the same.
    """

    connector: dict[str, torch.Tensor]
    steps: tuple[Step, ...]
    """Of the last of those stages."""


class Starts:
    """The latest starts of this process. They are equal to the bit to what the trial would have computed."""

    MOST = 2

    def __init__(self) -> None:
        self._known: dict[str, Start] = {}

    def key(self, config: TrialConfig, number: int, device: torch.device) -> str | None:
        """All that the model is made of after a stage; None where that is not shared."""
        design = config.design
        stages = design.schedule[: number + 1]
        if any(stage.lr.vision or stage.lr.llm for stage in stages):
            return None
        told = design.model_dump(mode="json", exclude={"schedule", "test_sampling", "mix"})
        if not any(design.mix_of(stage).video for stage in stages):
            del told["sampling"]
        learned = [[stage.model_dump(mode="json"), design.mix_of(stage).model_dump()] for stage in stages]
        sizes = [design.clip_frames, design.tokens_per_clip, design.tokens_per_image]
        return json.dumps([told, learned, sizes, config.model_dump(mode="json", exclude={"design"}), device.type])

    def get(self, key: str | None) -> Start | None:
        """What is known of it."""
        return self._known.get(key) if key else None

    def keep(self, key: str | None, model: VideoLMM, steps: list[Step]) -> None:
        """Remember it, and forget the oldest."""
        if key is None:
            return
        connector = {name: value.clone() for name, value in model.parts()["connector"].state_dict().items()}
        self._known[key] = Start(connector=connector, steps=tuple(steps))
        while len(self._known) > self.MOST:
            del self._known[next(iter(self._known))]


STARTS = Starts()


def train(model: VideoLMM, config: TrialConfig, corpus: Corpus, device: torch.device) -> Iterator[Step]:
    """Train in place through all stages.

    Raises:
        DivergedError: the loss is no number any more.
    """
    counts = [stage.steps(config.samples) for stage in config.design.schedule]
    done = samples = 0
    for number, (stage, steps) in enumerate(zip(config.design.schedule, counts, strict=True)):
        key = STARTS.key(config, number, device)
        if start := STARTS.get(key):
            model.parts()["connector"].load_state_dict(start.connector)
            done, samples = done + steps, samples + steps * stage.batch
            yield from (replace(step, steps=sum(counts), is_shared=True) for step in start.steps)
            continue
        taken: list[Step] = []
        lr = stage.lr.model_copy(update={"llm": stage.lr.llm * rung_of(config).llm_lr_factor})
        freeze(model, lr)
        optimizers = make_optimizers(model, config.design.optimizer, lr)
        schedules = [warmup_cosine(o, steps, config.design.optimizer.warmup) for o in optimizers]
        rng = np.random.default_rng([config.seed, number])
        batches = corpus.batches(stage, steps, rng, PLACES_AT_ONCE[device.type])
        train_mode(model, lr)
        for _ in range(steps):
            started = time.perf_counter()
            batch = next(batches)
            loss = accumulate(model, batch, device)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"loss is {loss} at step {done + 1} (stage {stage.name}); try a lower learning rate"
                )
            nn.utils.clip_grad_norm_(list(model.trainable()), config.design.optimizer.grad_clip)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
            done, samples = done + 1, samples + stage.batch
            taken.append(
                Step(
                    stage=stage.name,
                    step=done,
                    steps=sum(counts),
                    samples=samples,
                    loss=loss,
                    tokens=sum(portion.ids_BL.numel() for portion in batch),
                    padding=padding(batch),
                    seconds=time.perf_counter() - started,
                )
            )
            yield taken[-1]
        STARTS.keep(key, model, taken)
    model.eval()


def accumulate(model: VideoLMM, batch: list[Batch], device: torch.device) -> float:
    """Add up the gradients of micro-batches; returns the mean loss of all their targets together, in nats."""
    targets = sum(len(portion.targets_K) for portion in batch)
    total = 0.0
    for portion in batch:
        loss = model.loss(portion.to(device)) * (len(portion.targets_K) / targets)
        loss.backward()
        total += loss.item()
    return total


def padding(batch: list[Batch]) -> float:
    """Share of the places of a batch that is padding."""
    places = sum(portion.ids_BL.numel() for portion in batch)
    return sum(portion.padding * portion.ids_BL.numel() for portion in batch) / places


def freeze(model: VideoLMM, lr: LearningRates) -> None:
    """Exactly the parts with a learning rate learn."""
    for name, part in model.parts().items():
        part.requires_grad_(getattr(lr, name) > 0)


def train_mode(model: VideoLMM, lr: LearningRates) -> None:
    """Parts that learn are in training mode; a frozen one computes as in evaluation, as its stored features were."""
    for name, part in model.parts().items():
        part.train(getattr(lr, name) > 0)


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
