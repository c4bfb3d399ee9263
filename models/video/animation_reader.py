"""Frames of an animated GIF, WebP or PNG by Pillow, which composes them; a still picture is a video of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from models.video.pictures import displayed_sides, pillow_refusals, to_rgb
from models.video.video_index import Beat, Size, VideoIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORTEST_MS, DEFAULT_MS = 10, 100
"""A frame that declares at most 10 ms is displayed for 100 ms, as all browsers do."""


def index_animation(path: Path, beat: Beat) -> VideoIndex:
    """Times and sides of the frames.

    Raises:
        RefusedError: the file is damaged.
    """
    durations_ms: list[float] = []
    with pillow_refusals(), Image.open(path) as image:
        codec = (image.format or "").lower()
        for position in range(getattr(image, "n_frames", 1)):
            image.seek(position)
            image.load()  # the duration of a WebP frame is read with its pixels
            duration_ms = image.info.get("duration", 0)
            durations_ms.append(duration_ms if duration_ms > SHORTEST_MS else DEFAULT_MS)
            beat()
        image.seek(0)
        sides = displayed_sides(image)
    times_T = np.cumsum([0.0, *durations_ms[:-1]]) / 1000
    return VideoIndex(reader="pillow", times_T=times_T, sides=sides, codec=codec)


def frames_by_pillow(path: Path, index: VideoIndex, indices: list[int], size: Size, beat: Beat) -> Iterator[NDArray]:
    """Frames (H, W, 3) at rising indices, on a white background.

    Raises:
        RefusedError: the file is damaged.
    """
    height, width = index.sides_at(size)
    with pillow_refusals(), Image.open(path) as image:
        for position in indices:
            image.seek(position)
            rgb = to_rgb(image)
            if rgb.size != (width, height):
                rgb = rgb.resize((width, height), Image.Resampling.BICUBIC)
            beat()
            yield np.asarray(rgb)
