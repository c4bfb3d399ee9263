"""Videos for the tests of readers: each frame shows its number in blocks, which also show how it is oriented."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ONE = 1 << 16
"""1 in a display matrix."""
COLUMNS, ROWS = 4, 2
"""Blocks of a frame. Three are the same in all frames; five are the bits of its number."""
FIXED = {(0, 0): 1, (0, 3): 0, (1, 0): 0}
BITS = [(row, column) for row in range(ROWS) for column in range(COLUMNS) if (row, column) not in FIXED]


X265 = "log-level=none:scenecut=0"


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A frame (H, W, 3) that shows a number below 32."""
    blocks = np.zeros((ROWS, COLUMNS), np.uint8)
    for place, value in FIXED.items():
        blocks[place] = value
    for bit, place in enumerate(BITS):
        blocks[place] = number >> bit & 1
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.repeat((blocks[rows][:, columns] * 219 + 16)[..., None], 3, axis=2)


def number(frame: np.ndarray) -> int | None:
    """The number that a frame shows; None if it is turned, mirrored or damaged."""
    height, width = frame.shape[:2]
    rows = [int(height * (row + 0.5) / ROWS) for row in range(ROWS)]
    columns = [int(width * (column + 0.5) / COLUMNS) for column in range(COLUMNS)]
    blocks = frame[rows][:, columns].mean(axis=2) > 127
    if any(blocks[place] != value for place, value in FIXED.items()):
        return None
    return sum(int(blocks[place]) << bit for bit, place in enumerate(BITS))


def numbers(frames: np.ndarray) -> list[int | None]:
    return [number(frame) for frame in frames]


def turned(quarters: int, *, mirrored: bool = False) -> list[int]:
    """Display matrix that turns by quarters clockwise, after left and right were exchanged."""
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters]
    if mirrored:
        a, b = -a, -b
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]


def write(
    path: Path,
    frames: int = 20,
    *,
    pictures=None,
    times_s=None,
    size=(64, 48),
    rate=10,
    codec="libx264",
    pix_fmt="yuv420p",
    format=None,
    options=None,
    codec_options=None,
    matrix=None,
    aspect=None,
    gop=6,
) -> Path:
    """Write numbered frames; `size` is (width, height), times are rounded to 1 ms."""
    pictures = [picture(i, *size) for i in range(frames)] if pictures is None else pictures
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = add_stream(container, codec, rate, pictures[0], codec_options)
        stream.pix_fmt, stream.gop_size = pix_fmt, gop
        if aspect is not None:
            stream.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if times_s is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        encode(container, stream, pictures, times_s)
    return path


def add_stream(container, codec, rate, first, codec_options=None):
    # Without detected changes of scene, key frames are where `gop_size` puts them.
    quiet = {
        "libx264": {"sc_threshold": "0"},
        "libx265": {"x265-params": X265},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    }
    stream = container.add_stream(codec, rate=rate, options={**quiet.get(codec, {}), **(codec_options or {})})
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt, stream.gop_size = "yuv420p", 6
    return stream


def encode(container, stream, pictures, times_s=None) -> None:
    for i, array in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        if times_s is not None:
            frame.pts, frame.time_base = round(times_s[i] * 1000), Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
