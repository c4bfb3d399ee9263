"""Grids of features: which frames stand for which instants, the grid that holds all, the one that pooling leaves. No
torch here: plans reckon with them."""

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


def pooled_shape(tokens: int, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """How many tokens of a clip lie along time, height and width.

    Time keeps as many instants as divide the number of tokens, so that frames stay apart; what is left is as near
    to a square as it can be, wider than high. 6 tokens of a grid 2 x 16 x 16 are 2 x 1 x 3.

    Raises:
        ValueError: there are more tokens than places, in the grid or along one side of it.
    """
    time = max(n for n in range(1, grid[0] + 1) if tokens % n == 0)
    each = tokens // time
    fitting = [n for n in range(1, each + 1) if each % n == 0 and n <= grid[1] and each // n <= grid[2]]
    if not fitting:
        raise ValueError(
            f"{tokens} tokens a clip cannot be pooled from a grid of {grid[0]} x {grid[1]} x {grid[2]}; ask for fewer, "
            "or for a number that divides into its sides"
        )
    height = min(fitting, key=lambda n: (abs(each // n - n), n))
    return time, height, each // height
