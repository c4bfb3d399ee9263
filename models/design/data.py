"""What a trial learns from and is tested on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.design.parts import Part

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
