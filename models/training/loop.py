"""The training loop: stages, frozen parts, a learning rate for each part; a position from which it can go on.

`Training.run` is a generator of optimiser steps; the caller records them, and may save the position between two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.architecture import VideoLMM
from models.costs import positions_per_micro_batch
from models.data import IDLE, Corpus, Row, StageBatches
from models.design import LearningRates, Stage, TrialConfig
from models.ladder import rates_of
from models.training.engine import Engine
from models.training.optimizers import make_optimizers, warmup_cosine
from models.training.parts import freeze, train_mode
from models.training.position import (
    Position,
    Read,
    learning_names,
    local,
    model_tensors,
    optimizer_layout,
    optimizer_tensors,
    prepare_optimizers,
    random_state,
    restore_random_state,
)
from models.training.shared_starts import START_CACHE
from models.training.step import Step


class DivergedError(RuntimeError):
    """The loss became NaN or infinite."""


class StageRun:
    """A stage in progress: its optimizers, its batches, and the number of steps done."""

    def __init__(self, model: VideoLMM, config: TrialConfig, index: int, corpus: Corpus, max_positions: int) -> None:
        """Freeze what does not learn, and begin at the first step; all randomness comes from (seed, index)."""
        schedule = config.design.schedule
        self.index, self.stage = index, schedule[index]
        counts = [stage.steps(config.samples) for stage in schedule]
        self.steps, self.total = counts[index], sum(counts)
        self.first = sum(counts[:index])
        self.samples_before = sum(n * one.batch for n, one in zip(counts[:index], schedule, strict=False))
        self.lr, self.optimizers = frozen_with_optimizers(model, config, self.stage)
        warmup = config.design.optimizer.warmup
        self.schedulers = [warmup_cosine(one, self.steps, warmup) for one in self.optimizers]
        rng = np.random.default_rng([config.seed, index])
        self.batches: StageBatches = corpus.batches(self.stage, self.steps, rng, max_positions)
        self.done = 0

    def rates(self) -> dict[str, float]:
        """Part -> its present learning rate: the peak rate by the schedule's factor, which all groups share."""
        factor = self.schedulers[0].get_last_lr()[0] / self.schedulers[0].base_lrs[0] if self.schedulers else 0.0
        return {name: rate * factor for name, rate in self.lr if rate}

    def update(self) -> None:
        """Take the optimiser step."""
        for optimizer, scheduler in zip(self.optimizers, self.schedulers, strict=True):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
        self.done += 1

    def state(self) -> dict[str, Any]:
        """The position in the stage, as JSON; without weights and states of optimizers."""
        schedulers = [{k: v for k, v in one.state_dict().items() if k != "lr_lambdas"} for one in self.schedulers]
        return {"stage": self.index, "done": self.done, "batches": self.batches.state(), "schedulers": schedulers}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position that `state` returned."""
        self.done = state["done"]
        self.batches.restore(state["batches"])
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict({**saved, "lr_lambdas": [None] * len(scheduler.base_lrs)})
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                group["lr"] = rate


class Training:
    """The training of a trial on an engine, from its first stage or from a saved position."""

    def __init__(
        self, model: VideoLMM, config: TrialConfig, corpus: Corpus, engine: Engine, max_positions: int | None = None
    ) -> None:
        """Check all stages.

        Args:
            model: the model, placed by the engine; it is trained in place.
            config: schedule, optimizer, number of training samples, seed.
            corpus: the data of the trial.
            engine: where the model computes.
            max_positions: number of positions of a micro-batch, by default that of the device. It changes results by
                rounding only.

        Raises:
            ValueError: Muon does not know the matrices of a fused layer that learns in some stage.
        """
        self.model, self.config, self.engine = model, config, engine
        self.corpus = corpus.on(engine.device.type)
        self.max_positions = max_positions or positions_per_micro_batch(engine.device.type)
        self.stage: StageRun | None = None
        """The stage in progress."""
        self.lost = np.zeros(3, np.int64)
        """Samples that `max_length` shortened in earlier stages, the clips and the turns that they lost."""
        self._learned: list[set[str]] = []
        """For each stage, the names of the weights that have learned by its end."""
        for stage in config.design.schedule:  # what a later stage would refuse is refused before the first step
            frozen_with_optimizers(model, config, stage)
            self._learned.append(learning_names(model).union(*self._learned[-1:]))

    @property
    def step(self) -> int:
        """Number of optimiser steps so far, over all stages."""
        return self.stage.first + self.stage.done if self.stage else 0

    def state(self) -> Position:
        """The whole position between two steps of `run`, the first of which was computed here.

        The tensors are those of the training: copy them before the next step.
        """
        assert self.stage is not None, "no step has been taken"
        stage, model = self.stage, self.model
        tensors = model_tensors(model, self._learned[stage.index]) | optimizer_tensors(model, stage.optimizers)
        layout = optimizer_layout(model, stage.optimizers)
        values = stage.state() | {"optimizers": layout, "random": random_state(), "lost": self.lost.tolist()}
        return Position(tensors=tensors, values=values)

    def restore(self, values: Mapping[str, Any], read: Read) -> None:
        """Go to a position of a training with the same arguments; without a change if `read` raises.

        On one CPU all that follows is equal to the bit. On another number of ranks it differs by rounding, and by the
        random numbers of dropout.

        Args:
            values: those of the position.
            read: reads its tensors.

        Raises:
            KeyError: the position is that of another training; `read` raises errors of its own.
        """
        model = self.model
        stage = StageRun(model, self.config, values["stage"], self.corpus, self.max_positions)
        stage.restore(values)
        prepare_optimizers(model, stage.optimizers, values["optimizers"])
        tensors = model_tensors(model, self._learned[stage.index]) | optimizer_tensors(model, stage.optimizers)
        saved = read(tensors)
        with torch.no_grad():
            for name, tensor in tensors.items():
                local(tensor).copy_(local(saved[name]))
        self.stage, self.lost = stage, np.array(values["lost"], np.int64)
        restore_random_state(values["random"])

    def run(self) -> Iterator[Step]:
        """Train through all stages and yield every optimiser step; the model is in evaluation mode at the end.

        Raises:
            DivergedError: the loss is NaN or infinite.
            ManifestError: a stage's mix has a share of a kind of sample that the data do not contain.
        """
        for index in range(self.stage.index if self.stage else 0, len(self.config.design.schedule)):
            yield from self._stage(index)
        self.model.eval()

    def _stage(self, index: int) -> Iterator[Step]:
        """The steps of a stage, computed or those of an earlier trial of this process."""
        if self.stage is None or self.stage.index != index:
            self.stage = StageRun(self.model, self.config, index, self.corpus, self.max_positions)
        stage, steps = self.stage, list[Step]()
        is_shared = not stage.done and self.engine.ranks.size == 1
        key = START_CACHE.key(self.config, index, self.engine.device, self.max_positions) if is_shared else None
        if start := START_CACHE.get(key):
            self.model.parts()["connector"].load_state_dict(start.connector)
            stage.done = stage.steps
            yield from (replace(step, steps=stage.total, is_shared=True) for step in start.steps)
            return
        train_mode(self.model, stage.lr)
        while stage.done < stage.steps:
            step = self._step(stage)
            steps.append(step)
            yield step
        self.lost += stage.batches.lost
        START_CACHE.put(key, self.model, steps)

    def _step(self, stage: StageRun) -> Step:
        """One optimiser step."""
        started, rates = time.perf_counter(), stage.rates()
        batch = next(stage.batches)
        loss, positions, padding, data_s = accumulate(self.model, batch, self.corpus, self.engine)
        number = stage.first + stage.done + 1
        if not math.isfinite(loss):
            raise DivergedError(
                f"loss is {loss} at step {number} (stage {stage.stage.name}); try a lower learning rate"
            )
        norm = self.engine.clip(self.model, self.config.design.optimizer.grad_clip)
        stage.update()
        return Step(
            stage=stage.stage.name,
            step=number,
            steps=stage.total,
            samples=stage.samples_before + stage.done * stage.stage.batch,
            loss=loss,
            tokens=positions,
            padding=padding / positions,
            seconds=time.perf_counter() - started,
            data_s=data_s,
            gradient_norm=norm,
            rates=rates,
            memory_bytes=self.engine.memory_bytes,
        )


def train(
    model: VideoLMM, config: TrialConfig, corpus: Corpus, engine: Engine, max_positions: int | None = None
) -> Iterator[Step]:
    """Train the model in place through all stages and yield every optimiser step, see `Training`."""
    return Training(model, config, corpus, engine, max_positions).run()


def frozen_with_optimizers(
    model: VideoLMM, config: TrialConfig, stage: Stage
) -> tuple[LearningRates, list[torch.optim.Optimizer]]:
    """Freeze the parts that do not learn in a stage; its learning rates, and the optimizers of the others."""
    lr = rates_of(config, stage)
    freeze(model, lr)
    return lr, make_optimizers(model, config.design.optimizer, lr)


def accumulate(
    model: VideoLMM, batch: list[list[Row]], corpus: Corpus, engine: Engine
) -> tuple[float, int, float, float]:
    """Add up the gradients of a step's micro-batches, each read when its turn comes.

    Returns:
        Mean loss of all targets in nats, number of positions, how many of these are padding, seconds waited for data.
    """
    targets = sum(row.num_targets for rows in batch for row in rows)
    total, positions, padding, data_s = 0.0, 0, 0.0, 0.0
    shares = engine.share(batch)
    for number, rows in enumerate(shares, 1):
        started = time.perf_counter()
        micro_batch = corpus.collate(rows or [IDLE])
        data_s += time.perf_counter() - started
        loss = model.loss(micro_batch.to(engine.device)) * (len(micro_batch.targets_K) / targets)
        engine.backward(loss, model, is_last=number == len(shares))
        if not rows:
            continue
        total += loss.item()
        positions += micro_batch.ids_BL.numel()
        padding += micro_batch.padding * micro_batch.ids_BL.numel()
    media = [one.medium for rows in batch for row in rows for one in row.visual]
    is_split = {corpus.visual.is_split(medium) for medium in media}
    engine.forget_idle(model, clips=False in is_split, images=True in is_split)
    total, all_positions, padding = engine.total(total, positions, padding)
    return total, int(all_positions), padding, data_s
