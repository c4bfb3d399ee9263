"""Frames of a video by decord 0.6, for files that models/video/probe.py found to be of a kind that it reads rightly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.video.video_index import Beat, Size, VideoIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-3, 1e-6
"""Difference of a time in seconds from the container's, and of its share: decord's times are float32."""


class MismatchError(Exception):
    """decord has other frames than the container declares."""


def frames_by_decord(path: Path, index: VideoIndex, indices: list[int], size: Size, beat: Beat) -> Iterator[NDArray]:
    """Frames (H, W, 3) at rising indices, upright (decord applies rotations).

    Frames are read one by one: `get_batch` hangs on files that this reads (dmlc/decord#375), and is no faster.

    Raises:
        MismatchError: decord has other frames than the index, or other sides.
        decord.DECORDError, RuntimeError, StopIteration: the file is damaged.
    """
    import decord

    sides = index.sides_at(size)
    height, width = (-1, -1) if sides == index.sides else sides
    # One thread: several processes decode on a machine, and more threads gain little.
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    beat()
    _check_times(reader, index)
    for position in indices:
        frame = _unpadded(reader[position])
        if frame.shape[:2] != sides:
            raise MismatchError(f"decord has frames of {frame.shape[1]} x {frame.shape[0]}")
        beat()
        yield frame


def _check_times(reader: Any, index: VideoIndex) -> None:
    """Compare the number of frames and their times."""
    frames = len(index.times_T)
    if len(reader) != frames:
        raise MismatchError(f"decord has {len(reader)} frames of {frames}")
    starts = reader.get_frame_timestamp(range(frames))[:, 0].astype(np.float64)
    if not np.allclose(starts - starts[0], index.times_T, atol=TOLERANCE[0], rtol=TOLERANCE[1]):
        raise MismatchError("decord has other times")


def _unpadded(frame: Any) -> NDArray[np.uint8]:
    """Undo decord's misreading of padded rows: a frame 48 wide comes as (H, 48, 4) (dmlc/decord#93)."""
    array: NDArray[np.uint8] = frame.asnumpy()
    height, width, channels = array.shape
    if channels == 3:
        return array
    return array.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)
