"""Least squares: coefficients with their errors, influence of each observation, prediction of a new one.

Checked against the certified values of NIST's reference sets Norris and Longley (tests/analysis/numbers/test_line.py).

Legend: `n` observations (designs); `p` regressors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analysis.numbers.agreement import Floats

LEVEL = 0.95
"""Level of all intervals."""
NORMAL_QUANTILE = 1.959964
"""Quantile of the 95 % interval for a known error: `t_quantile` at infinite degrees of freedom."""
_ROUNDING = 1e-13
"""Residuals below this share of the largest score are attributed to rounding."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Ordinary least squares of y on regressors."""

    coefficients_p: Floats
    errors_p: Floats
    """Standard errors under equal variances: residual_sd * sqrt(diag (X'X)^-1)."""
    robust_errors_p: Floats
    """HC3 (MacKinnon and White 1985): jackknife errors, also valid under unequal variances; infinite at leverage 1."""
    residuals_n: Floats
    leverage_n: Floats
    """Diagonal of the hat matrix: the weight of an observation in its own prediction; they sum to p."""
    residual_sd: float
    """sqrt(sum of squared residuals / (n - p)), in units of y."""

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom."""
        return len(self.residuals_n) - len(self.coefficients_p)

    @property
    def cooks_distance_n(self) -> Floats:
        """How far leaving an observation out moves all predictions (Cook 1977); infinite at leverage 1."""
        h_n, p = self.leverage_n, len(self.coefficients_p)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.residuals_n / self.residual_sd) ** 2 * h_n / (1 - h_n) ** 2 / p


def least_squares(x_np: Floats, y_n: Floats) -> Fit | None:
    """Fit y on the columns of x; include a column of ones for an intercept.

    Uses QR on columns scaled to length 1, so that regressors of different magnitudes keep their precision.

    Returns:
        None if the columns are linearly dependent, or no degrees of freedom remain for the residuals (n <= p).
    """
    n, p = x_np.shape
    lengths_p = np.sqrt((x_np**2).sum(axis=0))
    if n <= p or (lengths_p == 0).any():
        return None
    q_np, r_pp = np.linalg.qr(x_np / lengths_p)
    diagonal_p = np.abs(np.diag(r_pp))
    if diagonal_p.min() <= 1e-11 * diagonal_p.max():
        return None
    inverse_pp = np.linalg.inv(r_pp)
    residuals_n = y_n - q_np @ (q_np.T @ y_n)
    leverage_n = np.minimum((q_np**2).sum(axis=1), 1.0)
    residual_sd = math.sqrt(float(residuals_n @ residuals_n) / (n - p))
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out_n = np.where(leverage_n < 1 - 1e-9, residuals_n / (1 - leverage_n), np.inf)
        robust_p = np.sqrt((((inverse_pp @ q_np.T) * left_out_n) ** 2).sum(axis=1)) / lengths_p
    return Fit(
        coefficients_p=inverse_pp @ (q_np.T @ y_n) / lengths_p,
        errors_p=residual_sd * np.sqrt((inverse_pp**2).sum(axis=1)) / lengths_p,
        robust_errors_p=np.where(np.isnan(robust_p), np.inf, robust_p),
        residuals_n=residuals_n,
        leverage_n=leverage_n,
        residual_sd=residual_sd,
    )


@dataclass(frozen=True, eq=False)
class Line:
    """Least squares of y on a single x, fitted around the mean of x to keep precision."""

    slope: float
    """Change of y, in points, per point of x."""
    intercept: float
    """y at x = 0, often far outside the data."""
    slope_se: float
    intercept_se: float
    slope_robust_se: float
    intercept_robust_se: float
    residual_sd: float
    leverage_n: Floats
    cooks_distance_n: Floats
    mean_x: float
    squares_x: float
    """Sum of squared distances from the mean of x."""

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom, n - 2."""
        return len(self.leverage_n) - 2

    def at(self, x: Floats | float) -> Floats:
        """Fitted y at each x."""
        return np.asarray(self.intercept + self.slope * np.asarray(x, dtype=np.float64))

    def band(self, x: Floats | float) -> Floats:
        """Half-width of the pointwise 95 % confidence band of the line."""
        return self._half_width(x, of_line=True)

    def prediction(self, x: Floats | float) -> Floats:
        """Half-width of a new design's 95 % prediction interval: t(n - 2) s sqrt(1 + 1/n + (x - mean)^2 / squares)."""
        return self._half_width(x, of_line=False)

    def _half_width(self, x: Floats | float, *, of_line: bool) -> Floats:
        distance = (np.asarray(x, dtype=np.float64) - self.mean_x) ** 2 / self.squares_x
        return np.asarray(
            t_quantile(self.freedom)
            * self.residual_sd
            * np.sqrt((0.0 if of_line else 1.0) + 1 / len(self.leverage_n) + distance)
        )


def fitted_line(x_n: Floats, y_n: Floats) -> Line | None:
    """Least squares of y on x; None if x is constant or there are fewer than three points."""
    if len(x_n) < 3 or np.ptp(x_n) == 0:
        return None
    mean = float(x_n.mean())
    base = float(y_n[0])  # so that a constant y has a slope of exactly zero
    fit = least_squares(np.column_stack([np.ones_like(x_n), x_n - mean]), y_n - base)
    if fit is None:
        return None
    if fit.residual_sd <= _ROUNDING * float(np.abs(y_n).max()):  # all points on the line, up to rounding
        fit = replace(fit, residual_sd=0.0, errors_p=0 * fit.errors_p, robust_errors_p=0 * fit.errors_p)
    (level, slope), (level_se, slope_se), robust = fit.coefficients_p, fit.errors_p, fit.robust_errors_p
    gain_n = 1 / len(x_n) - mean * (x_n - mean) / float(
        ((x_n - mean) ** 2).sum()
    )  # the intercept is a weighted sum over y
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out_n = np.where(fit.leverage_n < 1 - 1e-9, fit.residuals_n / (1 - fit.leverage_n), np.inf)
        robust_intercept = float(np.sqrt(((gain_n * left_out_n) ** 2).sum()))
    return Line(
        slope=float(slope),
        intercept=float(level + base - slope * mean),
        slope_se=float(slope_se),
        intercept_se=math.hypot(float(level_se), mean * float(slope_se)),
        slope_robust_se=float(robust[1]),
        intercept_robust_se=robust_intercept if not math.isnan(robust_intercept) else math.inf,
        residual_sd=fit.residual_sd,
        leverage_n=fit.leverage_n,
        cooks_distance_n=fit.cooks_distance_n,
        mean_x=mean,
        squares_x=float(((x_n - mean) ** 2).sum()),
    )


def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t: by default, 95 % of its draws are closer to zero."""
    from scipy.special import stdtrit  # importing scipy takes a third of a second

    return float(stdtrit(freedom, (1 + level) / 2))
