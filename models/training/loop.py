"""One training loop: stages, frozen parts, learning rates per part. A generator of steps; who records them is
the caller's business."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from models.architecture import VideoLMM
from models.costs import PLACES_AT_ONCE
from models.data import Batch, Corpus
from models.design import TrialConfig
from models.ladder import scale_card_of
from models.training.optimizers import make_optimizers, warmup_cosine
from models.training.parts import freeze, train_mode
from models.training.shared_starts import STARTS, Step


class DivergedError(RuntimeError):
    """The loss became infinite or NaN; what follows would be meaningless."""


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
        lr = stage.lr.model_copy(update={"llm": stage.lr.llm * scale_card_of(config).llm_lr_factor})
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
