"""Features of a frozen encoder, computed once and stored in memory-mapped files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.lib.format import open_memmap

from models.encoders.base import VisionEncoder, weight_dtype
from models.video import Stored, fresh_folder

FRAMES_AT_ONCE = 512
"""Frames in one call of the encoder when all are encoded. It affects the last bits: do not tune it per machine."""


def store_features(folder: Path, frames: Stored, encoder: VisionEncoder, name: str) -> Stored:
    """Encode all frames once into `folder/.grids-NAME`, or open the features that are stored there.

    Args:
        folder: the data folder.
        frames: all frames, from `store_frames`.
        encoder: an image encoder, or its geometry if the features are stored (`are_stored`).
        name: identifies the encoder, its version and layer; any text.

    Returns:
        Features float16 (frames, H, W, D), with the index and times of the frames.

    Raises:
        ValueError: a feature is NaN or infinite, or too large for float16; the message names file and frame.
    """
    device = next(chain(encoder.parameters(), encoder.buffers())).device
    store = _path(folder, name, device, weight_dtype(encoder))
    with FileLock(f"{store}.lock"):
        if not store.is_dir():
            with fresh_folder(store) as fresh, _one_thread():
                _encode(frames, encoder, fresh / "features.npy")
    return Stored(frames.index, frames.all_times, np.load(store / "features.npy", mmap_mode="r"))


def are_stored(folder: Path, name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether `store_features` would only open what is stored, so that it needs no weights of the encoder.

    Args:
        folder: the data folder.
        name: of the features.
        device: on which the encoder would compute them.
        dtype: that of its weights.
    """
    return _path(folder, name, device, dtype).is_dir()


def _path(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> Path:
    """The folder of features: by the kind of device too, since a GPU's sums differ in the last bits, and by the dtype
    if it is not fp32."""
    precision = "" if dtype == torch.float32 else f" {dtype}"
    digest = hashlib.sha256(f"{name} {device.type}{precision}".encode()).hexdigest()[:8]
    return folder / f".grids-{re.sub(r'[^A-Za-z0-9.@-]+', '_', name)}-{digest}"


@torch.inference_mode()
def _encode(frames: Stored, encoder: VisionEncoder, path: Path) -> None:
    encoder.eval()
    device = next(encoder.parameters()).device
    features: np.memmap | None = None
    for start in range(0, len(frames.rows), FRAMES_AT_ONCE):
        portion = torch.from_numpy(np.array(frames.rows[start : start + FRAMES_AT_ONCE]))
        encoded = encoder(portion.to(device)[:, None])[:, 0].half().cpu().numpy()
        _refuse_infinite(encoded, frames, start)
        if features is None:
            features = open_memmap(path, "w+", np.float16, (len(frames.rows), *encoded.shape[1:]))
        features[start : start + FRAMES_AT_ONCE] = encoded
    assert features is not None, "a data folder has frames"
    features.flush()


def _refuse_infinite(features: np.ndarray, frames: Stored, start: int) -> None:
    """Refuse float16 features (F, H, W, D) of the frames from row `start` on if one is not finite."""
    finite = np.isfinite(features).all(axis=(1, 2, 3))
    if finite.all():
        return
    row = start + int(finite.argmin())
    path, first = next((path, first) for path, (first, count) in frames.index.items() if first <= row < first + count)
    largest = np.finfo(np.float16).max
    raise ValueError(
        f"{path}, frame {row - first}: the encoder's features are NaN, infinite or above {largest:.0f} (the largest "
        "float16), so they cannot be stored; set `layer` to an earlier hidden state, or let the encoder learn in a "
        "stage, which computes its features in each step"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run on one thread: features are shared, so they must not depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
