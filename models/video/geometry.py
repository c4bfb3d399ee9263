"""Sides of frames, and the orientation in which a container wants them displayed. No file is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_STRETCH = 8
"""Largest ratio of a pixel's sides that is taken for true; films have at most 2."""


def fitted(sides: tuple[int, int], longer: int) -> tuple[int, int]:
    """Both sides scaled to `longer` pixels for the longer one, with the aspect ratio unchanged."""
    factor = longer / max(sides)
    first, second = (max(1, round(side * factor)) for side in sides)
    return first, second


def limited(sides: tuple[int, int], longer: int | None) -> tuple[int, int]:
    """Both sides scaled down to at most `longer` pixels for the longer one; smaller ones, or None: unchanged."""
    return sides if longer is None or max(sides) <= longer else fitted(sides, longer)


def square_pixels(height: int, width: int, pixel_aspect: float) -> tuple[int, int]:
    """Height and width of a frame as a viewer sees it: one side is stretched, so that none loses pixels.

    Args:
        height: rows of stored pixels.
        width: columns of stored pixels.
        pixel_aspect: width of a stored pixel divided by its height.
    """
    if pixel_aspect >= 1:
        return height, round(width * pixel_aspect)
    return round(height / pixel_aspect), width


@dataclass(frozen=True)
class Orientation:
    """How stored frames become upright: first transposed, then mirrored."""

    transposed: bool = False
    """Rows become columns."""
    mirror_x: bool = False
    """Left and right are exchanged."""
    mirror_y: bool = False
    """Top and bottom are exchanged."""

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """The orientation nearest to a display matrix of an MP4 (ISO 14496-12): x' = a x + c y, y' = b x + d y.

        Args:
            matrix: a, b, u, c, d, v, x, y, w; scale and translation are ignored.
        """
        a, b, _, c, d = matrix[:5]
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    @classmethod
    def from_quarters(cls, quarters: int) -> Orientation:
        """The rotation by quarters of a turn, clockwise."""
        return cls(quarters % 2 == 1, quarters % 4 in (1, 2), quarters % 4 in (2, 3))

    @property
    def is_rotation(self) -> bool:
        """Whether it is a rotation, without a mirror image."""
        return self.transposed == (self.mirror_x != self.mirror_y)

    def stored(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Height and width before the change, of frames that have `sides` after it (or the other way round)."""
        return sides[::-1] if self.transposed else sides

    def upright(self, frame_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The displayed form of a frame (H, W, 3): the same shape, or (W, H, 3)."""
        frame = frame_HW3.swapaxes(0, 1) if self.transposed else frame_HW3
        return frame[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]
