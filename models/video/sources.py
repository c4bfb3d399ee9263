"""Frames of media files: the protocol, and decoding on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.video.decoder import Decoder
from models.video.images import read_image
from models.video.media import Medium

Times = NDArray[np.float64]


class Source(Protocol):
    """Frames, or features of single frames, of media."""

    def times(self, medium: Medium) -> Times:
        """Presentation times in seconds from the first frame, (N,); an image has one."""
        ...

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (len(indices), H, W, 3), or features float16 (len(indices), H, W, V) of one frame each."""
        ...


@dataclass(frozen=True)
class OnDemand:
    """Decodes frames when they are requested."""

    folder: Path
    decoder: Decoder
    max_side: int | None
    """Pixels of the longer side to which larger frames are scaled down; None reads all as they are."""

    def times(self, medium: Medium) -> Times:
        """See `Source`."""
        return np.zeros(1) if medium.kind == "image" else self.decoder.times(self.folder / medium.path)

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        if medium.kind == "image":
            return np.repeat(read_image(self.folder / medium.path, self.max_side)[None], len(indices), axis=0)
        return self.decoder.read(self.folder / medium.path, list(indices), self.max_side)
