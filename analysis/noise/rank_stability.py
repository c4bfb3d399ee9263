"""Stability of the ranking at the small scale under other test items and other seeds.

Legend: `n` designs; `I` test items; `B` simulated repetitions. Higher scores are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from analysis.numbers import Floats

NUM_REPETITIONS = 2000
"""Simulated repetitions of the small scale."""
_SEED = 20241218
Cause = Literal["test items", "seeds"]


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Ranks of the designs over simulated repetitions of the small scale."""

    causes: tuple[Cause, ...]
    """What is drawn in each repetition: test items (the same ones for all designs), noise between seeds, or both."""
    best: str
    """Name of the best design at the small scale."""
    chance: float
    """Share of repetitions in which the best design is the best again; tied designs share a repetition."""
    ranks: tuple[tuple[str, int, int], ...]
    """Design, lowest and highest rank of its central 95 % of repetitions; best design first."""


def stability(
    designs: Sequence[str], x_n: Floats, error_n: Floats | None, items: tuple[Floats, Floats] | None
) -> Stability | None:
    """Rank the designs again on items drawn with replacement (a paired bootstrap), with added noise between seeds.

    Args:
        designs: their names.
        x_n: scores at the small scale, in points.
        error_n: standard error of each mean over its seeds, in points; None if unknown.
        items: scores of the designs on each item (n x I) and the number of questions of each item (I); None if unknown.

    Returns:
        None if both `error_n` and `items` are None.
    """
    if error_n is None and items is None:
        return None
    rng = np.random.default_rng(_SEED)
    drawn_Bn = np.broadcast_to(x_n, (NUM_REPETITIONS, len(x_n)))
    if items is not None:
        score_nI, weight_I = items
        counts_BI = (
            rng.multinomial(len(weight_I), np.full(len(weight_I), 1 / len(weight_I)), NUM_REPETITIONS) * weight_I
        )
        resampled_Bn = counts_BI @ score_nI.T / counts_BI.sum(axis=1, keepdims=True)
        drawn_Bn = drawn_Bn + resampled_Bn - score_nI @ weight_I / weight_I.sum()
    if error_n is not None:
        drawn_Bn = drawn_Bn + rng.standard_normal(drawn_Bn.shape) * error_n
    best_B = drawn_Bn == drawn_Bn.max(axis=1, keepdims=True)
    rank_Bn = 1 + np.argsort(np.argsort(-drawn_Bn, axis=1, kind="stable"), axis=1)
    low_n, high_n = np.quantile(rank_Bn, [0.025, 0.975], axis=0, method="inverted_cdf")
    first = int(np.argmax(x_n))
    return Stability(
        causes=(*(("test items",) if items is not None else ()), *(("seeds",) if error_n is not None else ())),
        best=designs[first],
        chance=float((best_B / best_B.sum(axis=1, keepdims=True))[:, first].mean()),
        ranks=tuple((designs[i], int(low_n[i]), int(high_n[i])) for i in np.argsort(-x_n, kind="stable")),
    )
