"""Data that a trial is trained and tested on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from models.design.parts import Part, Share

_PERCENT = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?%")
_MAX_BAD_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}],
}

Scoring = Literal["letters", "text"]
"""How an option is scored: `letters` shows all options with letters and scores each letter, `text` scores the option's
own text with the end of the turn."""
Reduce = Literal["sum", "mean"]
"""Which log-likelihood of an option's text decides: summed over its tokens, or their mean."""


DEFAULT_INSTRUCTION = "Answer with the option's letter from the given choices directly."
"""The line after the options that LLaVA and lmms-eval write."""


class TinyData(Part):
    """Data of the embedded study: rendered videos with questions (models/tiny; docs/tiny-study.md).

    `VERSION` is raised when the code changes the world of a seed, or how its questions are scored.
    """

    VERSION: ClassVar[int] = 2  # the end of an answer is scored; `<vid_start>` and `<vid_end>` are the connector's

    kind: Literal["tiny"]
    train_videos: int = Field(default=1500, ge=1)
    test_videos: int = Field(default=300, ge=1)
    world_seed: int = Field(default=1, ge=0)
    """Seed of the world: other seeds give other videos and other questions. The recipe was tuned on seed 0."""

    benchmark: ClassVar[str] = "tinybench"
    scoring: ClassVar[Scoring] = "text"
    reduce: ClassVar[Reduce] = "sum"
    instruction: ClassVar[str] = ""
    categories: ClassVar[tuple[str, ...]] = ("egocentric", "ocr", "perception", "reasoning", "spatial")


class ManifestData(Part):
    """Your own data: LLaVA-style JSON for training, multiple-choice questions for testing (docs/data.md)."""

    VERSION: ClassVar[int] = 2  # questions list their options with letters; media keep their places; BOS of base LLMs
    kind: Literal["manifest"]
    benchmark: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the benchmark in score tables."""
    folder: str
    """Folder with `train.json`, `test.json` and the media, which these name by relative path."""
    digest: str = ""
    """Digest of the two JSON files, filled in when a spec is expanded: identity follows content, not path."""
    scoring: Scoring = "letters"
    """How options are scored: by their letters, after a list of all options, or by their own text."""
    reduce: Reduce = "sum"
    """With `scoring: text`, whether the sum over an option's tokens decides or their mean."""
    instruction: str = DEFAULT_INSTRUCTION
    """With `scoring: letters`, the line after the list of options (that of LLaVA and lmms-eval); no line if empty."""
    max_side: int | None = Field(default=720, ge=16)
    """Pixels of the longer side at which frames are read: larger ones are scaled down, and every encoder resizes from
    there. `null` reads frames as they are."""
    max_bad: Annotated[Share, WithJsonSchema(_MAX_BAD_SCHEMA)] = 0.0
    """Largest share of the training samples, and of the test items, with unreadable media that trials may skip: `0.5%`
    or 0.005 (docs/data.md)."""
    skipped: str = ""
    """Digest of the list of skipped records, filled in when a spec is expanded; empty if none is skipped."""

    @model_validator(mode="before")
    @classmethod
    def _read_percent(cls, data: Any) -> Any:
        """`max_bad` may be written as a percentage, which YAML reads as text."""
        text = data.get("max_bad") if isinstance(data, Mapping) else None
        if not isinstance(text, str):
            return data
        if (match := _PERCENT.fullmatch(text)) is None:
            raise ValueError(f"max_bad must be a percentage such as 0.5% or a share such as 0.005, not {text!r}")
        return {**data, "max_bad": float(Decimal(match[1]) / 100)}

    @model_validator(mode="after")
    def _refuse_keys_without_effect(self) -> Self:
        if self.scoring == "letters" and self.reduce != "sum":
            raise ValueError("`reduce: mean` needs `scoring: text`: a letter has one score, which nothing reduces")
        if self.scoring == "text" and self.instruction not in ("", DEFAULT_INSTRUCTION):
            raise ValueError("`instruction` needs `scoring: letters`: with `text` neither options nor it are shown")
        return self


class AssumedData(Part):
    """Data that are not available, assumed for a plan. A sweep needs `tiny` or `manifest`."""

    kind: Literal["assumed"]
    benchmark: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the benchmark in score tables."""
    video_s: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(10.0, 30.0, 60.0, 120.0), min_length=1)
    """Durations of training videos in seconds, equally likely. Assumed."""
    text_tokens: int = Field(default=200, ge=1)
    """Text tokens of a training sample, in addition to visual tokens. Assumed."""
    images: int = Field(default=3, ge=2)
    """Number of images of a multi-image sample. Assumed."""
    questions: int = Field(default=400, ge=1)
    """Number of questions in the benchmark."""


Data = Annotated[TinyData | ManifestData | AssumedData, Field(discriminator="kind")]
