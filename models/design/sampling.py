"""Sampling: which frames of a video are used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.design.parts import Part


class Uniform(Part):
    """A fixed number of frames, evenly spaced over the video whatever its length."""

    kind: Literal["uniform"]
    frames: int = Field(ge=1, le=4096)
    """Number of frames per video."""


class Fps(Part):
    """A constant rate: clips of the encoder's length, consecutive until `max_clips` are reached,
    then evenly spaced with the rate inside a clip unchanged (Apollo, section 4.1)."""

    kind: Literal["fps"]
    fps: float = Field(gt=0, le=240)
    """Frames per second of video."""
    max_clips: int = Field(default=200, ge=1)
    """Largest number of clips of one video (Apollo, Table 7: 25 in alignment, 150-200 in fine-tuning)."""


Sampling = Annotated[Uniform | Fps, Field(discriminator="kind")]
