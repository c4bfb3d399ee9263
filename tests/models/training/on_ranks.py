"""What one rank of several computes in tests/models/training/test_ranks.py: `python -m` under torchrun's variables."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from models.architecture import VideoLMM
from models.architecture.resamplers import PerceiverResampler
from models.architecture.video_lmm import ImagePath, Separators
from models.data import Corpus
from models.design import AdamW, Design, LearningRates, Mix, Muon, Optimizer, Stage, TrialConfig
from models.scoring import evaluate
from models.training import Engine, EngineOptions, Ranks, ranks, train
from tests.models.training.small import (
    CPU,
    DESIGN,
    RESAMPLER,
    config,
    small_corpus,
    small_model,
    small_prompter,
    with_design,
)

MIXED = Mix(text=0.5, image=0.125, multi_image=0.125, video=0.25)
MEDIA = Mix(image=0.25, multi_image=0.25, video=0.5)
WORDS = Mix(text=1.0)
CONNECTOR = LearningRates(connector=1e-2)
ALL = LearningRates(vision=1e-3, connector=2e-3, llm=1e-3)
ADAMW = AdamW(kind="adamw", weight_decay=0.1)
CLIP = 0.1
"""Largest norm of the gradient: one that is reached, so that a norm of a part of the ranks would be seen."""


@dataclass(frozen=True)
class Case:
    """A training of the small model; each stage has its mix, learning rates and batch."""

    stages: tuple[tuple[Mix, LearningRates, int], ...]
    optimizer: Optimizer = ADAMW
    shard: int = 1
    positions: int = 40
    has_image_path: bool = False
    checkpointing: bool = False
    knows_schedule: bool = True


CASES = {
    "connector": Case(((MEDIA, CONNECTOR, 8),)),
    "connector, sharded": Case(((MEDIA, CONNECTOR, 8),), shard=2),
    "connector and LLM": Case(((MIXED, LearningRates(connector=1e-3, llm=2e-3), 8),), shard=2),
    "all": Case(((MIXED, ALL, 8),)),
    "all, sharded": Case(((MIXED, ALL, 8),), shard=2, has_image_path=True, checkpointing=True),
    "vision alone": Case(((MEDIA, LearningRates(vision=1e-3), 8),), shard=2, has_image_path=True),
    "one micro-batch": Case(((MIXED, ALL, 2),), positions=4096),
    "steps of text": Case(((MIXED, ALL, 8), (WORDS, ALL, 4), (MIXED, ALL, 8)), has_image_path=True),
    "stages": Case(((MEDIA, CONNECTOR, 4), (MIXED, ALL, 8)), shard=2, has_image_path=True),
    "late vision": Case(((MEDIA, CONNECTOR, 8), (MIXED, ALL, 8)), knows_schedule=False),
    "muon": Case(((MEDIA, CONNECTOR, 8), (MIXED, ALL, 8)), optimizer=Muon(kind="muon"), shard=2),
}


@dataclass
class Result:
    """What a user would notice of a training."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    steps: list[tuple[int, float]] = field(default_factory=list)
    """Positions, and share of padding."""
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    """Of each step, before they are clipped."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    outcomes: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class RecordingEngine(Engine):
    """An engine that keeps the gradients of all steps."""

    gradients: list[dict[str, Tensor]] = field(default_factory=list)

    def clip(self, model: VideoLMM, max_norm: float) -> float:
        """Keep the gradients, whole, and clip them."""
        found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        self.gradients.append({name: whole(grad).clone() for name, grad in found.items()})
        return super().clip(model, max_norm)


def whole(value: Tensor) -> Tensor:
    """A tensor gathered from its shards."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def trial_of(case: Case) -> TrialConfig:
    """The trial of a case, of at most eight steps a stage."""
    share = 1 / len(case.stages)
    schedule = tuple(
        Stage(name=str(i), share=share, batch=batch, mix=mix, lr=lr) for i, (mix, lr, batch) in enumerate(case.stages)
    )
    optimizer = case.optimizer.model_copy(update={"grad_clip": CLIP})
    changes: dict[str, Any] = {"schedule": schedule, "optimizer": optimizer}
    if case.has_image_path:
        changes["image_path"] = {"kind": "split", "tokens_per_image": 3}
    design = Design.model_validate(DESIGN.model_dump() | changes)
    return config(design=design, samples=16 * len(case.stages))


def model_of(case: Case) -> VideoLMM:
    """The small model, the same on each rank; with an image path also separators.

    To be called outside a process group, in which `save_pretrained` of transformers writes on rank 0 alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = small_model(small_prompter(), Path(folder))
    if case.has_image_path:
        model.image_path = ImagePath((0,), PerceiverResampler(RESAMPLER, 16, 32, 3))
        model.separators = Separators(torch.randn(2, 32) / 10)
    return model


def compute(case: Case, model: VideoLMM, mine: Ranks) -> Result:
    """Train and test a model on the ranks of this process."""
    trial = trial_of(case)
    corpus = with_design(small_corpus(model, small_prompter()), trial.design)
    shard = min(case.shard, mine.size)
    engine = RecordingEngine(CPU, mine, EngineOptions(shard=shard, checkpointing=case.checkpointing))
    engine.place(model, trial.design.schedule if case.knows_schedule else None)
    result = Result(gradients=engine.gradients)
    for step in train(model, trial, corpus, engine, case.positions):
        result.losses.append(step.loss)
        result.norms.append(step.gradient_norm)
        result.steps.append((step.tokens, step.padding))
    result.weights = {name: whole(value) for name, value in model.state_dict().items()}
    result.outcomes = answers(model, corpus, case.positions)
    return result


def answers(model: VideoLMM, corpus: Corpus, positions: int) -> pd.DataFrame:
    """Outcomes of the test item with the video and without."""
    tables = [t for modality in ("video", "text") for t in evaluate(model, corpus, CPU, modality, positions)]
    return pd.concat(tables).sort_values(["modality", "question"]).reset_index(drop=True)


def diverge(model: VideoLMM, mine: Ranks) -> str:
    """The message of a loss that is NaN on rank 0 alone."""
    trial = trial_of(CASES["all"])
    corpus = with_design(small_corpus(model, small_prompter()), trial.design)
    engine = Engine(CPU, mine)
    engine.place(model)
    if mine.rank == 0:
        object.__setattr__(model, "loss", lambda batch: VideoLMM.loss(model, batch) * np.nan)
    try:
        list(train(model, trial, corpus, engine, 40))
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    """Compute the cases that are named, and save the results of rank 0, and of each rank what went wrong."""
    torch.set_num_threads(1)
    folder, *names = sys.argv[1:]
    models = {name: model_of(CASES.get(name, CASES["all"])) for name in names}
    found: dict[str, Any] = {}
    with ranks() as mine:
        for name, model in models.items():
            found[name] = vars(compute(CASES[name], model, mine)) if name in CASES else diverge(model, mine)
    torch.save(found, Path(folder) / f"{mine.rank}.pt")


if __name__ == "__main__":
    main()
