"""What a trial trains on and is tested on: records drawn by a stage's mix, sampled, spliced and batched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from models.data.batch import Arrays, Batch, Branch, Row
from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN, splice
from models.data.manifest import Kind, Record, TestItem
from models.data.mixing import draw
from models.data.packing import micro_batches
from models.data.template import Prompter
from models.design import Design, Sampling, Split, Stage, Uniform
from models.encoders import CombinedEncoder, pad_rgb
from models.video import Clip, Source, duration, image_clip, num_clips, sample, spread, square

CENTRE_FRAME = Uniform(kind="uniform", frames=1)


@dataclass(frozen=True)
class Corpus:
    """The data of a trial as its design sees it."""

    design: Design
    encoder: CombinedEncoder
    prompter: Prompter
    train: list[Record]
    test: list[TestItem]
    frames: Source
    """Frames of all media."""
    features: Mapping[int, Source] = field(default_factory=dict)
    """Place of an encoder of images that stays frozen -> its stored features of all frames."""

    def batches(self, stage: Stage, steps: int, rng: np.random.Generator, places: int) -> Iterator[list[Batch]]:
        """Batches of a stage, as its mix says, each in micro-batches; all randomness comes from `rng`.

        Args:
            stage: what is drawn, and how much for a step.
            steps: how many batches.
            rng: draws records, and questions of each.
            places: of a micro-batch, see `micro_batches`.

        Raises:
            ManifestError: the mix asks for a kind of sample that the data has not.
        """
        drawn = draw(self.train, self.design.mix_of(stage), steps * stage.batch, rng)
        for step in range(steps):
            records = [next(drawn) for _ in range(stage.batch)]
            rows = [self._trained(record, stage.max_questions, rng) for record in records]
            if step == 0:
                self._check_declared(records, rows)
            yield micro_batches(rows, places)

    def _trained(self, record: Record, max_questions: int, rng: np.random.Generator) -> Row:
        if record.independent:
            chosen = rng.permutation(len(record.turns))[:max_questions].tolist()
        else:
            chosen = list(range(min(max_questions, len(record.turns))))
        branches = self.prompter.training_branches(record, chosen)
        return self.row(record.kind, record.media, self.design.sampling, branches)

    def tested(self, item: TestItem, modality: Literal["video", "frame", "text"], branches: list[Branch]) -> Row:
        """A test item's questions after the video, its centre frame, or nothing."""
        sampling = self.design.test_sampling or self.design.sampling
        if modality == "text":
            return self.row("text", (), sampling, branches)
        return self.row(item.kind, item.media, CENTRE_FRAME if modality == "frame" else sampling, branches)

    def row(self, kind: Kind, media: tuple[str, ...], sampling: Sampling, branches: list[Branch]) -> Row:
        """A sequence: what the media show, then the branches."""
        opening = self.prompter.opening
        if kind == "text":
            return Row(opening, branches, None)
        design, is_video = self.design, kind == "video"
        is_split = isinstance(design.image_path, Split) and not is_video
        tokens = design.tokens_per_image if is_split else design.tokens_per_clip
        visual: list[int] = []
        seen: list[Arrays] = []
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
            places = design.image_encoders if is_split else range(len(design.encoders))
            seen.append(self._seen(path, clips, places, alone=is_split))
        shown = tuple(np.concatenate(same) for same in zip(*seen, strict=True))
        prefix = [*opening, *visual]
        return Row(prefix, branches, None, images=shown) if is_split else Row(prefix, branches, shown)

    def _clips(self, path: str, sampling: Sampling) -> list[Clip]:
        return sample(self.frames.times(path), sampling, self.design.clip_frames)

    def _seen(self, path: str, clips: list[Clip], places: Sequence[int], *, alone: bool) -> Arrays:
        """The clips as each encoder at `places` takes them; `alone`: single images that have a path of their own."""
        return tuple(self._seen_by(place, path, clips, 1 if alone else self.encoder.takes(place)) for place in places)

    def _seen_by(self, place: int, path: str, clips: list[Clip], takes: int) -> np.ndarray:
        wanted = [clip.frames[i] for clip in clips for i in spread(len(clip.frames), takes)]
        if place in self.features:
            rows = self.features[place].read(path, wanted)
        else:
            rows = square(self.frames.read(path, wanted), pad_rgb(self.encoder.encoders[place].normalisation))
        return rows.reshape(len(clips), takes, *rows.shape[1:])

    def _check_declared(self, records: list[Record], rows: list[Row]) -> None:
        """What a config declares is what runs: clips and tokens as the plan's formula has them."""
        for record, row in zip(records, rows, strict=True):
            if record.kind != "video" or row.clips is None:
                continue
            duration_s = duration(self.frames.times(record.media[0]))
            declared = num_clips(duration_s, self.design.sampling, self.design.clip_frames)
            tokens = declared * self.design.tokens_per_clip
            seen = (len(row.clips[0]), row.prefix.count(VIDEO_TOKEN))
            if seen != (declared, tokens):
                raise ValueError(
                    f"{record.media[0]}: declared {declared} clips and {tokens} video tokens, "
                    f"observed {seen[0]} and {seen[1]}"
                )
