"""Promoting the k best designs of a small scale: regret, recall and NDCG, observed and expected.

Higher is better for all scores here: negate losses. Legend: `n` designs; `M` simulated small-scale measurements.

Observed regret and recall are a single draw: a proxy that picks the winner by luck has regret 0. Expected regret and
recall follow from the agreement alone (Kendall's tau) and the scores observed at the large scale: a Gaussian copula of
that tau, rho = sin(pi tau / 2) (Greiner 1909), joins the ranks of those scores to simulated small-scale ranks, and the
k best of each of many simulated small scales are promoted. The interval comes from that of tau, since regret falls and
recall rises with tau; it is an interval of the expectation, so the observed value may lie outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.numbers import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.numbers import Floats

NUM_SIMULATED = 2000
"""Small-scale measurements that are simulated, at most."""
_SEED = 20241214


def regret(x_n: Floats, y_n: Floats, k: int) -> float:
    """Points lost at the large scale by promoting the k best of the small one: best y - best y among those k.

    Of designs that tie at the cut, the worst are promoted first, so that the value is what the rule guarantees and
    does not depend on the order of rows.
    """
    return float(y_n.max() - _promoted(x_n, y_n, k).max())


def recall(x_n: Floats, y_n: Floats, k: int) -> float:
    """Share of the k best at the large scale that are among the k best of the small one.

    Of designs that tie at the cut of the small scale, the worst are promoted first; a design that ties with the k-th
    best at the large scale is one of the k best.
    """
    kth_best = np.sort(y_n)[::-1][k - 1]
    return float((_promoted(x_n, y_n, k) >= kth_best).sum() / k)


def ndcg(x_n: Floats, y_n: Floats, k: int) -> float:
    """Normalised discounted cumulative gain of the k best of the small scale (Jarvelin and Kekalainen 2002), 0 to 1.

    The gain of a design is its y less the lowest y, discounted by 1 / log2(i + 1) at rank i of the small scale. Ties at
    the small scale are ranked worst first. 1 where all y are equal.
    """
    gain_n = y_n - y_n.min()
    discount_k = 1 / np.log2(np.arange(2, k + 2))
    ideal = float(np.sort(gain_n)[::-1][:k] @ discount_k)
    return float(gain_n[np.lexsort((y_n, -x_n))][:k] @ discount_k) / ideal if ideal > 0 else 1.0


def _promoted(x_n: Floats, y_n: Floats, k: int) -> Floats:
    """The y of the k best by x, shape (k,); of designs that tie at the cut, the worst."""
    assert 1 <= k <= len(x_n)
    cut = np.sort(x_n)[::-1][k - 1]
    certain, tied = y_n[x_n > cut], np.sort(y_n[x_n == cut])
    return np.concatenate([certain, tied[: k - len(certain)]])


@dataclass(frozen=True)
class Expected:
    """Mean regret and recall over studies with the same agreement, with 95 % intervals."""

    regret: float
    """Mean regret in points."""
    regret_interval: Interval | None
    recall: float
    recall_interval: Interval | None


def expected(y_n: Floats, tau: float, interval: Interval | None, ks: Sequence[int]) -> dict[int, Expected]:
    """Expected regret and recall of promoting k designs, from the agreement of the scales.

    Args:
        y_n: scores at the large scale.
        tau: Kendall's tau between the scales.
        interval: 95 % interval of tau.
        ks: numbers of promoted designs.

    Returns:
        k -> expected regret and recall; their intervals are None without one of tau.
    """
    taus = [tau, *((interval.low, interval.high) if interval else ())]
    order = np.sort(y_n)
    draws = np.random.default_rng(_SEED).standard_normal((2, _num_simulated(len(y_n)), len(y_n)))
    latent_Mn, noise_Mn = np.sort(draws[0], axis=1), draws[1]
    # The same draws for every tau, so that regret and recall are monotone in tau.
    averages = [_average(order, latent_Mn, noise_Mn, math.sin(math.pi * min(max(t, -1.0), 1.0) / 2), ks) for t in taus]
    return {
        k: Expected(
            regret=averages[0][k][0],
            regret_interval=_spanning([average[k][0] for average in averages]),
            recall=averages[0][k][1],
            recall_interval=_spanning([average[k][1] for average in averages]),
        )
        for k in ks
    }


def _num_simulated(n: int) -> int:
    """Fewer for very many designs: a million numbers are accurate enough, and fast."""
    return max(200, min(NUM_SIMULATED, 1_000_000 // n))


def _average(
    order_n: Floats, latent_Mn: Floats, noise_Mn: Floats, rho: float, ks: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Mean regret and recall by k. Scores and latents are in ascending order, so the last k are the best."""
    n, most = len(order_n), max(ks)
    x_Mn = rho * latent_Mn + math.sqrt(max(0.0, 1 - rho * rho)) * noise_Mn
    chosen_Mk = np.argpartition(-x_Mn, most - 1, axis=1)[:, :most]
    best_first = np.argsort(-np.take_along_axis(x_Mn, chosen_Mk, axis=1), axis=1)
    chosen_Mk = np.take_along_axis(chosen_Mk, best_first, axis=1)
    best_Mk = np.maximum.accumulate(chosen_Mk, axis=1)
    return {
        k: (
            max(0.0, float(f"{order_n[-1] - order_n[best_Mk[:, k - 1]].mean():.12g}")),
            float((chosen_Mk[:, :k] >= n - k).mean()),
        )
        for k in ks
    }


def _spanning(values: Sequence[float]) -> Interval | None:
    return Interval(min(values), max(values)) if len(values) > 1 else None
