"""The visual input of a row: clips of its media, as frames or stored features for each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from models.data.batch import Sampled, Visual
from models.design import Design, Sampling, Split
from models.encoders import CombinedEncoder, pad_rgb
from models.video import Clip, Medium, Source, image_clip, sample, spread, square


@dataclass(frozen=True)
class VisualReader:
    """Samples media as a design says, and reads their frames or features for each encoder."""

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

    def read(self, media: Sequence[Sampled]) -> Visual | None:
        """All clips of media of one path for each encoder that takes them: (C, N, ...) each; None without media.

        Raises:
            VideoError: a medium cannot be read.
        """
        if not media:
            return None
        is_split = self.is_split(media[0].medium)
        encoders: Sequence[int] = self.design.image_encoders if is_split else range(len(self.design.encoders))
        takes = {i: 1 if is_split else self.encoder.takes(i) for i in encoders}
        arrays = [[self._array(i, one.medium, one.clips, takes[i]) for one in media] for i in encoders]
        return tuple(torch.from_numpy(np.concatenate(same)) for same in arrays)

    def _array(self, encoder: int, medium: Medium, clips: Sequence[Clip], takes: int) -> np.ndarray:
        """Features or frames of the clips for one encoder, `takes` frames each: (C, takes, ...)."""
        frames = [clip.frames[i] for clip in clips for i in spread(len(clip.frames), takes)]
        if encoder in self.features:
            rows = self.features[encoder].read(medium, frames)
        else:
            rows = square(self.frames.read(medium, frames), pad_rgb(self.encoder.encoders[encoder].normalisation))
        return rows.reshape(len(clips), takes, *rows.shape[1:])
