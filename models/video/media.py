"""A medium of a record: an image, a video, a segment of a video, or a folder of frames. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Medium:
    """An image or a video below the data folder. The record decides which of them it is, not the file's ending."""

    path: str
    """Path relative to the data folder: a file, or a folder of frames."""
    kind: Literal["image", "video"]
    start_s: float = 0.0
    """Start of the segment of a video in seconds from its first frame."""
    end_s: float | None = None
    """End of the segment; None is the end of the video."""
    fps: float | None = None
    """Frames per second of a folder of frames; None for a file."""
