"""The visual input of rows: each frame of their media read once, as frames or stored features for each encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch

from models.data.batch import SampledMedium
from models.design import Design, Sampling, Split
from models.encoders import CombinedEncoder, EncoderInput, Visual
from models.video import Clip, Medium, Source, image_clip, sample, spread

Unit = tuple[Medium, tuple[int, ...]]
"""What an encoder takes at once: frames of one medium."""


@dataclass(frozen=True)
class VisualReader:
    """Samples media as a design says, and reads their frames or features for each encoder.

    What an encoder sees of a medium does not depend on the other encoders: frames are read at the size that belongs to
    the data, and each encoder resizes them from there.
    """

    design: Design
    encoder: CombinedEncoder
    frames: Source
    """Frames of all media."""
    features: Mapping[int, Source] = field(default_factory=dict)
    """Index of a frozen encoder of images -> its stored features of all frames."""

    def is_split(self, medium: Medium) -> bool:
        """Whether a medium takes the separate path of images."""
        return medium.kind == "image" and isinstance(self.design.image_path, Split)

    def clips(self, medium: Medium, sampling: Sampling) -> list[Clip]:
        """The clips of a medium; an image is one clip."""
        if medium.kind == "image":
            return [image_clip(1 if self.is_split(medium) else self.design.clip_frames)]
        return sample(self.frames.times(medium), sampling, self.design.clip_frames)

    def read(self, media: Sequence[SampledMedium]) -> Visual | None:
        """All clips of media of one path for each encoder that takes them; None without media.

        Raises:
            VideoError: a medium cannot be read.
        """
        if not media:
            return None
        is_split = self.is_split(media[0].medium)
        encoders: Sequence[int] = self.design.image_encoders if is_split else range(len(self.design.encoders))
        units = {i: self._units(i, media, is_split=is_split) for i in encoders}
        frames = _Frames(self.frames, [unit for i in encoders if i not in self.features for unit in chain(*units[i])])
        inputs = (
            _stored(self.features[i], units[i]) if i in self.features else frames.input(units[i]) for i in encoders
        )
        return Visual(tuple(frames.arrays.values()), tuple(inputs))

    def _units(self, encoder: int, media: Sequence[SampledMedium], *, is_split: bool) -> list[list[Unit]]:
        """The units of each clip for one encoder: the clip, or a frame for each instant of the grid."""
        takes = 1 if is_split else self.encoder.takes(encoder)
        is_image_encoder = self.encoder.encoders[encoder].frames == 1
        units_by_clip: list[list[Unit]] = []
        for one in media:
            for clip in one.clips:
                frames = tuple(int(clip.frames[i]) for i in spread(len(clip.frames), takes))
                units = [(frame,) for frame in frames] if is_image_encoder else [frames]
                units_by_clip.append([(one.medium, unit) for unit in units])
        return units_by_clip


class _Frames:
    """The frames of units, each read once, in one array for each size."""

    def __init__(self, source: Source, units: Iterable[Unit]) -> None:
        indices: dict[Medium, set[int]] = {}
        for medium, frames in units:
            indices.setdefault(medium, set()).update(frames)
        arrays: dict[tuple[int, int], list[np.ndarray]] = {}
        self.sizes: dict[Medium, tuple[int, int]] = {}
        """Height and width of a medium's frames."""
        self.rows: dict[Medium, dict[int, int]] = {}
        """Frame of a medium -> its row among those of its size."""
        for medium, chosen in indices.items():
            rising = sorted(chosen)
            read = source.read(medium, rising)
            size = (read.shape[1], read.shape[2])
            same = arrays.setdefault(size, [])
            first = sum(len(array) for array in same)
            self.sizes[medium] = size
            self.rows[medium] = {frame: first + row for row, frame in enumerate(rising)}
            same.append(read)
        self.arrays = {size: torch.from_numpy(np.concatenate(same)) for size, same in arrays.items()}
        """Height and width -> uint8 frames (F, height, width, 3)."""

    def input(self, units_by_clip: Sequence[Sequence[Unit]]) -> EncoderInput:
        """An encoder's input from the units of each clip."""
        by_size: dict[tuple[int, int], dict[Unit, list[int]]] = {size: {} for size in self.arrays}
        for medium, frames in chain(*units_by_clip):
            rows = self.rows[medium]
            by_size[self.sizes[medium]][medium, frames] = [rows[frame] for frame in frames]
        width = len(units_by_clip[0][0][1])
        return EncoderInput.of(
            tuple(torch.tensor(list(units.values()), dtype=torch.int64).view(-1, width) for units in by_size.values()),
            features=None,
            units_CM=_numbered(units_by_clip, chain(*by_size.values())),
        )


def _stored(source: Source, units_by_clip: Sequence[Sequence[Unit]]) -> EncoderInput:
    """An image encoder's input from stored features of single frames."""
    frames: dict[Medium, dict[int, None]] = {}
    for medium, (frame,) in chain(*units_by_clip):
        frames.setdefault(medium, {})[frame] = None
    rows = np.concatenate([source.read(medium, list(chosen)) for medium, chosen in frames.items()])
    units = ((medium, (frame,)) for medium, chosen in frames.items() for frame in chosen)
    return EncoderInput.of((), torch.from_numpy(rows)[:, None], _numbered(units_by_clip, units))


def _numbered(units_by_clip: Sequence[Sequence[Unit]], units: Iterable[Unit]) -> torch.Tensor:
    """The number of each clip's units among `units`: (C, M)."""
    number = {unit: index for index, unit in enumerate(units)}
    return torch.tensor([[number[unit] for unit in clip] for clip in units_by_clip])
