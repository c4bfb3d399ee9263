"""What a media file holds for the model: frames on demand, or decoded and encoded once and kept.

A frozen encoder's features depend on its weights and the file alone, so short videos are decoded and encoded
once into memory-mapped arrays that all trials share. They are computed in the same portions whoever computes
them, so that features made afresh are equal to the bit. Shapes: N frame, H, W pixel or place of the grid of
features, V width of features.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from models.decode import Decoder, VideoError
from models.decode_child import fitted
from models.encoders.base import VisionEncoder

Times = NDArray[np.float64]
FRAMES_AT_ONCE = 512
"""Frames in one call of the encoder when all are encoded. Part of what features are: do not tune per machine."""


class Source(Protocol):
    """Frames or features of media files, by path below the data folder. Features are those of single frames."""

    def times(self, media: str) -> Times:
        """Presentation times in seconds from the first frame, (N,); an image has one."""
        ...

    def read(self, media: str, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (len(indices), H, W, 3), or features float16 (len(indices), H, W, V) of one frame each."""
        ...


@dataclass(frozen=True)
class OnDemand:
    """Decodes what is asked for, when it is asked for."""

    folder: Path
    decoder: Decoder
    resolution: int
    """Frames are read with their longer side of this many pixels; their shape is kept."""

    def times(self, media: str) -> Times:
        """See `Source`."""
        return np.zeros(1) if is_image(media) else self.decoder.times(self.folder / media)

    def read(self, media: str, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        if is_image(media):
            return np.repeat(read_image(self.folder / media, self.resolution)[None], len(indices), axis=0)
        return self.decoder.read(self.folder / media, list(indices), self.resolution)


@dataclass(frozen=True)
class Stored:
    """All frames (or features) of all files in one array."""

    index: dict[str, tuple[int, int]]
    """Path -> first row and number of rows."""
    all_times: Times
    rows: np.ndarray

    def times(self, media: str) -> Times:
        """See `Source`."""
        first, count = self.index[media]
        return self.all_times[first : first + count]

    def read(self, media: str, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        return np.asarray(self.rows[self.index[media][0] + np.asarray(indices)])


def is_image(media: str) -> bool:
    """Whether a path names an image, by its ending."""
    return Path(media).suffix.lower() in {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def read_image(path: Path, longer: int | None = None) -> np.ndarray:
    """An image as uint8 RGB (H, W, 3), turned as its EXIF tag says.

    Args:
        path: the file.
        longer: pixels of the longer side to resize to, the shape kept; None keeps the size.

    Raises:
        VideoError: not an image that can be read.
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
    """Frames padded with a colour on both sides of their shorter one to (N, S, S, 3), as encoders expect them."""
    height, width = frames_NHW3.shape[1:3]
    side = max(height, width)
    if height == width:
        return frames_NHW3
    padded = np.empty((len(frames_NHW3), side, side, 3), np.uint8)
    padded[:] = rgb
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, top : top + height, left : left + width] = frames_NHW3
    return padded


def store_frames(folder: Path, media: Sequence[str], decoder: Decoder) -> Stored:
    """Decode all files once into `folder/.frames`, or open what was decoded before.

    Raises:
        VideoError: a file cannot be read.
    """
    store = folder / ".frames"
    with FileLock(f"{store}.lock"):
        if not store.is_dir():
            with _fresh_folder(store) as fresh:
                _decode(folder, media, decoder, fresh)
    index = {path: (first, count) for path, first, count in json.loads((store / "index.json").read_text())}
    return Stored(index, np.load(store / "times.npy"), np.load(store / "frames.npy", mmap_mode="r"))


def _decode(folder: Path, media: Sequence[str], decoder: Decoder, fresh: Path) -> None:
    index: list[tuple[str, int, int]] = []
    all_times, all_frames, first = [], [], 0
    for path in media:
        if is_image(path):
            times, frames = np.zeros(1), read_image(folder / path)[None]
        else:
            times, frames = decoder.read_all(folder / path)
        index.append((path, first, len(frames)))
        all_times.append(times)
        all_frames.append(frames)
        first += len(frames)
    np.save(fresh / "times.npy", np.concatenate(all_times))
    np.save(fresh / "frames.npy", np.concatenate(all_frames))
    (fresh / "index.json").write_text(json.dumps(index))


def store_features(folder: Path, frames: Stored, encoder: VisionEncoder, name: str) -> Stored:
    """Encode all frames once into `folder/.grids-NAME`, or open what was encoded before.

    Args:
        folder: the data folder.
        frames: all frames, as `store_frames` gives them.
        encoder: an encoder of images.
        name: says which encoder, version and layer; any text.
    """
    device = next(encoder.parameters()).device.type  # a GPU's sums differ in the last bits
    told = hashlib.sha256(f"{name} {device}".encode()).hexdigest()[:8]
    store = folder / f".grids-{re.sub(r'[^A-Za-z0-9.@-]+', '_', name)}-{told}"
    with FileLock(f"{store}.lock"):
        if not store.is_dir():
            with _fresh_folder(store) as fresh, _one_thread():
                _encode(frames, encoder, fresh / "features.npy")
    return Stored(frames.index, frames.all_times, np.load(store / "features.npy", mmap_mode="r"))


@torch.inference_mode()
def _encode(frames: Stored, encoder: VisionEncoder, path: Path) -> None:
    encoder.eval()
    device = next(encoder.parameters()).device
    features: np.memmap | None = None
    for start in range(0, len(frames.rows), FRAMES_AT_ONCE):
        portion = torch.from_numpy(np.array(frames.rows[start : start + FRAMES_AT_ONCE]))
        encoded = encoder(portion.to(device)[:, None])[:, 0].half().cpu().numpy()
        if features is None:
            features = open_memmap(path, "w+", np.float16, (len(frames.rows), *encoded.shape[1:]))
        features[start : start + FRAMES_AT_ONCE] = encoded
    assert features is not None, "a data folder has frames"
    features.flush()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Whoever encodes first encodes for all: its number of threads must not show in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _fresh_folder(final: Path) -> Iterator[Path]:
    """A temporary sibling that takes its name at the end, so that a kill leaves nothing half-made."""
    for stale in final.parent.glob(f"{final.name}.part-*"):  # of a process that was killed; the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{final.name}.part-"))
    try:
        yield fresh
        os.rename(fresh, final)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
