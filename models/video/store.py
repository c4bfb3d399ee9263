"""Frames of media files, decoded once into memory-mapped arrays that all trials share.

Features are stored in the same form (models/encoders/stored_features.py). Shapes: N frame, H, W pixel or cell of the
grid of features, V width of features.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from models.video.decoder import Decoder
from models.video.images import read_image
from models.video.media import Medium
from models.video.sources import Times


@dataclass(frozen=True)
class Stored:
    """All frames, or features, of all files in one array."""

    index: dict[str, tuple[int, int]]
    """Path -> first row and number of rows."""
    all_times: Times
    """Presentation times of all rows in seconds, (rows,)."""
    rows: np.ndarray
    """Frames uint8 (rows, H, W, 3), or features float16 (rows, H, W, V)."""

    def times(self, medium: Medium) -> Times:
        """See `Source`."""
        first, count = self._rows_of(medium)
        return self.all_times[first : first + count]

    def read(self, medium: Medium, indices: Sequence[int]) -> np.ndarray:
        """See `Source`."""
        return np.asarray(self.rows[self._rows_of(medium)[0] + np.asarray(indices)])

    def _rows_of(self, medium: Medium) -> tuple[int, int]:
        """First row and number of rows of a whole file."""
        check_whole(medium)
        return self.index[medium.path]


def check_whole(medium: Medium) -> None:
    """Refuse what is not stored.

    Raises:
        ValueError: the medium is a segment or a folder of frames.
    """
    if medium.start_s > 0 or medium.end_s is not None or medium.fps is not None:
        raise ValueError(f"{medium.path}: only whole files are stored; read segments and folders of frames on demand")


def store_frames(folder: Path, media: Sequence[Medium], decoder: Decoder) -> Stored:
    """Decode all files once into `folder/.frames`, or open the frames that are stored there.

    Raises:
        VideoError: a file cannot be read.
    """
    store = folder / ".frames"
    with FileLock(f"{store}.lock"):
        if not store.is_dir():
            with fresh_folder(store) as fresh:
                _decode(folder, media, decoder, fresh)
    index = {path: (first, count) for path, first, count in json.loads((store / "index.json").read_text())}
    return Stored(index, np.load(store / "times.npy"), np.load(store / "frames.npy", mmap_mode="r"))


def _decode(folder: Path, media: Sequence[Medium], decoder: Decoder, fresh: Path) -> None:
    index: list[tuple[str, int, int]] = []
    all_times, all_frames, first = [], [], 0
    for medium in media:
        check_whole(medium)
        if medium.kind == "image":
            times, frames = np.zeros(1), read_image(folder / medium.path)[None]
        else:
            times, frames = decoder.read_all(folder / medium.path)
        index.append((medium.path, first, len(frames)))
        all_times.append(times)
        all_frames.append(frames)
        first += len(frames)
    np.save(fresh / "times.npy", np.concatenate(all_times))
    np.save(fresh / "frames.npy", np.concatenate(all_frames))
    (fresh / "index.json").write_text(json.dumps(index))


@contextmanager
def fresh_folder(final: Path) -> Iterator[Path]:
    """A temporary sibling that is renamed to `final` at the end, so that a killed process leaves no partial folder."""
    for stale in final.parent.glob(f"{final.name}.part-*"):  # from a process that was killed: this one has the lock
        shutil.rmtree(stale, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{final.name}.part-"))
    try:
        yield fresh
        os.rename(fresh, final)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
