"""Stages, learning rates, data mixes and optimizers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from models.design.parts import LearningRate, Part, Share


class LearningRates(Part):
    """Peak learning rate of each part; 0 freezes it."""

    vision: LearningRate = 0.0
    """Learning rate of the encoders."""
    connector: LearningRate = 0.0
    """Learning rate of the resamplers."""
    llm: LearningRate = 0.0
    """Learning rate of the LLM; multiplied by the scale's factor, which is stated in the spec, or that of
    models/ladder.py: 1 at 3B and 0.15M."""


class Mix(Part):
    """Share of each kind of sample in the training data of a stage; shares sum to 1 (Apollo, Table 13)."""

    text: Share = 0.0
    """Share of conversations without media."""
    image: Share = 0.0
    """Share of conversations about one image."""
    multi_image: Share = 0.0
    """Share of conversations about several images."""
    video: Share = 0.0
    """Share of conversations about one video."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Mix:
        total = self.text + self.image + self.multi_image + self.video
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares of text, image, multi_image and video must sum to 1, not {total:g}")
        return self


VIDEO_ONLY = Mix(video=1.0)


class Stage(Part):
    """One stage of training: its data, the parts that are trained, and their learning rates."""

    VERSION: ClassVar[int] = 2  # without `max_questions` all questions are used, not 6
    name: str
    share: Share
    """Share of the trial's training samples that this stage takes."""
    batch: int = Field(ge=1)
    """Number of samples in one optimiser step."""
    mix: Mix | None = None
    """Data mix of this stage; where it is left out, the design's `mix`, or video only with the LLM frozen."""
    lr: LearningRates
    max_questions: int | None = Field(default=None, ge=1)
    """Largest number of questions of one conversation in a sample; all if omitted. Independent questions are drawn
    again each time the conversation is used. Of a dialogue, whose turns refer to earlier ones, the first are used each
    time, and what is left out is reported by the plan and in the trial's log."""

    def steps(self, samples: int) -> int:
        """Number of optimiser steps: its share of a trial's samples in whole batches, at least one if it has any."""
        return max(1, round(samples * self.share / self.batch)) if self.share else 0

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not (self.lr.vision or self.lr.connector or self.lr.llm):
            raise ValueError(f"stage {self.name!r} trains nothing: give a part a learning rate above 0")
        return self


def warmup_steps(steps: int, share: float) -> int:
    """Number of warm-up steps: a share of a stage's steps, at least one."""
    return min(steps, max(1, round(steps * share)))


class AdamW(Part):
    """AdamW with warm-up and cosine decay (Apollo, Table 7)."""

    kind: Literal["adamw"]
    VERSION: ClassVar[int] = 2  # weight decay spares norms, biases, embeddings, latents, tokens and tables
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices and convolution kernels; all other parameters are spared."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Norm to which the gradient of all parameters together is clipped."""
    warmup: Share = 0.03
    """Share of a stage's steps in which the learning rate rises from 0."""


class Muon(Part):
    """Muon on hidden matrices and convolution kernels, AdamW on the rest, both with the learning rates of AdamW
    (models/training/muon.py)."""

    kind: Literal["muon"]
    # 2 computes in float32 on a CPU, not in bfloat16; 3 updates kernels too and fused matrices one by one, and weight
    # decay spares norms, biases, embeddings, latents, tokens and tables.
    VERSION: ClassVar[int] = 3
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled decay of matrices and convolution kernels; all other parameters are spared."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Norm to which the gradient of all parameters together is clipped."""
    warmup: Share = 0.03
    """Share of a stage's steps in which the learning rate rises from 0."""


LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Linear layers of a decoder layer, as Qwen, Llama, Mistral and Gemma name them."""


class Lora(Part):
    """Low-rank adapters of the LLM (Hu et al., arXiv 2106.09685) in place of its own weights, which stay frozen.

    A layer W of rank-r adapters computes W x + (alpha / r) B A x; B starts at 0, so training starts from the
    pretrained LLM. Where a stage's `lr.llm` is above 0, A and B learn at that rate, and no other weight of the LLM.
    """

    rank: int = Field(default=16, ge=1)
    """Width of the adapters. One of at least the width of a layer is refused when the model is built."""
    alpha: float = Field(default=32.0, gt=0)
    """Numerator of the factor alpha / rank. Kept while the rank varies, good learning rates hardly depend on the
    rank (Schulman et al., LoRA Without Regret, 2025, with the same 32)."""
    targets: tuple[LoraTarget, ...] | None = Field(default=None, min_length=1)
    """Layers that have adapters; all linear layers of attention and MLP if omitted, whatever their names."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are set to 0 in training."""

    @field_validator("targets")
    @classmethod
    def _in_one_order(cls, targets: tuple[LoraTarget, ...] | None) -> tuple[LoraTarget, ...] | None:
        """Sort names, so that another order is no other design; each may be named once."""
        if targets is None:
            return None
        names: tuple[LoraTarget, ...] = get_args(LoraTarget)
        if len(set(targets)) < len(targets):
            raise ValueError(f"targets names a layer twice: {', '.join(targets)}")
        return tuple(name for name in names if name in targets)


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]
