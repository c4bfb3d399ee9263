"""How encoders share a clip: which frames stand for which instants, and the grid that holds all. No torch here."""

from __future__ import annotations

from collections.abc import Sequence


def spread(have: int, want: int) -> list[int]:
    """Which of `have` instants stand for `want`: the one at the middle of each of `want` equal spans.

    All of them where the numbers agree, each as often as it must where there are too few, evenly spaced ones where
    there are too many.
    """
    return [(2 * place + 1) * have // (2 * want) for place in range(want)]


def largest(grids: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The grid that holds the most in each of time, height and width."""
    time, height, width = (max(sizes) for sizes in zip(*grids, strict=True))
    return time, height, width
