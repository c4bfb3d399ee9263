"""The corpus of a trial: samples drawn by a stage's mix, their frames sampled, spliced into text and batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.data.batch import Batch, Row, SampledMedium, collate
from models.data.index import ManifestIndex
from models.data.integration import VIDEO_TOKEN
from models.data.letters import without_media
from models.data.manifest import ManifestError, TestItem, TrainingSample
from models.data.packing import Layout, layout_on, micro_batches
from models.data.placed import PlacedMedia
from models.data.stage_batches import StageBatches
from models.data.template import Options, Prompter, leading
from models.data.visual import VisualReader
from models.design import Design, Sampling, Stage, Uniform
from models.video import Medium, duration, num_clips

CENTRE_FRAME = Uniform(kind="uniform", frames=1)
"""Sampling of the `frame` modality."""
Modality = Literal["video", "frame", "text"]
"""Input of the model: the question with the sampled video, with its centre frame, or alone."""


@dataclass(frozen=True)
class ScoredRow:
    """A row whose targets are the options of some questions of a test item."""

    row: Row
    questions: tuple[tuple[int, tuple[int, ...]], ...]
    """Index of each question in its item, and the number of targets of each of its options."""

    def with_question(self, number: int, options: Options, sampled: tuple[SampledMedium, ...]) -> ScoredRow:
        """The row with one more question, and the media that stand in it."""
        row = Row(self.row.prefix, [*self.row.branches, *options.branches], (*self.row.visual, *sampled))
        return ScoredRow(row, (*self.questions, (number, options.num_tokens)))


@dataclass(frozen=True)
class Corpus:
    """Training and test data of a trial, sampled and encoded as its design says."""

    prompter: Prompter
    train: Sequence[TrainingSample]
    test: Sequence[TestItem]
    visual: VisualReader
    """Reads the media of both."""
    layout: Layout | None = None
    """How the rows of a micro-batch are laid out, see `on`; None is `rows`."""

    def on(self, device_type: str) -> Corpus:
        """The same data, laid out for a device unless a layout is set: the results differ by rounding only."""
        return self if self.layout else replace(self, layout=layout_on(device_type))

    @property
    def design(self) -> Design:
        """The design of the trial."""
        return self.visual.design

    def check(self) -> None:
        """Refuse records and questions that the prompts cannot show, before any training.

        Raises:
            ManifestError: more options than letters, options of the same tokens, or a system message that the chat
                template does not take.
        """
        for position in _doubtful(self.train):
            self.prompter.check(self.train[position])
        for item in self.test:
            for question in item.questions:
                try:
                    self.prompter.option_branches(question, without_media(question.question), lambda _: [])
                except ManifestError as error:
                    raise ManifestError(f"test item {item.id}: {error}") from None

    def batches(self, stage: Stage, steps: int, rng: np.random.Generator, max_positions: int) -> StageBatches:
        """The batches of a stage, see `StageBatches`."""
        return StageBatches(self, stage, steps, rng, max_positions)

    def training_row(self, training_sample: TrainingSample, max_questions: int | None, rng: np.random.Generator) -> Row:
        """A training sample with at most `max_questions` of its turns, with all if None.

        Independent turns are drawn at random; of a dialogue the first are taken. A row that is longer than `max_length`
        of the design loses clips, those that stay being evenly spaced, then its last turns; one clip of each medium
        and one turn always stay.
        """
        if training_sample.independent:
            turns = rng.permutation(len(training_sample.turns))[:max_questions].tolist()
        else:
            turns = list(range(len(training_sample.turns)))[:max_questions]
        row = self._row(training_sample, turns)
        most = self.design.max_length
        return row if most is None or row.length <= most else self._shortened(training_sample, turns, row, most)

    def _row(self, training_sample: TrainingSample, turns: list[int], max_clips: int | None = None) -> Row:
        """The row of some turns, with at most `max_clips` clips of each medium."""
        media = self._placed(training_sample.media, self.design.sampling, max_clips)
        prefix = [*self.prompter.opening_ids(training_sample)]
        for index in leading(training_sample.turns[0].question):
            prefix += media(index)
        branches = self.prompter.training_branches(training_sample, turns, media)
        return Row(prefix, branches, tuple(media.sampled))

    def _shortened(self, training_sample: TrainingSample, turns: list[int], row: Row, max_length: int) -> Row:
        """A row of at most `max_length` positions, or the shortest."""
        clips = largest(
            max((len(one.clips) for one in row.visual), default=1),
            lambda clips: self._row(training_sample, turns, clips).length <= max_length,
        )
        number = largest(len(turns), lambda n: self._row(training_sample, turns[:n], clips).length <= max_length)
        short = self._row(training_sample, turns[:number], clips)
        before, after = (sum(len(one.clips) for one in each.visual) for each in (row, short))
        return replace(short, lost_clips=before - after, lost_turns=len(turns) - number)

    def scored_rows(self, item: TestItem, modality: Modality, max_positions: int) -> list[ScoredRow]:
        """A test item's questions after the video, its centre frame, or no media, in as few rows as hold them.

        Media that all questions start with stand in the prefix; all others in the branch of their question.

        Args:
            item: the item.
            modality: what the model gets of the media.
            max_positions: number of positions of a row; a single question may take more.
        """
        sampling = CENTRE_FRAME if modality == "frame" else self.design.test_sampling or self.design.sampling
        texts = [without_media(q.question) if modality == "text" else q.question for q in item.questions]
        starts = {leading(text) for text in texts}
        shared = starts.pop() if len(starts) == 1 else ()
        prefix, in_prefix = [*self.prompter.opening], self._placed(item.media, sampling)
        for index in shared:
            prefix += in_prefix(index)
        rows: list[ScoredRow] = []
        for number, (question, text) in enumerate(zip(item.questions, texts, strict=True)):
            media = self._placed(item.media, sampling)
            options = self.prompter.option_branches(question, text[len(shared) :], media)
            length = sum(len(branch.ids) for branch in options.branches)
            if not rows or rows[-1].row.length + length > max_positions:
                rows.append(ScoredRow(Row(prefix, [], tuple(in_prefix.sampled)), ()))
            rows[-1] = rows[-1].with_question(number, options, tuple(media.sampled))
        return rows

    def _placed(self, media: tuple[Medium, ...], sampling: Sampling, max_clips: int | None = None) -> PlacedMedia:
        return PlacedMedia(self.visual, self.prompter.encode, media, sampling, max_clips)

    def micro_batches(self, rows: list[Row], max_positions: int) -> list[list[Row]]:
        """The rows of each micro-batch of at most `max_positions`, as the layout wants them, see `packing`."""
        return micro_batches(rows, max_positions, layout=self.layout or "rows")

    def collate(self, rows: list[Row]) -> Batch:
        """The rows as a batch, with the frames or features of their media.

        Raises:
            VideoError: a medium cannot be read.
        """
        sampled = [one for row in rows for one in row.visual]
        images = [one for one in sampled if self.visual.is_split(one.medium)]
        clips = [one for one in sampled if not self.visual.is_split(one.medium)]
        return collate(
            rows, clips=self.visual.read(clips), images=self.visual.read(images), layout=self.layout or "rows"
        )

    def check_declared(self, samples: list[TrainingSample], rows: list[Row]) -> None:
        """Check that rows have as many clips and visual tokens as the plan computes from the config.

        Media in turns that `max_questions` leaves out are in no row; rows that lost clips to `max_length` are skipped.

        Raises:
            ValueError: they have not; the message names the medium.
        """
        for training_sample, row in zip(samples, rows, strict=True):
            if training_sample.kind != "video" or row.lost_clips:
                continue
            durations = [duration(self.visual.frames.times(one.medium)) for one in row.visual]
            declared = sum(num_clips(one, self.design.sampling, self.design.clip_frames) for one in durations)
            tokens = declared * self.design.tokens_per_clip
            observed = (sum(len(one.clips) for one in row.visual), row.count(VIDEO_TOKEN))
            if observed != (declared, tokens):
                paths = ", ".join(one.medium.path for one in row.visual)
                raise ValueError(
                    f"{paths}: declared {declared} clips and {tokens} video tokens, "
                    f"observed {observed[0]} and {observed[1]}"
                )


def largest(most: int, is_allowed: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that is allowed, by bisection; 1 if none is."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_allowed(middle) else (low, middle - 1)
    return low


def _doubtful(samples: Sequence[TrainingSample]) -> Sequence[int]:
    """Positions of the samples that prompts may be unable to show.

    Of a manifest these are only those with a system message: its parser refuses too many options. So a large index
    need not be parsed.
    """
    if isinstance(samples, ManifestIndex):
        positions: list[int] = np.flatnonzero(samples.column("system")).tolist()
        return positions
    return range(len(samples))
