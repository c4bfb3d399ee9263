"""Promoting the k best of a small scale: what it lost, whom it held, and what to expect of a proxy that agrees so well.

Higher is better for all scores here: negate losses. Legend: `n` designs; `M` imagined small-scale measurements.

What was observed, `regret` and `recall`, is one draw: a proxy that picks the winner by luck has regret 0. What to
expect is worked out from the agreement alone (Kendall's tau), for the very scores seen at the large scale: their ranks
are joined to imagined small-scale ranks by a Gaussian copula of that tau, rho = sin(pi tau / 2) (Greiner 1909), and the
k best of many such small scales are promoted. The interval follows from that of tau, as regret falls and recall rises
with it; it is one of the expectation, so what was observed may lie outside.
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

NUM_IMAGINED = 2000
_SEED = 20241214


def regret(x_n: Floats, y_n: Floats, k: int) -> float:
    """Points lost at the large scale by promoting the k best of the small one: best y - best y among those k.

    Designs that tie for the last places are taken worst first, so that the value is what the rule guarantees and does
    not depend on the order of rows.
    """
    return float(y_n.max() - _promoted(x_n, y_n, k).max())


def recall(x_n: Floats, y_n: Floats, k: int) -> float:
    """Share of the k best at the large scale that are among the k best of the small one.

    Ties for the last places at the small scale count against; whoever ties with the k-th best at the large scale is one
    of the k best.
    """
    kth_best = np.sort(y_n)[::-1][k - 1]
    return float((_promoted(x_n, y_n, k) >= kth_best).sum() / k)


def ndcg(x_n: Floats, y_n: Floats, k: int) -> float:
    """Normalised discounted cumulative gain of the k best of the small scale (Jarvelin and Kekalainen 2002), 0 to 1.

    Gain is y above the worst design; the design promoted in place i counts 1 / log2(i + 1) of it. Ties at the small
    scale are put worst first. 1 where all y are equal: there is nothing to miss.
    """
    gain_n = y_n - y_n.min()
    discount_k = 1 / np.log2(np.arange(2, k + 2))
    ideal = float(np.sort(gain_n)[::-1][:k] @ discount_k)
    return float(gain_n[np.lexsort((y_n, -x_n))][:k] @ discount_k) / ideal if ideal > 0 else 1.0


def _promoted(x_n: Floats, y_n: Floats, k: int) -> Floats:
    """Those y of the k best by x, k values; of those that tie for the last places the worst."""
    assert 1 <= k <= len(x_n)
    cut = np.sort(x_n)[::-1][k - 1]
    certain, tied = y_n[x_n > cut], np.sort(y_n[x_n == cut])
    return np.concatenate([certain, tied[: k - len(certain)]])


@dataclass(frozen=True)
class Expected:
    """The mean over studies like this one, with its 95 % interval."""

    regret: float
    """Points."""
    regret_interval: Interval | None
    recall: float
    recall_interval: Interval | None


def expected(y_n: Floats, tau: float, interval: Interval | None, ks: Sequence[int]) -> dict[int, Expected]:
    """What promoting k designs costs on average, and how many of the k best it holds, by the agreement.

    Args:
        y_n: scores at the large scale.
        tau: Kendall's tau between the scales.
        interval: of tau.
        ks: how many are promoted.
    """
    taus = [tau, *((interval.low, interval.high) if interval else ())]
    order = np.sort(y_n)
    draws = np.random.default_rng(_SEED).standard_normal((2, _num_imagined(len(y_n)), len(y_n)))
    latent_Mn, noise_Mn = np.sort(draws[0], axis=1), draws[1]
    # tau -> k -> regret and recall; the same draws for all, so that they rise and fall together with tau
    found = [_average(order, latent_Mn, noise_Mn, math.sin(math.pi * min(max(t, -1.0), 1.0) / 2), ks) for t in taus]
    return {
        k: Expected(
            regret=found[0][k][0],
            regret_interval=_spanning([values[k][0] for values in found]),
            recall=found[0][k][1],
            recall_interval=_spanning([values[k][1] for values in found]),
        )
        for k in ks
    }


def _num_imagined(n: int) -> int:
    """Fewer for very many designs: a million numbers are enough, and quick."""
    return max(200, min(NUM_IMAGINED, 1_000_000 // n))


def _average(
    order_n: Floats, latent_Mn: Floats, noise_Mn: Floats, rho: float, ks: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Mean regret and recall of each k. Scores and latents are in ascending order, so the last k are the best."""
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
