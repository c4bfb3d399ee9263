"""What a trial trains on and is tested on: records drawn by a stage's mix, sampled, spliced and batched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.design import Design, Mix, Sampling, Stage, Uniform
from models.frames import Clip, duration, image_clip, num_clips, sample
from models.integration import VIDEO_TOKEN, splice
from models.manifest import Kind, ManifestError, Record, TestItem
from models.media import Source
from models.prompt import Branch, Prompter, Sequence, collate
from models.video_lmm import Batch

CENTRE_FRAME = Uniform(kind="uniform", frames=1)


@dataclass(frozen=True)
class Corpus:
    """The data of a trial as its design sees it."""

    design: Design
    prompter: Prompter
    train: list[Record]
    test: list[TestItem]
    source: Source
    """Features where the encoder is frozen throughout and they are stored; else frames."""

    @property
    def clip_frames(self) -> int:
        """Frames of one clip, set by the encoder."""
        return self.design.encoders[0].clip_frames

    def batches(self, stage: Stage, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of a stage, as its mix says; all randomness comes from `rng`.

        Raises:
            ManifestError: the mix asks for a kind of sample that the data has not.
        """
        drawn = draw(self.train, stage.mix, steps * stage.batch, rng)
        for step in range(steps):
            records = [next(drawn) for _ in range(stage.batch)]
            sequences = [self._trained(record, stage.max_questions, rng) for record in records]
            if step == 0:
                self._check_declared(records, sequences)
            yield collate(sequences)

    def _trained(self, record: Record, max_questions: int, rng: np.random.Generator) -> Sequence:
        if record.independent:
            chosen = rng.permutation(len(record.turns))[:max_questions].tolist()
        else:
            chosen = list(range(min(max_questions, len(record.turns))))
        branches = self.prompter.training_branches(record, chosen)
        return self._sequence(record.kind, record.media, self.design.sampling, branches)

    def tested(self, item: TestItem, modality: Literal["video", "frame", "text"], branches: list[Branch]) -> Sequence:
        """A test item's questions after the video, its centre frame, or nothing."""
        if modality == "text":
            return self._sequence("text", "", self.design.sampling, branches)
        sampling = CENTRE_FRAME if modality == "frame" else self.design.sampling
        return self._sequence(item.kind, item.media, sampling, branches)

    def _sequence(self, kind: Kind, media: str, sampling: Sampling, branches: list[Branch]) -> Sequence:
        if kind == "text":
            return Sequence(self.prompter.opening, branches, None)
        clips = self._clips(kind, media, sampling)
        design = self.design
        visual = splice(
            clips, self._tokens_per_clip, design.integration, self.prompter.encode, is_video=kind == "video"
        )
        rows = self.source.read(media, [frame for clip in clips for frame in clip.frames])
        stacked = rows.reshape(len(clips), self.clip_frames, *rows.shape[1:])
        return Sequence([*self.prompter.opening, *visual], branches, stacked)

    @property
    def _tokens_per_clip(self) -> int:
        return self.design.resampler.tokens_per_frame * self.clip_frames

    def _clips(self, kind: Kind, media: str, sampling: Sampling) -> list[Clip]:
        if kind == "image":
            return [image_clip(self.clip_frames)]
        return sample(self.source.times(media), sampling, self.clip_frames)

    def _check_declared(self, records: list[Record], sequences: list[Sequence]) -> None:
        """What a config declares is what runs: clips and tokens as the plan's formula has them."""
        for record, sequence in zip(records, sequences, strict=True):
            if record.kind != "video" or sequence.clips is None:
                continue
            declared = num_clips(duration(self.source.times(record.media)), self.design.sampling, self.clip_frames)
            tokens = declared * self._tokens_per_clip
            seen = (len(sequence.clips), sequence.prefix.count(VIDEO_TOKEN))
            if seen != (declared, tokens):
                raise ValueError(
                    f"{record.media}: declared {declared} clips and {tokens} video tokens, "
                    f"observed {seen[0]} and {seen[1]}"
                )


def draw(records: list[Record], mix: Mix, count: int, rng: np.random.Generator) -> Iterator[Record]:
    """`count` records in the mix's exact proportions, in random order; each kind is gone through before it repeats.

    Raises:
        ManifestError: a kind with a share has no record.
    """
    shares = {kind: getattr(mix, kind) for kind in ("text", "image", "video")}
    decks = {kind: [r for r in records if r.kind == kind] for kind in shares}
    for kind, share in shares.items():
        if share > 0 and not decks[kind]:
            raise ManifestError(f"the mix asks for {share:.0%} {kind}, but train.json has no {kind} record")
    counts = np.floor(np.array(list(shares.values())) * count).astype(int)
    counts[int(np.argmax(counts))] += count - counts.sum()
    order = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    streams = [_endless(deck, rng) for deck in decks.values()]
    return (next(streams[kind]) for kind in order)


def _endless(deck: list[Record], rng: np.random.Generator) -> Iterator[Record]:
    while True:
        yield from (deck[i] for i in rng.permutation(len(deck)))
