"""Stages, learning rates, data mixes and optimizers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from models.design.parts import LearningRate, Part, Share

# --- how it is trained --------------------------------------------------------------------------


class LearningRates(Part):
    """Peak learning rate of each part; 0 freezes it."""

    vision: LearningRate = 0.0
    """Of the encoders."""
    connector: LearningRate = 0.0
    """Of the resamplers."""
    llm: LearningRate = 0.0
    """Of the LLM; multiplied by the factor of the scale (models/ladder.py), which is 1 at 3B and 0.15M."""


class Mix(Part):
    """Share of each kind of sample in what a stage trains on; they sum to 1 (Apollo, Table 13)."""

    text: Share = 0.0
    """Conversations without media."""
    image: Share = 0.0
    """About one image."""
    multi_image: Share = 0.0
    """About several images."""
    video: Share = 0.0
    """About one video."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Mix:
        total = self.text + self.image + self.multi_image + self.video
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares of text, image, multi_image and video must sum to 1, not {total:g}")
        return self


VIDEO_ONLY = Mix(video=1.0)


class Stage(Part):
    """One stage of training: what it learns from and which parts learn, how fast."""

    name: str
    share: Share
    """Share of the trial's training samples that this stage takes."""
    batch: int = Field(ge=1)
    """Samples in one optimiser step."""
    mix: Mix | None = None
    """What this stage learns from; the design's `mix` (by the study's rule) where it is left out."""
    lr: LearningRates
    max_questions: int = Field(default=6, ge=1)
    """Most questions of one conversation that a sample asks; which ones is drawn anew each time."""

    def steps(self, samples: int) -> int:
        """Optimiser steps: its share of a trial's samples in whole batches, at least one if it has a share."""
        return max(1, round(samples * self.share / self.batch)) if self.share else 0

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not (self.lr.vision or self.lr.connector or self.lr.llm):
            raise ValueError(f"stage {self.name!r} trains nothing: give a part a learning rate above 0")
        return self


def warmup_steps(steps: int, share: float) -> int:
    """Steps in which the learning rate rises: a share of a stage's, at least one of any."""
    return min(steps, max(1, round(steps * share)))


class AdamW(Part):
    """AdamW with warm-up and cosine decay (Apollo, Table 7)."""

    kind: Literal["adamw"]
    weight_decay: float = Field(default=0.0, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    warmup: Share = 0.03
    """Share of a stage's steps in which the learning rate rises from 0."""


class Muon(Part):
    """Muon on two-dimensional hidden weights, AdamW on the rest; learning rates are AdamW's for both
    (models/training/muon.py)."""

    kind: Literal["muon"]
    VERSION: ClassVar[int] = 2  # computes in float32 on a CPU, not in bfloat16
    weight_decay: float = Field(default=0.05, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    warmup: Share = 0.03
    """Share of a stage's steps in which the learning rate rises from 0."""


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]
