"""Effect of shared test items: all trials answer the same questions, so the choice of items affects both scales alike.

Legend: `n` designs; `I` test items (a video with its questions). score_nI is the mean score of a design on an item,
weight_I the number of questions of an item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.numbers import agreement

if TYPE_CHECKING:
    from analysis.numbers import Floats

NUM_SPLITS = 50
"""Random halvings of the test items."""
FEWEST_ITEMS = 20
"""Test items below which they are not split."""
_SEED = 20241215


@dataclass(frozen=True, kw_only=True)
class ItemHalves:
    """R^2 with both scales on the same half of the test items, and on different halves."""

    items: int
    same_half: float
    """Mean over random halvings."""
    different_halves: float
    """Mean over random halvings. It lacks the agreement due to the shared choice of items. Halves are noisier than the
    whole test, so compare it with `same_half` only."""


def item_halves(x_nI: Floats, y_nI: Floats, weight_I: Floats) -> ItemHalves | None:
    """R^2 over `NUM_SPLITS` random halvings of the test items.

    Args:
        x_nI: scores at the small scale on each item.
        y_nI: scores at the large scale, of the same designs on the same items.
        weight_I: number of questions of each item.

    Returns:
        None with fewer than `FEWEST_ITEMS` items or three designs, or if R^2 is undefined in every half.
    """
    n, items = x_nI.shape
    if items < FEWEST_ITEMS or n < 3:
        return None
    rng, same, different = np.random.default_rng(_SEED), list[float](), list[float]()
    for _ in range(NUM_SPLITS):
        first_I = np.zeros(items)
        first_I[rng.permutation(items)[: items // 2]] = 1.0
        halves = (first_I * weight_I, (1 - first_I) * weight_I)
        x = [x_nI @ half / half.sum() for half in halves]
        y = [y_nI @ half / half.sum() for half in halves]
        same += [agreement.r2(x[i], y[i]) for i in (0, 1)]
        different += [agreement.r2(x[i], y[1 - i]) for i in (0, 1)]
    finite = [[value for value in values if math.isfinite(value)] for values in (same, different)]
    if not finite[0] or not finite[1]:
        return None
    return ItemHalves(items=items, same_half=float(np.mean(finite[0])), different_halves=float(np.mean(finite[1])))
