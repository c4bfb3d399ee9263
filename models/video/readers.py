"""Frames of a video by the reader of its index, and by PyAV where decord turns out to read the file wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.video.animation_reader import frames_by_pillow
from models.video.decord_reader import MismatchError, frames_by_decord
from models.video.pyav_reader import frames_by_pyav
from models.video.video_index import Beat, Size, VideoIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Frames:
    """Iterates over the frames (H, W, 3) of a video at rising indices."""

    def __init__(self, path: Path, index: VideoIndex, indices: list[int], size: Size, beat: Beat) -> None:
        self.path = path
        self.index = index
        """Afterwards with the reader that read the file."""
        self.indices = indices
        self.size: Size = size
        self.beat: Beat = beat

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Read one frame after the other.

        Raises:
            RefusedError: a frame is damaged or does not arrive.
            av.error.FFmpegError: the file is damaged.
        """
        arrived = 0
        if self.index.reader == "decord":
            from decord import DECORDError

            try:
                for frame in frames_by_decord(self.path, self.index, self.indices, self.size, self.beat):
                    yield frame
                    arrived += 1
                return
            except (MismatchError, DECORDError, RuntimeError, IndexError) as error:
                reason = str(error) if isinstance(error, MismatchError) else "decord failed"
                self.index = replace(self.index, reader="pyav", notes=(*self.index.notes, reason))
        read = frames_by_pillow if self.index.reader == "pillow" else frames_by_pyav
        yield from read(self.path, self.index, self.indices[arrived:], self.size, self.beat)
