"""The design space as frozen pydantic types, and a trial's whole config. No torch here.

A design says nothing of scale, seed or budget; `TrialConfig` adds those three. Variants are tagged
unions (`kind`), so that no field exists where it means nothing. `ablate/identity.py` says how a
config becomes a key; `VERSION` is part of it and is raised when code changes what a config means.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
        for one in value if isinstance(value, list | tuple) else [value]:
            if _is_number(field.annotation) and isinstance(one, bool | str):
                raise ValueError(f"{name} must be a number, not {one!r}")
        if field.annotation is bool and value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
    return data


def _is_number(annotation: Any) -> bool:
    """Whether a field takes a number, several, or a number or nothing."""
    if get_origin(annotation) is Annotated:
        return _is_number(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return all(piece is Ellipsis or _is_number(piece) for piece in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return all(piece is NoneType or _is_number(piece) for piece in get_args(annotation))
    return annotation in (int, float)


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


class _Pretrained(Part):
    """What encoders with published weights share."""

    weights: str
    """A folder, a hub id, or `tiny/NAME@VERSION` for a shipped part; models/cards.py knows the published ones."""


class Siglip(_Pretrained):
    """SigLIP (Zhai et al., arXiv 2303.15343) or a SigLIP 2 of fixed resolution, frame by frame."""

    kind: Literal["siglip"]
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them (Apollo takes the last but one)."""

    frames: ClassVar[int] = 1


class Siglip2(_Pretrained):
    """SigLIP 2 (Tschannen et al., arXiv 2502.14786), the NaFlex form with square patches, frame by frame."""

    kind: Literal["siglip2"]
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them."""

    frames: ClassVar[int] = 1


class Clip(_Pretrained):
    """CLIP's image tower (Radford et al., arXiv 2103.00020), frame by frame, without its class token."""

    kind: Literal["clip"]
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them."""

    frames: ClassVar[int] = 1


class Dinov2(_Pretrained):
    """DINOv2 (Oquab et al., arXiv 2304.07193), frame by frame at 224 pixels, without its class token."""

    kind: Literal["dinov2"]
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them."""

    frames: ClassVar[int] = 1


class LanguageBindImage(_Pretrained):
    """LanguageBind's image tower (Zhu et al., arXiv 2310.01852), frame by frame, without its class token."""

    kind: Literal["languagebind_image"]
    layer: int = -2
    """Which hidden state is the feature; 0 is what enters the first block."""

    frames: ClassVar[int] = 1


class _VideoEncoder(_Pretrained):
    """What video encoders share."""

    frames: int = Field(ge=1, le=256)
    """Frames of one clip."""


class LanguageBindVideo(_VideoEncoder):
    """LanguageBind's video tower (V1.5), without its class tokens."""

    kind: Literal["languagebind_video"]
    frames: int = Field(default=8, ge=1, le=256)
    layer: int = -2
    """Which hidden state is the feature; 0 is what enters the first block."""


class VideoMae(_VideoEncoder):
    """VideoMAE (Tong et al., arXiv 2203.12602)."""

    kind: Literal["videomae"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -2
    """Which hidden state is the feature, as transformers counts them."""


class Vjepa(_VideoEncoder):
    """V-JEPA (Bardes et al., arXiv 2404.08471)."""

    kind: Literal["vjepa"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -1
    """Which hidden state is the feature; -1 is the last block's output after the final norm (Apollo takes that)."""


class Vjepa2(_VideoEncoder):
    """V-JEPA 2 (Assran et al., arXiv 2506.09985)."""

    kind: Literal["vjepa2"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -1
    """Which hidden state is the feature; -1 is the last block's output after the final norm."""


class InternVideo2(_VideoEncoder):
    """InternVideo2, stage 2 (Wang et al., arXiv 2403.15377), without its class token."""

    kind: Literal["internvideo2"]
    frames: int = Field(default=4, ge=1, le=256)
    layer: int = -2
    """Which block's output is the feature; -1 is the last block's."""
    gelu: Literal["exact", "tanh"] = "exact"
    """The MLP's activation: the released demo computes `exact`, training used a fused kernel's `tanh`."""


class CustomEncoder(Part):
    """An encoder of your own: a subclass of `models.encoders.base.VisionEncoder`, named by its import path."""

    kind: Literal["custom"]
    path: str
    """`package.module:Class`; the class is called with `options` as keyword arguments."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    frames: int = Field(default=1, ge=1, le=256)
    """Frames of one clip."""
    grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    """Features of one clip in time, height and width; the encoder built must have the same."""
    width: int = Field(ge=1)
    """Width of its features."""
    params: int = Field(default=0, ge=0)
    """Parameters, for plans alone."""
    revision: int = Field(default=1, ge=1)
    """Raise it when the code or its weights change: it makes a new design of each that uses the encoder."""

    @field_validator("path")
    @classmethod
    def _names_a_class(cls, path: str) -> str:
        module, _, name = path.partition(":")
        if not (name.isidentifier() and all(piece.isidentifier() for piece in module.split("."))):
            raise ValueError(f"{path!r} names no class; write package.module:Class")
        return path

    @model_validator(mode="after")
    def _one_frame_is_one_instant(self) -> CustomEncoder:
        if self.frames < self.grid[0]:
            raise ValueError(f"grid has {self.grid[0]} instants, but a clip {self.frames} frames: set `frames`")
        return self


Encoder = Annotated[
    Siglip
    | Siglip2
    | Clip
    | Dinov2
    | LanguageBindImage
    | LanguageBindVideo
    | VideoMae
    | Vjepa
    | Vjepa2
    | InternVideo2
    | CustomEncoder,
    Field(discriminator="kind"),
]


# --- how features become tokens -----------------------------------------------------------------


class _Tokens(Part):
    """How many tokens a resampler makes: by the frame, or by the second where sampling has a rate."""

    tokens_per_frame: Annotated[int, Field(ge=1)] | None = Field(default=None, json_schema_extra={"short": "tpf"})
    """Tokens that the LLM gets for each frame; a clip of N frames gives N times as many."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = Field(default=None, json_schema_extra={"short": "tps"})
    """Instead: tokens for each second of video, under fps sampling."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.tokens_per_frame is None) == (self.tokens_per_second is None):
            raise ValueError("give either tokens_per_frame or tokens_per_second")
        return self

    def tokens_per_clip(self, clip_frames: int, sampling: Uniform | Fps) -> int:
        """Tokens of a clip of `clip_frames` frames.

        Raises:
            ValueError: tokens by the second do not make a whole number of tokens, or sampling has no rate.
        """
        if self.tokens_per_frame is not None:
            return self.tokens_per_frame * clip_frames
        assert self.tokens_per_second is not None
        if not isinstance(sampling, Fps):
            raise ValueError("tokens_per_second needs sampling of kind fps; give tokens_per_frame")
        tokens = self.tokens_per_second * clip_frames / sampling.fps
        if abs(tokens - round(tokens)) > 1e-6 or tokens < 0.5:
            raise ValueError(
                f"{self.tokens_per_second:g} tokens a second make {tokens:g} tokens a clip of {clip_frames} frames at "
                f"{sampling.fps:g} fps; it must be a whole number of at least 1"
            )
        return round(tokens)


class Perceiver(_Tokens):
    """Learned latents attend to a clip's features (Apollo, Table 1; shapes in models/resamplers.py)."""

    kind: Literal["perceiver"]
    VERSION: ClassVar[int] = 2  # starts with attention of unit variance
    depth: int = Field(default=1, ge=1)
    """Layers."""
    heads: int = Field(default=16, ge=1)
    """Heads of queries."""
    head_dim: int = Field(default=96, ge=1)
    """Width of a head."""
    kv_heads: int = Field(default=4, ge=1)
    """Heads of keys and values; each serves `heads / kv_heads` of queries."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Perceiver:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class MlpPool(_Tokens):
    """Two-layer MLP on each feature, then adaptive average pooling of the clip's grid (Apollo, Table 1)."""

    kind: Literal["mlp_pool"]
    VERSION: ClassVar[int] = 2  # pools the grid in time, height and width


class ConvPool(_Tokens):
    """Two 3x3 convolutions over each instant's grid, then adaptive average pooling (Apollo, Table 1)."""

    kind: Literal["conv_pool"]


Resampler = Annotated[Perceiver | MlpPool | ConvPool, Field(discriminator="kind")]


class Unified(Part):
    """An image is a clip of one instant and takes the video's path (Apollo, Table 8)."""

    kind: Literal["unified"]


class Split(Part):
    """An image has a path of its own: the image encoders alone, and a resampler of its own (Apollo, Table 8)."""

    kind: Literal["split"]
    tokens_per_image: int = Field(ge=1, json_schema_extra={"short": "tpi"})
    """Tokens that the LLM gets for an image."""


ImagePath = Annotated[Unified | Split, Field(discriminator="kind")]


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
    (models/muon.py)."""

    kind: Literal["muon"]
    VERSION: ClassVar[int] = 2  # computes in float32 on a CPU, not in bfloat16
    weight_decay: float = Field(default=0.05, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    warmup: Share = 0.03
    """Share of a stage's steps in which the learning rate rises from 0."""


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


class AssumedData(Part):
    """Data that are not at hand: what a plan reckons with. A sweep needs `tiny` or `manifest`."""

    kind: Literal["assumed"]
    benchmark: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the benchmark in score tables."""
    video_s: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(10.0, 30.0, 60.0, 120.0), min_length=1)
    """Durations of training videos in seconds, equally likely. Assumed."""
    text_tokens: int = Field(default=200, ge=1)
    """Text tokens of a training sample, beside visual ones. Assumed."""
    images: int = Field(default=3, ge=2)
    """Images of a multi-image sample. Assumed."""
    questions: int = Field(default=400, ge=1)
    """Questions of the benchmark."""


Data = Annotated[TinyData | ManifestData | AssumedData, Field(discriminator="kind")]


class Design(Part):
    """One point of the design space. No scale, no seed, no budget."""

    data: Data
    sampling: Sampling
    test_sampling: Sampling | None = None
    """How test videos are sampled, where it differs from training (Apollo, Table 11)."""
    encoders: tuple[Encoder, ...] = Field(min_length=1, max_length=4)
    """Each sees the same clip; their features are joined on channels (models/encoders/combine.py)."""
    resampler: Resampler
    integration: Integration = Integration()
    image_path: ImagePath = Unified(kind="unified")
    mix: Mix | None = None
    """What stages without a mix of their own learn from; with the LLM frozen it is video only (Apollo, Table 12)."""
    schedule: tuple[Stage, ...] = Field(min_length=1)
    optimizer: Optimizer

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Design:
        total = sum(stage.share for stage in self.schedule)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares of the schedule's stages must sum to 1, not {total:g}")
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Design:
        self.resampler.tokens_per_clip(self.clip_frames, self.sampling)
        if isinstance(self.image_path, Split) and not self.image_encoders:
            raise ValueError(
                "image_path: split needs an encoder of images (siglip, clip, dinov2, ...) among `encoders`"
            )
        for stage in self.schedule:
            if self.mix_of(stage).text and not stage.lr.llm:
                raise ValueError(
                    f"stage {stage.name!r} freezes the LLM, and from text nothing else learns: take text out of its mix"
                )
        rate, tested = getattr(self.sampling, "fps", None), self.test_sampling
        if self.resampler.tokens_per_second and tested and getattr(tested, "fps", None) != rate:
            raise ValueError(
                f"tokens_per_second is fixed by training at {rate} fps: let test_sampling have that rate, or give "
                "tokens_per_frame"
            )
        return self

    @property
    def clip_frames(self) -> int:
        """Frames of one clip: those of the encoder that takes most."""
        return max(encoder.frames for encoder in self.encoders)

    @property
    def tokens_per_clip(self) -> int:
        """Tokens that the LLM gets for each clip."""
        return self.resampler.tokens_per_clip(self.clip_frames, self.sampling)

    @property
    def tokens_per_image(self) -> int:
        """Tokens that the LLM gets for each image."""
        return self.image_path.tokens_per_image if isinstance(self.image_path, Split) else self.tokens_per_clip

    @property
    def image_encoders(self) -> list[int]:
        """Places of the encoders that take one frame at a time."""
        return [place for place, encoder in enumerate(self.encoders) if encoder.frames == 1]

    def mix_of(self, stage: Stage) -> Mix:
        """What a stage learns from: its own mix; else the study's rule.

        Raises:
            ValueError: neither the stage nor the design gives a mix.
        """
        if stage.mix is not None:
            return stage.mix
        if stage.lr.llm == 0:
            return VIDEO_ONLY
        if self.mix is None:
            raise ValueError(
                f"stage {stage.name!r} trains the LLM and has no mix: give it one, or give the design `mix`"
            )
        return self.mix


class TrialConfig(Part):
    """Everything that a trial's result may depend on: design x scale x seed x budget."""

    design: Design
    scale: str
    """Size of the LLM by label; models/ladder.py says what it means."""
    llm: str | None = None
    """Weights of the LLM where the label is the user's own: a hub id or a folder."""
    seed: int = Field(ge=0, lt=2**32)
    samples: int = Field(ge=1)
    """Training budget: samples seen over all stages."""
