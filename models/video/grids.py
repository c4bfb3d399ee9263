"""Grids of features: the frames of each instant, the grid that contains all, the grid after pooling. No torch here."""

from __future__ import annotations

from collections.abc import Sequence


def spread(have: int, want: int) -> list[int]:
    """Indices of `want` instants, evenly spaced among `have`: the one at the middle of each of `want` equal spans.

    These are all instants where the numbers agree; some are repeated where `want` is larger.
    """
    return [(2 * index + 1) * have // (2 * want) for index in range(want)]


def largest(grids: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The grid with the largest time, height and width of all."""
    time, height, width = (max(sizes) for sizes in zip(*grids, strict=True))
    return time, height, width


def pooled_shape(tokens: int, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """Number of tokens of a clip along time, height and width.

    Time has the largest number of instants that divides the number of tokens, so that frames are not mixed; height and
    width are as equal as possible, width the larger. 6 tokens of a grid 2 x 16 x 16 are 2 x 1 x 3.

    Args:
        tokens: number of tokens of a clip.
        grid: features of a clip in time, height and width.

    Raises:
        ValueError: there are more tokens than cells, in the grid or along one side of it.
    """
    time = max(n for n in range(1, grid[0] + 1) if tokens % n == 0)
    per_instant = tokens // time
    heights = [n for n in range(1, per_instant + 1) if per_instant % n == 0]
    heights = [n for n in heights if n <= grid[1] and per_instant // n <= grid[2]]
    if not heights:
        raise ValueError(
            f"{tokens} tokens per clip cannot be pooled from a grid of {grid[0]} x {grid[1]} x {grid[2]}; set a "
            "smaller number, or one that is a product of divisors of its sides"
        )
    height = min(heights, key=lambda n: (abs(per_instant // n - n), n))
    return time, height, per_instant // height
