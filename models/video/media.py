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


@dataclass(frozen=True, kw_only=True)
class MediumFacts:
    """What is known of a readable medium."""

    reader: str
    """"decord", "pyav" or "pillow"."""
    frames: int
    """Number of displayed frames; 1 for an image."""
    duration_s: float
    """Seconds from the first frame to the end of the last; 0 for one frame."""
    width: int
    """Pixels as displayed: upright, with square pixels."""
    height: int
    codec: str
    """Name of the codec or format, as FFmpeg or Pillow has it."""
    notes: tuple[str, ...] = ()
    """Why decord does not read it."""
