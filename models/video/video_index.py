"""What a reader needs to know of a video: times of its frames, shape, orientation, and which reader is right for it.

The decoder process builds it once per file, see models/video/probe.py. Legend: T displayed frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.video.geometry import Orientation, limited

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Reader = Literal["decord", "pyav", "pillow"]
Size = tuple[int, int] | int | None
"""(height, width) to scale to, pixels that the longer side has at most, or None for the video's own."""
Beat = Callable[[], None]
"""Is called after each step, and reports progress to the parent, so that it does not count the process as hung."""


@dataclass(frozen=True)
class KeyFrames:
    """Where a decoder can start, in rising order, in units of the stream's time base."""

    pts_K: NDArray[np.int64]
    """Presentation times."""
    seek_K: NDArray[np.int64]
    """Times to seek to: decoding times where the container has them."""


@dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """Displayed frames of a video, and how they are read."""

    reader: Reader
    times_T: NDArray[np.float64]
    """Presentation times in seconds from the first."""
    sides: tuple[int, int]
    """Height and width as displayed: upright, with square pixels."""
    codec: str
    notes: tuple[str, ...] = ()
    """Why decord does not read the file."""
    stream: int = 0
    """Index of the stream in the container."""
    orientation: Orientation = field(default_factory=Orientation)
    pts_T: NDArray[np.int64] | None = None
    """Presentation times in units of the stream's time base, from the container; None if they were counted by
    decoding all, so that frames are found by their position only."""
    keys: KeyFrames | None = None
    """None if the container cannot seek."""

    def sides_at(self, size: Size) -> tuple[int, int]:
        """Height and width of the frames at a requested size."""
        return size if isinstance(size, tuple) else limited(self.sides, size)
