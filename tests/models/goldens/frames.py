"""Synthetic frames that a seed and a size determine to the bit: integers only, so that no library's version matters."""

from __future__ import annotations

import numpy as np

SIZES = ((224, 224), (240, 320), (360, 640), (640, 360), (720, 1280), (1080, 1920), (1920, 1080))
"""Height and width of native frames: landscape and portrait, 224 pixels to 1080p."""


def frame(height: int, width: int) -> np.ndarray:
    """A frame, uint8 RGB (height, width, 3): noise of all scales with equal power in each octave, and fine stripes.

    Blocks of 1, 2, 4, ... 128 pixels have random shades of the same range, so that edges of every scale occur, as in a
    photograph; the stripes on the left third are 3 pixels wide, which is where resizing without antialiasing differs.
    """
    rng = np.random.default_rng(height * 10_000 + width)
    total = np.zeros((height, width, 3), np.int64)
    for scale in (1, 2, 4, 8, 16, 32, 64, 128):
        rows, columns = -(-height // scale), -(-width // scale)
        shades = rng.integers(0, 64, (rows, columns, 3))
        total += shades.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
    stripes = (np.arange(width) // 3 + np.arange(height)[:, None] // 5) % 2 * 96
    total[:, : width // 3] += stripes[:, : width // 3, None] - 48
    return np.clip(total - 124, 0, 255).astype(np.uint8)
