"""Resamplers, which turn features into visual tokens, and the integration of these tokens into text."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.design.parts import Part
from models.design.sampling import Fps, Uniform


class _Tokens(Part):
    """Number of tokens that a resampler makes, for each frame, or for each second under fps sampling."""

    tokens_per_frame: Annotated[int, Field(ge=1)] | None = Field(default=None, json_schema_extra={"short": "tpf"})
    """Tokens that the LLM gets for each frame; a clip of N frames has N times as many."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = Field(default=None, json_schema_extra={"short": "tps"})
    """Tokens for each second of video instead, under fps sampling."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.tokens_per_frame is None) == (self.tokens_per_second is None):
            raise ValueError("give either tokens_per_frame or tokens_per_second")
        return self

    def tokens_per_clip(self, clip_frames: int, sampling: Uniform | Fps) -> int:
        """Number of tokens of a clip of `clip_frames` frames.

        Raises:
            ValueError: `tokens_per_second` does not make a whole number of tokens, or sampling has no rate.
        """
        if self.tokens_per_frame is not None:
            return self.tokens_per_frame * clip_frames
        assert self.tokens_per_second is not None
        if not isinstance(sampling, Fps):
            raise ValueError("tokens_per_second needs sampling of kind fps; give tokens_per_frame")
        tokens = self.tokens_per_second * clip_frames / sampling.fps
        if abs(tokens - round(tokens)) > 1e-6 or tokens < 0.5:
            raise ValueError(
                f"{self.tokens_per_second:g} tokens per second make {tokens:g} tokens for a clip of {clip_frames} "
                f"frames at {sampling.fps:g} fps; this must be a whole number of at least 1"
            )
        return round(tokens)


class Perceiver(_Tokens):
    """Learned latents attend to a clip's features (Apollo, Table 1; shapes in models/architecture/resamplers.py)."""

    kind: Literal["perceiver"]
    VERSION: ClassVar[int] = 2  # attention is initialised to unit variance
    depth: int = Field(default=1, ge=1)
    """Number of layers."""
    heads: int = Field(default=16, ge=1)
    """Number of heads of queries."""
    head_dim: int = Field(default=96, ge=1)
    """Width of a head."""
    kv_heads: int = Field(default=4, ge=1)
    """Number of heads of keys and values; each is shared by `heads / kv_heads` heads of queries."""

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
    """An image is a clip of one instant and takes the video path (Apollo, Table 8)."""

    kind: Literal["unified"]


class Split(Part):
    """An image has its own path: the image encoders alone, and a second resampler (Apollo, Table 8)."""

    kind: Literal["split"]
    tokens_per_image: int = Field(ge=1, json_schema_extra={"short": "tpi"})
    """Tokens that the LLM gets for an image."""


ImagePath = Annotated[Unified | Split, Field(discriminator="kind")]


class Integration(Part):
    """Text around the tokens of each clip; the two switches give the four forms of Apollo, Table 2."""

    separators: bool = False
    """Whether `<vid_start>` stands before and `<vid_end>` after the tokens of each clip: two embeddings that belong
    to the connector and learn with it."""
    timestamps: bool = False
    """Whether `clip from {MM:SS}-{MM:SS}:` stands before the tokens of each clip of a video."""
