"""Uncertainty of statistics: 95 % intervals, resamples of the designs. Works on arrays, not on score tables.

The interval of each statistic was chosen by measured coverage (`make coverage`, docs/statistics.md): theory for normal
scores alone gives intervals that are too narrow if some designs collapsed; a bootstrap alone, BCa included, is too
narrow for 8 to 20 designs. Therefore two errors are combined, that of theory and that of the jackknife: the larger one
for statistics of the scores themselves, their root mean square for statistics of ranks.

Legend: `n` designs; `B` resamples; weights_Bn is how often each design was drawn (see agreement.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from analysis.numbers.line import LEVEL, t_quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.numbers.agreement import Floats
    from analysis.numbers.line import Line

NUM_RESAMPLES = 4999
FEWEST_FOR_INTERVAL = 5
"""Designs below which there is no interval: the variance of Kendall's tau is 0.437 / (n - 4)."""
METHODS = {
    "r2": "Fisher's z of r, the larger of 1/sqrt(n-3) and the jackknife's error; squared",
    "slope": "t(n-2), the larger of the least-squares and the HC3 error",
    "intercept": "t(n-2), the larger of the least-squares and the HC3 error",
    "rmse": "t(n-2) on the logarithm, the larger of 1/sqrt(2(n-2)) and the jackknife's error",
    "spearman": "Fisher's z, root mean square of Bonett and Wright's and the jackknife's error",
    "kendall": "Fisher's z, root mean square of Fieller's and Hoeffding's error",
    "decision_accuracy": "the interval of Kendall's tau-a, as (1 + tau) / 2",
    "regret": "expected value by a Gaussian copula at the ends of the interval of Kendall's tau",
    "recall": "expected value by a Gaussian copula at the ends of the interval of Kendall's tau",
}
"""Statistic -> method of its interval, as explained in docs/statistics.md."""
_MAX_EXPECTED_SWAPS = -math.log((1 - LEVEL) / 2)
"""Upper limit of the expected number of swapped neighbours if none was observed: exp(-3.69) is 2.5 %."""
_SEED = 20241213
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A two-sided interval at `LEVEL`."""

    low: float
    high: float


def r2_interval(r: float, left_out_n: Floats) -> Interval | None:
    """Interval of the squared correlation.

    Args:
        r: Pearson's correlation, with its sign.
        left_out_n: the same without each design in turn.

    Returns:
        None below `FEWEST_FOR_INTERVAL` designs, if r is undefined or defined only due to a single design, or if all
        points lie on a line.
    """
    n = len(left_out_n)
    if n < FEWEST_FOR_INTERVAL or not _is_defined(r, left_out_n) or 1 - abs(r) < 1e-12:
        return None
    error = max(1 / math.sqrt(n - 3), _jackknife_error(left_out_n) / (1 - r * r))
    low, high = _around(r, error)
    ends = sorted((low * low, high * high))
    return Interval(0.0 if low < 0 < high else ends[0], ends[1])


def designs_for(r2: float, half_width: float) -> int:
    """Fewest designs for a distance from R^2 to the lower end of its interval, for normal scores.

    Args:
        r2: R^2, assumed to be the true one, above 0 and below 1.
        half_width: largest distance allowed, 0 to 1.
    """
    r, tail = math.sqrt(r2), _NORMAL.inv_cdf((1 + LEVEL) / 2)
    lowest = math.sqrt(max(0.0, r2 - half_width))
    return max(FEWEST_FOR_INTERVAL, 3 + math.ceil((tail / (math.atanh(r) - math.atanh(lowest))) ** 2))


def spearman_interval(rho: float, left_out_n: Floats) -> Interval | None:
    """Interval of Spearman's correlation, with variance (1 + rho^2 / 2) / (n - 3) on Fisher's scale.

    Source: Bonett and Wright 2000.

    Args:
        rho: Spearman's correlation.
        left_out_n: the same without each design in turn.

    Returns:
        None below `FEWEST_FOR_INTERVAL` designs, or if rho is undefined or defined only due to a single design.
    """
    n = len(left_out_n)
    if n < FEWEST_FOR_INTERVAL or not _is_defined(rho, left_out_n):
        return None
    swapped = 6 / (n**3 - n)  # half of what swapping two neighbours subtracts from a perfect order
    return _rank_interval(rho, left_out_n, (1 + rho * rho / 2) / (n - 3), swapped)


def kendall_interval(tau: float, left_out_n: Floats) -> Interval | None:
    """Interval of Kendall's tau, a or b, with variance 0.437 / (n - 4) on Fisher's scale.

    Source: Fieller, Hartley and Pearson 1957.

    Args:
        tau: Kendall's tau.
        left_out_n: the same without each design in turn.

    Returns:
        None below `FEWEST_FOR_INTERVAL` designs, or if tau is undefined or defined only due to a single design.
    """
    n = len(left_out_n)
    if n < FEWEST_FOR_INTERVAL or not _is_defined(tau, left_out_n):
        return None
    swapped = 2 / (n * (n - 1))
    # For a mean over pairs, the jackknife's error is (n - 1) / (n - 2) times that of Hoeffding 1948, 2 sd(q) / sqrt(n)
    # with q the share of concordant pairs of each design: too large for few designs.
    hoeffding_n = left_out_n.mean() + (left_out_n - left_out_n.mean()) * (n - 2) / (n - 1)
    return _rank_interval(tau, hoeffding_n, 0.437 / (n - 4), swapped)


def _is_defined(estimate: float, left_out_n: Floats) -> bool:
    """Whether a statistic is defined, also without any one design (all others could have the same score)."""
    return math.isfinite(estimate) and bool(np.isfinite(left_out_n).all())


def _rank_interval(estimate: float, left_out_n: Floats, variance: float, swapped: float) -> Interval:
    """Interval of a rank correlation, from the root mean square of the errors of theory and of the jackknife.

    A perfect or reversed order has an error too: its correlation is moved towards zero by half a swap of neighbours,
    and the interval ends where a study without any swap has a probability of 2.5 %.

    Args:
        estimate: the correlation.
        left_out_n: the same without each design in turn.
        variance: by theory, on Fisher's scale.
        swapped: half of what swapping two neighbours subtracts from a perfect order.
    """
    size = min(abs(estimate), 1 - swapped)
    error = math.sqrt((variance + (_jackknife_error(left_out_n) / (1 - size * size)) ** 2) / 2)
    low, high = _around(math.copysign(size, estimate), error)
    if abs(estimate) > 1 - swapped / 2:
        far = max(-1.0, 1 - 2 * _MAX_EXPECTED_SWAPS * swapped)
        low, high = (min(low, far), 1.0) if estimate > 0 else (-1.0, max(high, -far))
    return Interval(min(low, estimate), max(high, estimate))


def line_intervals(line: Line, left_out_rmse_n: Floats) -> dict[str, Interval | None]:
    """Intervals of slope, intercept and rmse.

    Args:
        line: the fit.
        left_out_rmse_n: its residual standard deviation without each design in turn.

    Returns:
        Statistic -> interval; None below `FEWEST_FOR_INTERVAL` designs, if a single design determines the statistic, or
        if all points lie on a line.
    """
    if line.freedom + 2 < FEWEST_FOR_INTERVAL or line.residual_sd <= 0:
        return dict.fromkeys(("slope", "intercept", "rmse"))
    t = t_quantile(line.freedom)
    with np.errstate(divide="ignore"):
        logs_n = np.log(left_out_rmse_n)
    error = max(1 / math.sqrt(2 * line.freedom), _jackknife_error(logs_n) if np.isfinite(logs_n).all() else math.inf)
    return {
        "slope": _plus_minus(line.slope, t * max(line.slope_se, line.slope_robust_se)),
        "intercept": _plus_minus(line.intercept, t * max(line.intercept_se, line.intercept_robust_se)),
        "rmse": Interval(line.residual_sd * math.exp(-t * error), line.residual_sd * math.exp(t * error))
        if t * error < 50
        else None,
    }


def _plus_minus(estimate: float, half: float) -> Interval | None:
    return Interval(estimate - half, estimate + half) if math.isfinite(half) else None


def _around(r: float, error: float) -> tuple[float, float]:
    """Ends of a correlation -+ 1.96 errors on Fisher's z scale (Fisher 1921)."""
    z, tail = math.atanh(r), _NORMAL.inv_cdf((1 + LEVEL) / 2)
    return math.tanh(z - tail * error), math.tanh(z + tail * error)


def _jackknife_error(left_out_n: Floats) -> float:
    """Standard error by the jackknife, from the statistic without each design in turn (Tukey 1958)."""
    n = len(left_out_n)
    return math.sqrt((n - 1) / n * float(((left_out_n - left_out_n.mean()) ** 2).sum()))


def bootstrap_weights(n: int, resamples: int = NUM_RESAMPLES) -> Floats:
    """Weights of resamples with replacement, B x n, the same ones on every call.

    Resamples with fewer than three different designs are left out: any two points correlate perfectly.

    Args:
        n: designs.
        resamples: number of resamples drawn.
    """
    counts_Bn = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1.0 / n), size=resamples)
    weights_Bn: Floats = counts_Bn[(counts_Bn > 0).sum(axis=1) >= 3].astype(np.float64)
    return weights_Bn


def bca_interval(statistic: Callable[[Floats], Floats], weights_Bn: Floats) -> Interval | None:
    """Bias-corrected and accelerated bootstrap (Efron 1987; Efron and Tibshirani 1993, section 14.3).

    Resamples in which the statistic is undefined are left out. The interval always includes the estimate: where the
    bias correction would move an end past it, the interval ends at the estimate.

    Args:
        statistic: weights_Bn -> B values, NaN where undefined.
        weights_Bn: from `bootstrap_weights`.

    Returns:
        None below `FEWEST_FOR_INTERVAL` designs, or if the statistic is undefined in the data, undefined in more than
        half of the resamples, or the same in all of them (a perfect order stays perfect in every resample); or if the
        estimate is the least of nearly all resamples, as an R^2 of 0 is, and the bias correction leaves no width.
    """
    n = weights_Bn.shape[1]
    estimate = float(statistic(np.ones((1, n)))[0])
    values_B = statistic(weights_Bn)
    values_B = values_B[np.isfinite(values_B)]
    too_few = n < FEWEST_FOR_INTERVAL or 2 * len(values_B) < len(weights_Bn)
    if too_few or not math.isfinite(estimate) or np.ptp(values_B) < 1e-12:
        return None
    below = float(np.mean(values_B < estimate) + np.mean(values_B == estimate) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(values_B)), 1 - 1 / len(values_B)))
    acceleration = _acceleration(statistic(1.0 - np.eye(n)))
    tail = _NORMAL.inv_cdf((1 + LEVEL) / 2)
    low, high = np.quantile(values_B, [_corrected(bias + z, bias, acceleration) for z in (-tail, tail)])
    low, high = min(float(low), estimate), max(float(high), estimate)
    return Interval(low, high) if high - low > 1e-12 else None


def _acceleration(jackknife_n: Floats) -> float:
    """Skewness of the jackknife over 6; designs whose removal leaves the statistic undefined are left out."""
    values = jackknife_n[np.isfinite(jackknife_n)]
    deviation = values.mean() - values if len(values) else np.zeros(1)
    squares = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _corrected(shifted: float, bias: float, acceleration: float) -> float:
    """The quantile of the resamples that replaces the nominal one."""
    room = 1 - acceleration * shifted
    if room <= 0:  # the limit as the acceleration grows
        return 1.0 if shifted > 0 else 0.0
    return _NORMAL.cdf(bias + shifted / room)
