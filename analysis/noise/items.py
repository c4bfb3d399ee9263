"""What shared test items do: every trial answers the same questions, so both scales share the chance in their choice.

Legend: `n` designs; `I` test items (a video with its questions). score_nI is a design's mean score on each item,
weight_I the item's number of questions.
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
FEWEST_ITEMS = 20
_SEED = 20241215


@dataclass(frozen=True, kw_only=True)
class ItemHalves:
    """R^2 where both scales answer the same half of the test items, and where they answer different halves."""

    items: int
    same_half: float
    """Mean over random halvings."""
    different_halves: float
    """Lower, by what the choice of items gave to both scales alike; halves are noisier than the whole test, so compare
    the two with each other."""


def item_halves(x_nI: Floats, y_nI: Floats, weight_I: Floats) -> ItemHalves | None:
    """Split the test items in random halves, many times.

    Args:
        x_nI: scores at the small scale on each item.
        y_nI: the same at the large scale, of the same designs and items.
        weight_I: questions of each item.

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
    known = [[value for value in values if math.isfinite(value)] for values in (same, different)]
    if not known[0] or not known[1]:
        return None
    return ItemHalves(items=items, same_half=float(np.mean(known[0])), different_halves=float(np.mean(known[1])))
