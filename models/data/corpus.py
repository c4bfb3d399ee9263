"""The corpus of a trial: samples drawn by a stage's mix, their frames sampled, spliced into text and batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.data.batch import Batch, Branch, Row, Sampled, collate
from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN, splice
from models.data.manifest import TestItem, TrainingSample
from models.data.mixing import draw
from models.data.packing import micro_batches
from models.data.template import Prompter
from models.data.visual import VisualReader
from models.design import Design, Sampling, Stage, Uniform
from models.video import Medium, duration, num_clips

CENTRE_FRAME = Uniform(kind="uniform", frames=1)
"""Sampling of the `frame` modality."""


@dataclass(frozen=True)
class Corpus:
    """Training and test data of a trial, sampled and encoded as its design says."""

    prompter: Prompter
    train: Sequence[TrainingSample]
    test: Sequence[TestItem]
    visual: VisualReader
    """Reads the media of both."""

    @property
    def design(self) -> Design:
        """The design of the trial."""
        return self.visual.design

    def batches(
        self, stage: Stage, steps: int, rng: np.random.Generator, max_positions: int
    ) -> Iterator[list[list[Row]]]:
        """Batches of a stage, each as the rows of its micro-batches; all randomness comes from `rng`.

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
        return self.row(training_sample.media, self.design.sampling, branches)

    def test_row(self, item: TestItem, modality: Literal["video", "frame", "text"], branches: list[Branch]) -> Row:
        """A test item's questions after the video, its centre frame, or no media."""
        sampling = self.design.test_sampling or self.design.sampling
        if modality == "text":
            return self.row((), sampling, branches)
        return self.row(item.media, CENTRE_FRAME if modality == "frame" else sampling, branches)

    def row(self, media: tuple[Medium, ...], sampling: Sampling, branches: list[Branch]) -> Row:
        """A row: the visual tokens of the media, then the branches."""
        opening = self.prompter.opening
        if not media:
            return Row(opening, branches)
        design = self.design
        visual: list[int] = []
        sampled: list[Sampled] = []
        for medium in media:
            is_split = self.visual.is_split(medium)
            clips = self.visual.clips(medium, sampling)
            visual += splice(
                clips,
                design.tokens_per_image if is_split else design.tokens_per_clip,
                design.integration,
                self.prompter.encode,
                is_video=medium.kind == "video",
                token=IMAGE_TOKEN if is_split else VIDEO_TOKEN,
            )
            sampled.append(Sampled(medium, tuple(clips)))
        return Row([*opening, *visual], branches, tuple(sampled))

    def collate(self, rows: list[Row]) -> Batch:
        """The rows as a batch, with the frames or features of their media.

        Raises:
            VideoError: a medium cannot be read.
        """
        sampled = [one for row in rows for one in row.visual]
        images = [one for one in sampled if self.visual.is_split(one.medium)]
        clips = [one for one in sampled if not self.visual.is_split(one.medium)]
        return collate(rows, clips=self.visual.read(clips), images=self.visual.read(images))

    def _check_declared(self, samples: list[TrainingSample], rows: list[Row]) -> None:
        """Check that rows have as many clips and visual tokens as the plan computes from the config."""
        for training_sample, row in zip(samples, rows, strict=True):
            if training_sample.kind != "video":
                continue
            duration_s = duration(self.visual.frames.times(training_sample.media[0]))
            declared = num_clips(duration_s, self.design.sampling, self.design.clip_frames)
            tokens = declared * self.design.tokens_per_clip
            observed = (sum(len(one.clips) for one in row.visual), row.prefix.count(VIDEO_TOKEN))
            if observed != (declared, tokens):
                raise ValueError(
                    f"{training_sample.media[0].path}: declared {declared} clips and {tokens} video tokens, "
                    f"observed {observed[0]} and {observed[1]}"
                )
