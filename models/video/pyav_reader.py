"""Frames of a video by PyAV (FFmpeg 7 or newer): slower to convert than decord, right for what decord reads wrongly.

Frames are found by their presentation times, never by their count, except where a container has none. A requested frame
that does not arrive is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.video.file_checks import DAMAGED, RefusedError, unreadable
from models.video.pictures import BACKGROUND
from models.video.video_index import Beat, KeyFrames, Size, VideoIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open container. No other file or address is opened: a text file may be a playlist.

    Raises:
        RefusedError: it is no video, or the name of the file is not UTF-8.
    """
    import av

    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise RefusedError("has a name that is not UTF-8, which FFmpeg needs; rename it") from None
    try:
        # Titles and the like may be in any encoding; they are not used.
        container = av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except av.error.InvalidDataError:
        raise RefusedError(unreadable(path)) from None
    with container:
        yield container


@contextmanager
def opened_stream(path: Path, number: int) -> Iterator[tuple[Any, Any]]:
    """An open container, and one of its streams with a decoder of one thread.

    With several threads FFmpeg ends silently at a damaged frame, and several processes decode on a machine.
    """
    with opened(path) as container:
        stream = container.streams[number]
        stream.codec_context.thread_count = 1
        yield container, stream


def frames_by_pyav(path: Path, index: VideoIndex, indices: list[int], size: Size, beat: Beat) -> Iterator[NDArray]:
    """Frames (H, W, 3) at rising indices, upright, unmirrored, with square pixels.

    Raises:
        RefusedError: a frame is damaged or does not arrive.
        av.error.FFmpegError: the file is damaged.
    """
    sides = index.orientation.stored(index.sides_at(size))
    pictures = _by_position(path, index, indices, beat) if index.pts_T is None else _by_time(path, index, indices, beat)
    for frame in pictures:
        if frame.is_corrupt:
            raise RefusedError(DAMAGED)
        yield index.orientation.upright(_rgb(frame, sides))


def _by_position(path: Path, index: VideoIndex, indices: list[int], beat: Beat) -> Iterator[Any]:
    """Decoded frames, counted from the start of the file."""
    requested = iter(indices)
    target = next(requested, None)
    with opened_stream(path, index.stream) as (container, stream):
        for position, frame in enumerate(container.decode(stream)):
            beat()
            if position == target:
                yield frame
                target = next(requested, None)
            if target is None:
                return
    raise RefusedError(f"ends before frame {target}, which it had when it was opened first")


def _by_time(path: Path, index: VideoIndex, indices: list[int], beat: Beat) -> Iterator[Any]:
    """Decoded frames, found by their presentation times: with seeking first, from the start if one does not arrive."""
    assert index.pts_T is not None
    targets = index.pts_T[indices].tolist()
    arrived = 0
    if index.keys is not None:
        for frame in _seeking(path, index.stream, index.keys, targets, beat):
            arrived += 1
            yield frame
    if arrived == len(targets):
        return
    with opened_stream(path, index.stream) as (container, stream):
        for frame in container.decode(stream):
            beat()
            if frame.pts == targets[arrived]:
                arrived += 1
                yield frame
                if arrived == len(targets):
                    return
    raise RefusedError(f"lacks frame {indices[arrived]}, at {index.times_T[indices[arrived]]:.2f} s: it {DAMAGED}")


def _seeking(path: Path, number: int, keys: KeyFrames, targets: list[int], beat: Beat) -> Iterator[Any]:
    """Decoded frames at rising times up to the first that does not arrive."""
    with opened_stream(path, number) as (container, stream):
        requested = set(targets)
        frames: Iterator[Any] = iter(())
        last: int | None = None
        for target in targets:
            key = max(0, int(np.searchsorted(keys.pts_K, target, side="right")) - 1)
            if last is None or keys.pts_K[key] > last:
                container.seek(int(keys.seek_K[key]), stream=stream)
                frames = _referenced(container, stream, requested)
            for frame in frames:
                beat()
                if frame.pts is None or frame.pts >= target:
                    break
            else:
                return
            if frame.pts != target:
                return
            last = target
            yield frame


def _referenced(container: Any, stream: Any, requested: set[int]) -> Iterator[Any]:
    """Frames that are requested or that others refer to; the others need no decoding."""
    for packet in container.demux(stream):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts in requested else "NONREF"
        yield from packet.decode()


def _rgb(frame: Any, sides: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame as RGB (H, W, 3); transparent pixels are composed on the colour of pictures."""
    height, width = sides
    # The interpolation of decord; where nothing is scaled, FFmpeg's default.
    how = {} if (frame.height, frame.width) == sides else {"interpolation": "BILINEAR"}
    if not any(component.is_alpha for component in frame.format.components):
        rgb: NDArray[np.uint8] = frame.reformat(width, height, "rgb24", **how).to_ndarray()
        return rgb
    rgba = frame.reformat(width, height, "rgba", **how).to_ndarray().astype(np.float32)
    share = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * share + np.array(BACKGROUND) * (1 - share)).astype(np.uint8)
