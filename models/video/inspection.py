"""Facts about a medium, from reading it once from its first frame to its last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.video.decoder import Decoder
from models.video.images import read_image
from models.video.media import Medium
from models.video.sampling import duration

FRAMES_PER_READ = 64
SIDE = 64
"""Pixels of the longer side at which frames are read: damage shows at any size."""


@dataclass(frozen=True, kw_only=True)
class MediumFacts:
    """Facts about a readable medium."""

    reader: Literal["decord", "pyav", "pillow"]
    frames: int
    duration_s: float
    """Duration in seconds; 0 for an image."""
    width: int
    """Pixels, upright."""
    height: int
    codec: str
    """Name of the codec; empty if the reader does not report it."""


def inspect_medium(folder: Path, medium: Medium, decoder: Decoder) -> MediumFacts:
    """Read a medium once.

    Raises:
        VideoError: it cannot be read.
    """
    path = folder / medium.path
    if medium.kind == "image":
        height, width = read_image(path).shape[:2]
        return MediumFacts(reader="pillow", frames=1, duration_s=0.0, width=width, height=height, codec="")
    times = decoder.times(path)
    height, width = decoder.read(path, [0]).shape[1:3]
    for start in range(0, len(times), FRAMES_PER_READ):
        decoder.read(path, range(start, min(start + FRAMES_PER_READ, len(times))), SIDE)
    seconds = duration(times)
    return MediumFacts(reader="decord", frames=len(times), duration_s=seconds, width=width, height=height, codec="")
