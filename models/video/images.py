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
