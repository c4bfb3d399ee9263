"""The training loop: stages, frozen parts, a learning rate for each part.

`train` is a generator of optimiser steps; the caller records them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from models.architecture import VideoLMM
from models.costs import positions_per_micro_batch
from models.data import Corpus, Row
from models.design import LearningRates, Stage, TrialConfig
from models.ladder import rates_of
from models.training.optimizers import make_optimizers, warmup_cosine
from models.training.parts import freeze, train_mode
from models.training.shared_starts import START_CACHE, Step


class DivergedError(RuntimeError):
    """The loss became NaN or infinite."""


def train(
    model: VideoLMM, config: TrialConfig, corpus: Corpus, device: torch.device, max_positions: int | None = None
) -> Iterator[Step]:
    """Train the model in place through all stages and yield every optimiser step.

    Args:
        model: the model, on `device`; in evaluation mode at the end.
        config: schedule, optimizer, number of training samples, seed.
        corpus: the data of the trial.
        device: where the model computes.
        max_positions: number of positions of a micro-batch, by default that of the device. It changes results by
            rounding only.

    Raises:
        DivergedError: the loss is NaN or infinite.
        ManifestError: a stage's mix has a share of a kind of sample that the data do not contain.
        ValueError: Muon does not know the matrices of a fused layer that learns in some stage.
    """
    for stage in config.design.schedule:  # what a later stage would refuse is refused before the first step
        _frozen_with_optimizers(model, config, stage)
    max_positions = max_positions or positions_per_micro_batch(device.type)
    total = sum(stage.steps(config.samples) for stage in config.design.schedule)
    for index in range(len(config.design.schedule)):
        key = START_CACHE.key(config, index, device, max_positions)
        if start := START_CACHE.get(key):
            model.parts()["connector"].load_state_dict(start.connector)
            yield from (replace(step, steps=total, is_shared=True) for step in start.steps)
            continue
        steps: list[Step] = []
        for step in _train_stage(model, config, index, corpus, device, max_positions):
            steps.append(step)
            yield step
        START_CACHE.put(key, model, steps)
    model.eval()


def _train_stage(
    model: VideoLMM, config: TrialConfig, index: int, corpus: Corpus, device: torch.device, max_positions: int
) -> Iterator[Step]:
    """The steps of one stage; all randomness comes from (seed, index of the stage)."""
    schedule, optimizer_config = config.design.schedule, config.design.optimizer
    stage, counts = schedule[index], [stage.steps(config.samples) for stage in schedule]
    done = sum(counts[:index])
    samples = sum(steps * earlier.batch for steps, earlier in zip(counts[:index], schedule, strict=False))
    lr, optimizers = _frozen_with_optimizers(model, config, stage)
    schedulers = [warmup_cosine(o, counts[index], optimizer_config.warmup) for o in optimizers]
    rng = np.random.default_rng([config.seed, index])
    batches = corpus.batches(stage, counts[index], rng, max_positions)
    train_mode(model, lr)
    for _ in range(counts[index]):
        started = time.perf_counter()
        batch = next(batches)
        loss, positions, padding = accumulate(model, batch, corpus, device)
        done, samples = done + 1, samples + stage.batch
        if not math.isfinite(loss):
            raise DivergedError(f"loss is {loss} at step {done} (stage {stage.name}); try a lower learning rate")
        nn.utils.clip_grad_norm_(list(model.trainable()), optimizer_config.grad_clip)
        _update(optimizers, schedulers)
        yield Step(
            stage=stage.name,
            step=done,
            steps=sum(counts),
            samples=samples,
            loss=loss,
            tokens=positions,
            padding=padding / positions,
            seconds=time.perf_counter() - started,
        )


def _frozen_with_optimizers(
    model: VideoLMM, config: TrialConfig, stage: Stage
) -> tuple[LearningRates, list[torch.optim.Optimizer]]:
    """Freeze the parts that do not learn in a stage; its learning rates, and the optimizers of the others."""
    lr = rates_of(config, stage)
    freeze(model, lr)
    return lr, make_optimizers(model, config.design.optimizer, lr)


def _update(optimizers: list[torch.optim.Optimizer], schedulers: list[LambdaLR]) -> None:
    for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)


def accumulate(
    model: VideoLMM, batch: list[list[Row]], corpus: Corpus, device: torch.device
) -> tuple[float, int, float]:
    """Add up the gradients of micro-batches, each read when its turn comes.

    Returns:
        Mean loss of all targets in nats, number of positions, and how many of these are padding.
    """
    targets = sum(row.num_targets for rows in batch for row in rows)
    total, positions, padding = 0.0, 0, 0.0
    for rows in batch:
        micro_batch = corpus.collate(rows)
        loss = model.loss(micro_batch.to(device)) * (len(micro_batch.targets_K) / targets)
        if loss.requires_grad:  # not with the LLM frozen, if `max_questions` leaves out the turns with all media
            loss.backward()
        total += loss.item()
        positions += micro_batch.ids_BL.numel()
        padding += micro_batch.padding * micro_batch.ids_BL.numel()
    return total, positions, padding
