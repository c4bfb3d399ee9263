"""The losses of the loop of before sharding and planned packs: recorded on 2026-11-29, commit aa2de3c.

`python -m tests.models.training.test_recorded_losses` writes them again. The last bits of a loss depend on the
processor's instructions, so that recorded ones are compared to 1e-5; `reference_losses` computes them here, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from torch import nn

from models.architecture import VideoLMM
from models.data import Corpus
from models.data.mixing import Draws
from models.data.packing import micro_batches
from models.design import AdamW, Design, LearningRates, Mix, Muon, Stage, TrialConfig
from models.ladder import rates_of
from models.training import freeze, make_optimizers, train, train_mode
from models.training.optimizers import warmup_cosine
from tests.models.training.small import (
    CPU,
    DESIGN,
    ENGINE,
    config,
    small_corpus,
    small_model,
    small_prompter,
    with_design,
)

RECORDED = Path(__file__).parent / "recorded_losses.json"
MIXED = Mix(text=0.25, image=0.25, multi_image=0.25, video=0.25)
ALL = LearningRates(vision=1e-3, connector=2e-3, llm=1e-3)
STAGES = {
    "connector, then all": (
        Stage(name="a", share=0.5, batch=4, mix=Mix(image=0.5, video=0.5), lr=LearningRates(connector=1e-2)),
        Stage(name="b", share=0.5, batch=8, mix=MIXED, lr=ALL, max_questions=1),
    ),
    "connector and LLM": (Stage(name="a", share=1.0, batch=8, mix=MIXED, lr=LearningRates(connector=1e-3, llm=2e-3)),),
}
OPTIMIZERS = {"adamw": AdamW(kind="adamw", weight_decay=0.1), "muon": Muon(kind="muon")}
CASES = [(stages, optimizer, positions) for stages in STAGES for optimizer in OPTIMIZERS for positions in (40, 1024)]


def trial_of(stages: str, optimizer: str) -> TrialConfig:
    design = DESIGN.model_copy(update={"schedule": STAGES[stages], "optimizer": OPTIMIZERS[optimizer]})
    return config(design=Design.model_validate(design.model_dump()))


def reference_losses(model: VideoLMM, trial: TrialConfig, corpus: Corpus, max_positions: int) -> Iterator[float]:
    """The loop as it was: one device, one process, fp32."""
    optimizer_config = trial.design.optimizer
    for index, stage in enumerate(trial.design.schedule):
        steps, lr = stage.steps(trial.samples), rates_of(trial, stage)
        freeze(model, lr)
        optimizers = make_optimizers(model, optimizer_config, lr)
        schedulers = [warmup_cosine(one, steps, optimizer_config.warmup) for one in optimizers]
        rng = np.random.default_rng([trial.seed, index])
        drawn = Draws(corpus.train, trial.design.mix_of(stage), steps * stage.batch, rng)
        train_mode(model, lr)
        for _ in range(steps):
            samples = [next(drawn) for _ in range(stage.batch)]
            rows = [corpus.training_row(one, stage.max_questions, rng) for one in samples]
            targets, total = sum(row.num_targets for row in rows), 0.0
            for group in micro_batches(rows, max_positions):
                batch = corpus.collate(group)
                loss = model.loss(batch.to(CPU)) * (len(batch.targets_K) / targets)
                loss.backward()
                total += loss.item()
            nn.utils.clip_grad_norm_(list(model.trainable()), optimizer_config.grad_clip)
            for one, scheduler in zip(optimizers, schedulers, strict=True):
                one.step()
                scheduler.step()
                one.zero_grad(set_to_none=True)
            yield total


@pytest.mark.parametrize(("stages", "optimizer", "positions"), CASES)
def test_losses_are_those_of_the_loop_before_to_the_bit(model, corpus, stages: str, optimizer: str, positions: int):
    trial = trial_of(stages, optimizer)
    corpus = with_design(corpus, trial.design)
    before = deepcopy(model)
    reference = replace(corpus, visual=replace(corpus.visual, encoder=before.encoder))
    expected = list(reference_losses(before, trial, reference, positions))
    steps = list(train(model, trial, corpus, ENGINE, positions))
    assert [step.loss for step in steps] == expected
    for mine, theirs in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    recorded = json.loads(RECORDED.read_text())[f"{stages}, {optimizer}, {positions}"]
    np.testing.assert_allclose(expected, recorded, rtol=1e-5)


def record() -> None:
    """Write the recorded losses again: after a change that a raised VERSION announces."""
    prompter, losses = small_prompter(), {}
    for stages, optimizer, positions in CASES:
        with TemporaryDirectory() as folder:
            model, trial = small_model(prompter, Path(folder)), trial_of(stages, optimizer)
            corpus = with_design(small_corpus(model, prompter), trial.design)
            losses[f"{stages}, {optimizer}, {positions}"] = list(reference_losses(model, trial, corpus, positions))
    RECORDED.write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    record()
