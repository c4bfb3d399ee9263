"""Pictures of any mode as 8-bit RGB, with Pillow. The decoder process imports this module too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from models.video.file_checks import RefusedError

BACKGROUND = (255, 255, 255)
"""Colour behind transparent pixels: white, as on a page. Pillow's own conversion shows what is stored below them,
which in diagrams with black lines is mostly black."""
MAX_16_BIT = 65535
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation of EXIF -> what makes the picture upright."""
TIFF_BITS = 258
"""Tag of a TIFF file that has the number of bits of each sample."""


def displayed_sides(image: Image.Image) -> tuple[int, int]:
    """Height and width of an opened picture after its EXIF rotation; its pixels are not decoded."""
    width, height = image.size
    return (width, height) if image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8) else (height, width)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture as 8-bit RGB, upright: 16-bit gray is scaled by the range of its format, transparency is on white.

    Raises:
        RefusedError: pixels are integers of 32 bits or floats, whose range no format defines.
    """
    turn = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    rgb = _eight_bits(image)
    return rgb if turn is None else rgb.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        gray = _scaled(image)
        if (transparent := image.info.get("transparency")) is not None:  # one value of gray, which Pillow passes over
            gray[np.asarray(image) == transparent] = BACKGROUND[0]
        return Image.fromarray(gray).convert("RGB")
    if image.mode in ("I", "F"):
        raise RefusedError("has pixels of 32 bits, whose range is not defined; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*BACKGROUND, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> np.ndarray:
    """Gray of up to 16 bits as 8 bits, (H, W)."""
    bits = getattr(image, "tag_v2", {}).get(TIFF_BITS, (16,))[0]  # a TIFF may have 12 bits, which Pillow leaves
    largest = (1 << bits) - 1 if 8 < bits < 16 else MAX_16_BIT
    values = np.asarray(image).astype(np.float64) * (255 / largest)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@contextmanager
def pillow_refusals() -> Iterator[None]:
    """Turn whatever Pillow raises for a file into a `RefusedError` with one line as the reason."""
    try:
        yield
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise RefusedError("not a readable image (Pillow does not recognise its format)") from None
    except MemoryError:
        raise RefusedError("not a readable image (it does not fit into memory)") from None
    except Exception as error:  # noqa: BLE001 - plugins raise errors of any type for damaged files, see cases/20
        text = " ".join(str(error).split()) or type(error).__name__
        raise RefusedError(f"not a readable image ({text})") from None
