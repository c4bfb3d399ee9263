"""The design space as frozen pydantic types, and a trial's whole config. No torch here.

A design says nothing of scale, seed or budget; `TrialConfig` adds those three. Variants are tagged
unions (`kind`), so that no field exists where it means nothing. `ablate/identity.py` says how a
config becomes a key; `VERSION` is part of it and is raised when code changes what a config means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
LearningRate = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """Base of every component of a config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    VERSION: ClassVar[int] = 1

    @model_validator(mode="before")
    @classmethod
    def _nothing_bent(cls, data: Any) -> Any:
        return refuse_bent(cls, data)


def refuse_bent(model: type[BaseModel], data: Any) -> Any:
    """Refuse what pydantic would bend into shape: `true` for 1, `"8"` for 8, 1 for `true`. 3e6 for 3000000 is fine.

    Raises:
        ValueError: names the field and what it was given.
    """
    for name, field in model.model_fields.items():
        value = data.get(name) if isinstance(data, Mapping) else None
        if field.annotation in (int, float) and isinstance(value, bool | str):
            raise ValueError(f"{name} must be a number, not {value!r}")
        if field.annotation is bool and value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
    return data


# --- which frames of a video are seen -----------------------------------------------------------


class Uniform(Part):
    """A fixed number of frames, spread evenly over the video whatever its length."""

    kind: Literal["uniform"]
    frames: int = Field(ge=1, le=4096)
    """Frames per video."""


class Fps(Part):
    """A constant rate: clips of the encoder's length, consecutive until `max_clips` are reached,
    then evenly spaced with the rate inside a clip unchanged (Apollo, section 4.1)."""

    kind: Literal["fps"]
    fps: float = Field(gt=0, le=240)
    """Frames per second of video."""
    max_clips: int = Field(default=200, ge=1)
    """Most clips of one video (Apollo, Table 7: 25 while aligning, 150-200 in fine-tuning)."""


Sampling = Annotated[Uniform | Fps, Field(discriminator="kind")]


# --- what sees them -----------------------------------------------------------------------------


class Siglip(Part):
    """An image encoder of the SigLIP architecture; each frame is a clip of its own."""

    kind: Literal["siglip"]
    weights: str
    """A folder in transformers' format, a hub id, or `tiny/NAME@VERSION` for a shipped part."""
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them (Apollo takes the last but one)."""

    clip_frames: ClassVar[int] = 1


Encoder = Annotated[Siglip, Field()]


# --- how features become tokens -----------------------------------------------------------------


class Perceiver(Part):
    """Learned latents attend to a clip's features (Apollo, Table 1; shapes in models/resamplers.py)."""

    kind: Literal["perceiver"]
    VERSION: ClassVar[int] = 2  # starts with attention of unit variance
    tokens_per_frame: int = Field(ge=1, json_schema_extra={"short": "tpf"})
    """Tokens that the LLM gets for each frame; a clip of N frames has N times as many latents."""
    depth: int = Field(default=1, ge=1)
    heads: int = Field(default=16, ge=1)
    head_dim: int = Field(default=96, ge=1)
    kv_heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> Perceiver:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class MlpPool(Part):
    """Two-layer MLP on each feature, then adaptive average pooling of each frame (Apollo, Table 1)."""

    kind: Literal["mlp_pool"]
    tokens_per_frame: int = Field(ge=1, json_schema_extra={"short": "tpf"})
    """Tokens that the LLM gets for each frame."""


Resampler = Annotated[Perceiver | MlpPool, Field(discriminator="kind")]


class Integration(Part):
    """How video tokens are spliced into text; the two switches give the four forms of Apollo, Table 2."""

    separators: bool = False
    """`<vid_start>` before and `<vid_end>` after the tokens of each clip."""
    timestamps: bool = False
    """`clip from {MM:SS}-{MM:SS}:` before the tokens of each clip of a video."""


# --- how it is trained --------------------------------------------------------------------------


class LearningRates(Part):
    """Peak learning rate of each part; 0 freezes it."""

    vision: LearningRate = 0.0
    connector: LearningRate = 0.0
    llm: LearningRate = 0.0


class Mix(Part):
    """Share of each kind of sample in what a stage trains on; they sum to 1 (Apollo, Table 13)."""

    text: Share = 0.0
    image: Share = 0.0
    video: Share = 0.0

    @model_validator(mode="after")
    def _sums_to_one(self) -> Mix:
        total = self.text + self.image + self.video
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares of text, image and video must sum to 1, not {total:g}")
        return self


class Stage(Part):
    """One stage of training: what it learns from and which parts learn, how fast."""

    name: str
    share: Share
    """Share of the trial's training samples that this stage takes."""
    batch: int = Field(ge=1)
    """Samples in one optimiser step."""
    mix: Mix
    lr: LearningRates
    max_questions: int = Field(default=6, ge=1)
    """Most questions of one conversation that a sample asks; which ones is drawn anew each time."""

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not (self.lr.vision or self.lr.connector or self.lr.llm):
            raise ValueError(f"stage {self.name!r} trains nothing: give a part a learning rate above 0")
        return self


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
    (torch.optim.Muon with `match_rms_adamw`)."""

    kind: Literal["muon"]
    weight_decay: float = Field(default=0.05, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    warmup: Share = 0.03


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]


# --- what it learns from and is asked ---------------------------------------------------------------


class TinyData(Part):
    """The embedded study: rendered videos with questions (models/tiny); docs/tiny-study.md.

    `VERSION` is raised when code changes what a world seed means.
    """

    kind: Literal["tiny"]
    train_videos: int = Field(default=1500, ge=1)
    test_videos: int = Field(default=300, ge=1)
    world_seed: int = Field(default=1, ge=0)
    """Seed of the world's contents: other seeds give other videos and other questions. The recipe was tuned on 0."""

    benchmark: ClassVar[str] = "tinybench"
    categories: ClassVar[tuple[str, ...]] = ("egocentric", "ocr", "perception", "reasoning", "spatial")


class ManifestData(Part):
    """Your own data: LLaVA-style JSON for training, multiple-choice questions for testing (docs/data.md)."""

    kind: Literal["manifest"]
    benchmark: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the benchmark in score tables."""
    folder: str
    """Holds `train.json`, `test.json` and the media that they name by relative path."""
    digest: str = ""
    """Of the two JSON files, filled in when a spec is expanded: identity follows content, not place."""


Data = Annotated[TinyData | ManifestData, Field(discriminator="kind")]


class Design(Part):
    """One point of the design space. No scale, no seed, no budget."""

    data: Data
    sampling: Sampling
    encoders: tuple[Encoder, ...] = Field(min_length=1, max_length=1)
    resampler: Resampler
    integration: Integration = Integration()
    schedule: tuple[Stage, ...] = Field(min_length=1)
    optimizer: Optimizer

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Design:
        total = sum(stage.share for stage in self.schedule)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares of the schedule's stages must sum to 1, not {total:g}")
        return self


class TrialConfig(Part):
    """Everything that a trial's result may depend on: design x scale x seed x budget."""

    design: Design
    scale: str
    """Size of the LLM by label; models/ladder.py says what it means."""
    seed: int = Field(ge=0, lt=2**32)
    samples: int = Field(ge=1)
    """Training budget: samples seen over all stages."""
