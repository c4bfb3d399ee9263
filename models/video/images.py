"""Image files and folders of frames as arrays."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from models.video.decoder import VideoError
from models.video.file_checks import RefusedError
from models.video.geometry import limited
from models.video.pictures import displayed_sides, pillow_refusals, to_rgb


def read_image(path: Path, longer: int | None = None) -> np.ndarray:
    """An image as uint8 RGB (H, W, 3), rotated according to its EXIF tag; of an animation, the first frame.

    16-bit gray keeps its range, and transparent pixels are composed on white (`pictures.BACKGROUND`).

    Args:
        path: the file.
        longer: pixels to which a longer side that has more is scaled down, with the aspect ratio unchanged; None keeps
            the size.

    Raises:
        VideoError: the file is not a readable image, whatever Pillow raises for it.
    """
    try:
        with pillow_refusals(), Image.open(path) as image:
            image.load()
            rgb = to_rgb(image)
            if rgb.size != (size := limited(rgb.size, longer)):
                rgb = rgb.resize(size, Image.Resampling.BICUBIC)
            return np.asarray(rgb)
    except RefusedError as refusal:
        raise VideoError(path, _missing(path) or str(refusal)) from None


def image_shape(path: Path) -> tuple[int, int, str]:
    """Height and width of an image after its EXIF rotation, and the name of its format; pixels are not decoded.

    Raises:
        VideoError: the file is not an image.
    """
    try:
        with pillow_refusals(), Image.open(path) as image:
            return *displayed_sides(image), (image.format or "").lower()
    except RefusedError as refusal:
        raise VideoError(path, _missing(path) or str(refusal)) from None


def _missing(path: Path) -> str | None:
    """Why there is no file, or None if there is one."""
    if path.is_file():
        return None
    return "is a folder, not an image" if path.is_dir() else "does not exist"


def frame_files(folder: Path) -> list[Path]:
    """Files of a folder of frames, in the natural order of their names: 2.jpg before 10.jpg; hidden ones are left out.

    Raises:
        VideoError: the path is no folder, it has no files, or one of them is no image by its name.
    """
    if not folder.is_dir():
        reason = "is a file, so its record must not set `fps`" if folder.exists() else "does not exist"
        raise VideoError(folder, f"{reason}: `fps` is the rate of a folder of frames")
    return [folder / name for name in _names(folder, folder.stat().st_mtime_ns)]


@lru_cache(maxsize=256)
def _names(folder: Path, mtime_ns: int) -> tuple[str, ...]:  # noqa: ARG001 - a changed folder is listed again
    """Names of the frames of a folder."""
    endings = Image.registered_extensions()
    names = sorted((p.name for p in folder.iterdir() if not p.name.startswith(".")), key=_natural)
    for name in names:
        if Path(name).suffix.lower() not in endings:
            raise VideoError(folder / name, "is not an image by its name, but lies in a folder of frames")
    if not names:
        raise VideoError(folder, "holds no frames")
    return tuple(names)


def _natural(name: str) -> tuple[list[str | int], str]:
    """Key of the natural order: digits compare as numbers. The name itself decides between 1.jpg and 01.jpg."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def read_frame_files(files: list[Path], indices: list[int], longer: int | None) -> np.ndarray:
    """Frames (N, H, W, 3) of a folder of frames.

    Raises:
        VideoError: one cannot be read, or has another shape than the first of the folder.
    """
    height, width, _ = image_shape(files[0])
    rising, positions = np.unique(np.asarray(indices, np.int64), return_inverse=True)
    frames: list[np.ndarray] = []
    for index in rising.tolist():
        shape = image_shape(files[index])[:2]
        if shape != (height, width):
            raise VideoError(
                files[index],
                f"is {shape[1]} x {shape[0]}, but {files[0].name} is {width} x {height}: frames must have one shape",
            )
        frames.append(read_image(files[index], longer))
    return np.stack(frames)[positions]
