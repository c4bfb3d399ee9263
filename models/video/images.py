"""Image files as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models.video.decode_child import fitted
from models.video.decoder import VideoError


def read_image(path: Path, longer: int | None = None) -> np.ndarray:
    """An image as uint8 RGB (H, W, 3), rotated according to its EXIF tag.

    Args:
        path: the file.
        longer: pixels of the longer side after resizing, with the aspect ratio unchanged; None keeps the size.

    Raises:
        VideoError: the file is not a readable image.
    """
    try:
        with Image.open(path) as image:
            rgb = ImageOps.exif_transpose(image).convert("RGB")
            if longer is not None:
                rgb = rgb.resize(fitted(rgb.size, longer), Image.Resampling.BICUBIC)
            return np.asarray(rgb)
    except (OSError, UnidentifiedImageError) as error:
        raise VideoError(path, f"not a readable image ({error})") from None


def square(frames_NHW3: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Frames (N, H, W, 3) padded with a colour on both sides of the shorter dimension to squares (N, S, S, 3)."""
    height, width = frames_NHW3.shape[1:3]
    side = max(height, width)
    if height == width:
        return frames_NHW3
    padded = np.empty((len(frames_NHW3), side, side, 3), np.uint8)
    padded[:] = rgb
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, top : top + height, left : left + width] = frames_NHW3
    return padded
