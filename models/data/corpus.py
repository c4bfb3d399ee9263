"""The corpus of a trial: samples drawn by a stage's mix, their frames sampled, spliced into text and batched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from models.data.batch import Arrays, Batch, Branch, Row
from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN, splice
from models.data.manifest import Kind, TestItem, TrainingSample
from models.data.mixing import draw
from models.data.packing import micro_batches
from models.data.template import Prompter
from models.design import Design, Sampling, Split, Stage, Uniform
from models.encoders import CombinedEncoder, pad_rgb
from models.video import Clip, Source, duration, image_clip, num_clips, sample, spread, square

CENTRE_FRAME = Uniform(kind="uniform", frames=1)
"""Sampling of the `frame` modality."""


@dataclass(frozen=True)
class Corpus:
    """Training and test data of a trial, sampled and encoded as its design says."""

    design: Design
    encoder: CombinedEncoder
    prompter: Prompter
    train: list[TrainingSample]
    test: list[TestItem]
    frames: Source
    """Frames of all media."""
    features: Mapping[int, Source] = field(default_factory=dict)
    """Index of a frozen encoder of images -> its stored features of all frames."""

    def batches(self, stage: Stage, steps: int, rng: np.random.Generator, max_positions: int) -> Iterator[list[Batch]]:
        """Batches of a stage, each as a list of micro-batches; all randomness comes from `rng`.

        Args:
            stage: mix, batch size and maximum number of questions per sample.
            steps: number of batches.
            rng: draws samples, and questions of each.
            max_positions: number of positions of a micro-batch, see `micro_batches`.

        Raises:
            ManifestError: the mix has a share of a kind of sample that the data do not contain.
            ValueError: the first batch has other clips or visual tokens than the config declares.
        """
        drawn = draw(self.train, self.design.mix_of(stage), steps * stage.batch, rng)
        for step in range(steps):
            samples = [next(drawn) for _ in range(stage.batch)]
            rows = [self.training_row(one, stage.max_questions, rng) for one in samples]
            if step == 0:
                self._check_declared(samples, rows)
            yield micro_batches(rows, max_positions)

    def training_row(self, training_sample: TrainingSample, max_questions: int, rng: np.random.Generator) -> Row:
        """A training sample with at most `max_questions` of its turns, drawn at random if they are independent."""
        if training_sample.independent:
            turns = rng.permutation(len(training_sample.turns))[:max_questions].tolist()
        else:
            turns = list(range(min(max_questions, len(training_sample.turns))))
        branches = self.prompter.training_branches(training_sample, turns)
        return self.row(training_sample.kind, training_sample.media, self.design.sampling, branches)

    def test_row(self, item: TestItem, modality: Literal["video", "frame", "text"], branches: list[Branch]) -> Row:
        """A test item's questions after the video, its centre frame, or no media."""
        sampling = self.design.test_sampling or self.design.sampling
        if modality == "text":
            return self.row("text", (), sampling, branches)
        return self.row(item.kind, item.media, CENTRE_FRAME if modality == "frame" else sampling, branches)

    def row(self, kind: Kind, media: tuple[str, ...], sampling: Sampling, branches: list[Branch]) -> Row:
        """A row: the visual tokens of the media, then the branches."""
        opening = self.prompter.opening
        if kind == "text":
            return Row(opening, branches, None)
        design, is_video = self.design, kind == "video"
        is_split = isinstance(design.image_path, Split) and not is_video
        tokens = design.tokens_per_image if is_split else design.tokens_per_clip
        visual: list[int] = []
        arrays: list[Arrays] = []
        for path in media:
            clips = self._clips(path, sampling) if is_video else [image_clip(1 if is_split else design.clip_frames)]
            visual += splice(
                clips,
                tokens,
                design.integration,
                self.prompter.encode,
                is_video=is_video,
                token=IMAGE_TOKEN if is_split else VIDEO_TOKEN,
            )
            encoders = design.image_encoders if is_split else range(len(design.encoders))
            arrays.append(self._arrays(path, clips, encoders, is_split=is_split))
        by_encoder = tuple(np.concatenate(same) for same in zip(*arrays, strict=True))
        prefix = [*opening, *visual]
        return Row(prefix, branches, None, images=by_encoder) if is_split else Row(prefix, branches, by_encoder)

    def _clips(self, path: str, sampling: Sampling) -> list[Clip]:
        return sample(self.frames.times(path), sampling, self.design.clip_frames)

    def _arrays(self, path: str, clips: list[Clip], encoders: Sequence[int], *, is_split: bool) -> Arrays:
        """The clips for each encoder of these indices; `is_split`: single images on a separate image path."""
        return tuple(self._array(i, path, clips, 1 if is_split else self.encoder.takes(i)) for i in encoders)

    def _array(self, encoder: int, path: str, clips: list[Clip], takes: int) -> np.ndarray:
        """Features or frames of the clips for one encoder, `takes` frames each: (C, takes, ...)."""
        frames = [clip.frames[i] for clip in clips for i in spread(len(clip.frames), takes)]
        if encoder in self.features:
            rows = self.features[encoder].read(path, frames)
        else:
            rows = square(self.frames.read(path, frames), pad_rgb(self.encoder.encoders[encoder].normalisation))
        return rows.reshape(len(clips), takes, *rows.shape[1:])

    def _check_declared(self, samples: list[TrainingSample], rows: list[Row]) -> None:
        """Check that rows have as many clips and visual tokens as the plan computes from the config."""
        for training_sample, row in zip(samples, rows, strict=True):
            if training_sample.kind != "video" or row.clips is None:
                continue
            duration_s = duration(self.frames.times(training_sample.media[0]))
            declared = num_clips(duration_s, self.design.sampling, self.design.clip_frames)
            tokens = declared * self.design.tokens_per_clip
            observed = (len(row.clips[0]), row.prefix.count(VIDEO_TOKEN))
            if observed != (declared, tokens):
                raise ValueError(
                    f"{training_sample.media[0]}: declared {declared} clips and {tokens} video tokens, "
                    f"observed {observed[0]} and {observed[1]}"
                )
