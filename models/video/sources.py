"""Frames of media files: the protocol, and decoding on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.video.decoder import Decoder, VideoError
from models.video.images import frame_files, read_frame_files, read_image
from models.video.media import Medium
from models.video.sampling import TOLERANCE_S, duration

Times = NDArray[np.float64]


class Source(Protocol):
    """Frames, or features of single frames, of media."""

    def times(self, medium: Medium) -> Times:
        """Presentation times in seconds from the first frame, (N,); an image has one."""
        ...

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (len(indices), H, W, 3), or features float16 (len(indices), H, W, V) of one frame each."""
        ...


END_SLACK_S = 1.0
"""Annotations round the end of a segment up: one that is at most this long after the video's end is taken for it."""


@dataclass(frozen=True)
class OnDemand:
    """Decodes frames when they are requested.

    Times and indices of a segment are its own: its first frame is the one on display at its start, at 0 s.
    """

    folder: Path
    decoder: Decoder
    max_side: int | None
    """Pixels of the longer side to which larger frames are scaled down; None reads all as they are."""

    def times(self, medium: Medium) -> Times:
        """See `Source`."""
        times_T = self._all_times(medium)
        return relative(times_T[segment(medium, self.folder, times_T)], medium)

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        path = self.folder / medium.path
        if medium.kind == "image":
            self.decoder.readers["pillow"] += 1
            return np.repeat(read_image(path, self.max_side)[None], len(indices), axis=0)
        frames = list(indices)
        if medium.start_s != 0 or medium.end_s is not None:
            part = segment(medium, self.folder, self._all_times(medium))
            if max(frames) >= part.stop - part.start or min(frames) < 0:
                last = part.stop - part.start - 1
                raise VideoError(path, f"has frames 0 to {last} of its segment; {max(frames)} was requested")
            frames = [part.start + index for index in indices]
        if medium.fps is None:
            return self.decoder.read(path, frames, self.max_side)
        self.decoder.readers["pillow"] += 1
        return read_frame_files(frame_files(path), frames, self.max_side)

    def _all_times(self, medium: Medium) -> Times:
        """Times of the whole file or folder."""
        path = self.folder / medium.path
        if medium.kind == "image":
            return np.zeros(1)
        return self.decoder.times(path) if medium.fps is None else np.arange(len(frame_files(path))) / medium.fps


def segment(medium: Medium, folder: Path, times_T: Times) -> slice:
    """Indices of the frames on display from the start to before the end of a medium's segment.

    Args:
        medium: an image has one frame at 0 s.
        folder: the data folder, for messages.
        times_T: times of all frames of the file.

    Raises:
        VideoError: the segment is empty, or lies past the end of the video.
    """
    length_s, frames = duration(times_T), len(times_T)
    start_s, end_s = medium.start_s, medium.end_s
    if start_s == 0 and end_s is None:
        return slice(0, frames)
    path = folder / medium.path
    if medium.kind == "image":
        raise VideoError(path, "is an image, which has no segment; remove its start and end")
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise VideoError(path, f"the segment from {start_s:g} to {end_s:g} s is empty; its end must follow its start")
    if start_s >= max(length_s, TOLERANCE_S) or (end_s is not None and end_s > length_s + END_SLACK_S):
        until = "its end" if end_s is None else f"{end_s:g} s"
        raise VideoError(path, f"the segment from {start_s:g} s to {until} is not in the video, of {length_s:.3f} s")
    first = int(np.searchsorted(times_T, start_s + TOLERANCE_S, side="right")) - 1
    end = frames if end_s is None else int(np.searchsorted(times_T, end_s - TOLERANCE_S, side="left"))
    return slice(first, max(end, first + 1))


def relative(times_N: Times, medium: Medium) -> Times:
    """Times of a segment's frames from its start, at which the first is on display: it began before, or just then."""
    if not medium.start_s:
        return times_N
    own = np.maximum(times_N - medium.start_s, 0.0)
    own[0] = 0.0
    return own
