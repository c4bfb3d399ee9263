"""A design, and the whole config of a trial."""

from __future__ import annotations

from pydantic import Field, model_validator

from models.design.data import Data
from models.design.encoders import Encoder
from models.design.parts import Part
from models.design.resamplers import ImagePath, Integration, Resampler, Split, Unified
from models.design.sampling import Sampling
from models.design.training import VIDEO_ONLY, Lora, Mix, Optimizer, Stage


class Design(Part):
    """One point of the design space, without scale, seed and number of training samples."""

    data: Data
    sampling: Sampling
    test_sampling: Sampling | None = None
    """Sampling of test videos, where it differs from training (Apollo, Table 11)."""
    encoders: tuple[Encoder, ...] = Field(min_length=1, max_length=4)
    """Encoders of the same clip; their features are joined on channels (models/encoders/combine.py)."""
    resampler: Resampler
    integration: Integration = Integration()
    image_path: ImagePath = Unified(kind="unified")
    mix: Mix | None = None
    """Data mix of stages without their own; with the LLM frozen these use video only (Apollo, Table 12)."""
    schedule: tuple[Stage, ...] = Field(min_length=1)
    optimizer: Optimizer
    lora: Lora | None = None
    """Adapters that learn in place of the LLM's own weights; none if omitted."""
    max_length: int | None = Field(default=None, ge=64)
    """Largest number of tokens of a training sample. A longer one loses clips, those that stay being evenly spaced,
    then its last turns; one clip of each video and one turn stay, and no text is cut. Plan and log count what is left
    out. No limit if omitted."""

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
            raise ValueError("image_path: split needs an image encoder (siglip, clip, dinov2, ...) among `encoders`")
        for stage in self.schedule:
            if self.mix_of(stage).text and not stage.lr.llm:
                raise ValueError(
                    f"stage {stage.name!r} freezes the LLM, and text trains nothing else: take text out of its mix"
                )
        rate, in_tests = getattr(self.sampling, "fps", None), self.test_sampling
        if self.resampler.tokens_per_second and in_tests and getattr(in_tests, "fps", None) != rate:
            raise ValueError(
                f"tokens_per_second is fixed by training at {rate} fps: give test_sampling that rate, or give "
                "tokens_per_frame"
            )
        return self

    @model_validator(mode="after")
    def _adapters_learn(self) -> Design:
        if self.lora and not any(stage.lr.llm for stage in self.schedule):
            raise ValueError("lora adapts the LLM, but no stage trains it: give a stage `lr: {llm: ...}`, or drop lora")
        return self

    @property
    def clip_frames(self) -> int:
        """Frames of one clip: the largest number that an encoder takes."""
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
        """Indices of the encoders that take one frame at a time."""
        return [index for index, encoder in enumerate(self.encoders) if encoder.frames == 1]

    def mix_of(self, stage: Stage) -> Mix:
        """The data mix of a stage: its own; otherwise video only with the LLM frozen, else the design's.

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
    """Everything that a trial's result may depend on: design x scale x seed x number of training samples."""

    design: Design
    scale: str
    """Label of the LLM's size (models/ladder.py)."""
    llm: str | None = None
    """Weights of the LLM where the label is the user's: a hub id (`name` or `name@revision`) or a folder."""
    llm_digest: str | None = None
    """Digest of the LLM's folder and its tokenizer, as the `digest` of an encoder; None for a hub id."""
    llm_lr_factor: float | None = Field(default=None, gt=0)
    """Factor of the schedule's learning rates of the LLM at this scale; that of models/ladder.py if omitted."""
    seed: int = Field(ge=0, lt=2**32)
    samples: int = Field(ge=1)
    """Number of training samples over all stages."""
