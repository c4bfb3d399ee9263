"""Agreement of two lists of scores over the same designs: numbers from arrays, without tables or intervals.

Legend: `n` designs; `B` reweightings; `g` distinct scores. x_n and y_n are scores at the small and at the large scale;
weights_Bn is how often each design is counted: once in the data themselves, zero or more times in a resample. Every
statistic is implemented once, for weights; the plain form counts each design once.

One rule for ties: scores tie if they are equal (means over seeds are rounded to 12 digits first, see table.py). A pair
that is tied at either scale is neither concordant nor discordant; in a share of pairs, it counts half. A design and its
copy in a resample are not a pair. A tie that decides which designs are promoted is broken in the least favourable way.

A statistic that is undefined is NaN, such as a correlation of scores that are all equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
NUM_SHUFFLES = 4999
_SHUFFLE_SEED = 20241219
Weighted: TypeAlias = Callable[[Floats, Floats, Floats], Floats]
"""x_n, y_n, weights_Bn -> one value per reweighting, B"""


def r2(x_n: Floats, y_n: Floats) -> float:
    """Squared Pearson correlation, the R^2 of Apollo (arXiv 2412.10360, Figure 15); ignores the sign of the slope."""
    return once(weighted_r2, x_n, y_n)


def spearman(x_n: Floats, y_n: Floats) -> float:
    """Pearson correlation of the ranks; tied designs share the mean of their ranks (Spearman 1904)."""
    return once(weighted_spearman, x_n, y_n)


def kendall(x_n: Floats, y_n: Floats) -> float:
    """Kendall's tau-b: (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y) (Kendall 1945)."""
    return once(weighted_kendall, x_n, y_n)


def decision_accuracy(x_n: Floats, y_n: Floats) -> float:
    """Share of pairs that both scales order alike, a tie at either counting half (DataDecide, arXiv 2504.11393)."""
    return once(weighted_decision_accuracy, x_n, y_n)


def tau_a(x_n: Floats, y_n: Floats) -> float:
    """Kendall's tau-a, (concordant - discordant) / all pairs = 2 * decision accuracy - 1. Ties lower it."""
    return 2 * decision_accuracy(x_n, y_n) - 1


def weighted_pearson(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """Pearson's correlation under each reweighting, with its sign."""
    share_Bn = weights_Bn / weights_Bn.sum(axis=1, keepdims=True)
    dx_Bn = _unit(x_n) - (share_Bn @ _unit(x_n))[:, None]
    dy_Bn = _unit(y_n) - (share_Bn @ _unit(y_n))[:, None]
    covariance = (share_Bn * dx_Bn * dy_Bn).sum(axis=1)
    variances = (share_Bn * dx_Bn**2).sum(axis=1) * (share_Bn * dy_Bn**2).sum(axis=1)
    defined = ~(_constant(x_n, weights_Bn) | _constant(y_n, weights_Bn))
    return np.clip(_divide(covariance, np.sqrt(np.where(defined, variances, 0.0))), -1.0, 1.0)


def weighted_r2(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """`r2` under each reweighting."""
    return np.asarray(weighted_pearson(x_n, y_n, weights_Bn) ** 2)


def weighted_spearman(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """`spearman` under each reweighting; ranks are doubled and centred, so they are exact integers."""
    rank_x_Bn, rank_y_Bn = _ranks(x_n, weights_Bn), _ranks(y_n, weights_Bn)
    products_B, squares_x_B, squares_y_B = (
        np.einsum("bn,bn,bn->b", weights_Bn, a_Bn, b_Bn)
        for a_Bn, b_Bn in ((rank_x_Bn, rank_y_Bn), (rank_x_Bn, rank_x_Bn), (rank_y_Bn, rank_y_Bn))
    )
    return _divide(products_B, np.sqrt(squares_x_B * squares_y_B))


def weighted_kendall(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """`kendall` under each reweighting."""
    return _divide(_concordance(x_n, y_n, weights_Bn), np.sqrt(_untied(x_n, weights_Bn) * _untied(y_n, weights_Bn)))


def weighted_decision_accuracy(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """`decision_accuracy` under each reweighting: (1 + tau-a) / 2 over the pairs of different designs."""
    pairs = (weights_Bn.sum(axis=1) ** 2 - (weights_Bn**2).sum(axis=1)) / 2
    return (1.0 + _divide(_concordance(x_n, y_n, weights_Bn), pairs)) / 2.0


def weighted_rmse(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """Residual standard deviation about the least-squares line, sqrt(squares / (designs - 2)), under each reweighting.

    NaN with fewer than three designs, or if they all have the same x.
    """
    size_B = weights_Bn.sum(axis=1)
    share_Bn = weights_Bn / size_B[:, None]
    dy_Bn = y_n - (share_Bn @ y_n)[:, None]
    unexplained_B = 1 - weighted_r2(x_n, y_n, weights_Bn)
    unexplained_B = np.where(_constant(y_n, weights_Bn), 0.0, unexplained_B)
    squares_B = (weights_Bn * dy_Bn**2).sum(axis=1) * unexplained_B
    return np.sqrt(_divide(squares_B, size_B - 2))


WEIGHTED: Mapping[str, Weighted] = {
    "r2": weighted_r2,
    "spearman": weighted_spearman,
    "kendall": weighted_kendall,
    "decision_accuracy": weighted_decision_accuracy,
}


def once(statistic: Weighted, x_n: Floats, y_n: Floats) -> float:
    """A statistic of the data themselves, each design counted once; NaN if undefined."""
    return float(statistic(x_n, y_n, np.ones((1, len(x_n))))[0])


def permutation_p(x_n: Floats, y_n: Floats) -> float:
    """Probability that shuffled designs agree as well or better, by Spearman's correlation.

    One-sided, over `NUM_SHUFFLES` shuffles and the data themselves (Phipson and Smyth 2010), so never zero. NaN if the
    correlation is undefined.
    """
    order, once_1n = (
        np.lexsort((y_n, x_n)),
        np.ones((1, len(x_n))),
    )  # sorted by score: the order of rows must not matter
    rank_x_n, rank_y_n = (_ranks(values_n[order], once_1n)[0] for values_n in (x_n, y_n))
    if not rank_x_n.any() or not rank_y_n.any():
        return float("nan")
    shuffled_Bn = np.random.default_rng(_SHUFFLE_SEED).permuted(np.tile(rank_y_n, (NUM_SHUFFLES, 1)), axis=1)
    as_well = int((shuffled_Bn @ rank_x_n >= rank_y_n @ rank_x_n - 0.5).sum())  # sums of whole numbers
    return (1 + as_well) / (1 + NUM_SHUFFLES)


def jackknife(statistic: Weighted, x_n: Floats, y_n: Floats) -> Floats:
    """The statistic without each design in turn, n values; NaN where it becomes undefined."""
    return statistic(x_n, y_n, 1.0 - np.eye(len(x_n)))


def _concordance(x_n: Floats, y_n: Floats, weights_Bn: Floats) -> Floats:
    """Weighted number of concordant pairs minus that of discordant ones. The only sum that takes n^2 steps."""
    order_nn = np.sign(x_n[:, None] - x_n) * np.sign(y_n[:, None] - y_n)
    return np.asarray(np.einsum("bn,bn->b", weights_Bn @ order_nn, weights_Bn) / 2.0)


def _groups(x_n: Floats, weights_Bn: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Weight of each distinct score in ascending order (B x g), and the index of each design's score among them (n)."""
    order_n = np.argsort(x_n, kind="stable")
    _, start_g = np.unique(x_n[order_n], return_index=True)
    group_n = np.unique(x_n, return_inverse=True)[1]
    return np.add.reduceat(weights_Bn[:, order_n], start_g, axis=1), group_n


def _ranks(x_n: Floats, weights_Bn: Floats) -> Floats:
    """Doubled, centred ranks, B x n: the weight of the designs below each one minus that of the designs above."""
    weight_Bg, group_n = _groups(x_n, weights_Bn)
    up_to_Bg = np.cumsum(weight_Bg, axis=1)
    return np.asarray((2 * up_to_Bg - weight_Bg - up_to_Bg[:, -1:])[:, group_n])


def _untied(x_n: Floats, weights_Bn: Floats) -> Floats:
    """Weighted number of pairs with different scores."""
    weight_Bg, _ = _groups(x_n, weights_Bn)
    return np.asarray((weights_Bn.sum(axis=1) ** 2 - (weight_Bg**2).sum(axis=1)) / 2.0)


def _unit(x_n: Floats) -> Floats:
    """Scores, centred and scaled to a largest distance of 1, to avoid overflow and cancellation in squares."""
    dx_n: Floats = x_n - x_n.mean()
    return dx_n / max(float(np.abs(dx_n).max()), float(np.finfo(np.float64).tiny))


def _constant(x_n: Floats, weights_Bn: Floats) -> NDArray[np.bool_]:
    """Whether all designs with a weight have the same score (a variance is rarely exactly zero, due to rounding)."""
    counted_Bn = weights_Bn > 0
    highest = np.where(counted_Bn, x_n, -np.inf).max(axis=1)
    lowest = np.where(counted_Bn, x_n, np.inf).min(axis=1)
    return np.asarray(highest == lowest)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient; NaN where the denominator is not positive."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def defined(value: float) -> float | None:
    """The value, or None if it is NaN or infinite: JSON has neither."""
    return float(value) if math.isfinite(value) else None


def twelve_digits(value: float) -> float:
    """The value rounded to 12 digits: a difference of scores with two decimals then prints with two decimals."""
    return float(f"{value:.12g}")
