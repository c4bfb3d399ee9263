"""Frames of media files: the protocol, and decoding on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.video.decoder import Decoder
from models.video.images import is_image, read_image

Times = NDArray[np.float64]


class Source(Protocol):
    """Frames, or features of single frames, of media files, by path relative to the data folder."""

    def times(self, media: str) -> Times:
        """Presentation times in seconds from the first frame, (N,); an image has one."""
        ...

    def read(self, media: str, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (len(indices), H, W, 3), or features float16 (len(indices), H, W, V) of one frame each."""
        ...


@dataclass(frozen=True)
class OnDemand:
    """Decodes frames when they are requested."""

    folder: Path
    decoder: Decoder
    resolution: int
    """Pixels of the longer side of the frames that are read; the aspect ratio is unchanged."""

    def times(self, media: str) -> Times:
        """See `Source`."""
        return np.zeros(1) if is_image(media) else self.decoder.times(self.folder / media)

    def read(self, media: str, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        if is_image(media):
            return np.repeat(read_image(self.folder / media, self.resolution)[None], len(indices), axis=0)
        return self.decoder.read(self.folder / media, list(indices), self.resolution)
