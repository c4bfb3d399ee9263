"""From small-scale scores to predictions at a large scale that no design, or few, were trained at.

The model, in standardised scores. A design's quality drifts as the LLM grows: between two sizes its correlation is
exp(-rate * |ln(size ratio)|), an Ornstein-Uhlenbeck process in ln(size). A run shows it with noise between seeds on
top. So all smaller scales together foretell a design by kriging (Rasmussen and Williams 2006, section 2.2): the nearest
scale weighs most, the others help as far as it is noisy, and a design that lacks one is foretold less surely.
What that foretelling is worth in points of the large scale is a Bayesian linear regression (conjugate, Gelman et al.
2013, section 14.8), y = level + slope * index + residual: the prior comes from published studies and counts as so many
designs, each score at the large scale counts as one more. The level is unknown before the first.

Legend: `n` designs; `S` small scales; `M` draws. Higher is better for all scores here: losses come in negated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.promotion.candidate_designs import Candidates
from analysis.promotion.kriging import Standardised, krige, standardised
from analysis.promotion.prior import Prior

if TYPE_CHECKING:
    from analysis.numbers import Floats


NUM_DRAWS = 4000
_SEED = 20241216
_TINY = 1e-9
_PINNED = 1e6
"""Weight of the level where nothing tells it: as good as given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """What is foretold before any score at the large scale is looked at."""

    prior: Prior
    seen: Standardised
    index_n: Floats
    """The foretelling in standardised units: what all small scales together say of a design."""
    explained_n: Floats
    """Share of the variance of qualities at the large scale that it is expected to explain, by design."""
    unexplained: float
    """Residual variance of a run of the design that is foretold best, noise included, in units of that variance."""
    relative_n: Floats
    """Residual variance of each design over that of the design that is foretold best."""
    unit: float
    """Points of the large scale that one standardised unit is expected to be."""

    @property
    def slope_weight(self) -> float:
        """Sum of squares of the index that the slope's prior stands for: its designs spread like the candidates."""
        return self.prior.weight * max(float(self.index_n.var()), _TINY)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """The posterior: what the large scale would show."""

    candidates: Candidates
    basis: Basis
    level: float
    slope: float
    """Points for one unit of the index: its posterior mean, where what would be below 0 counts as 0. A small scale may
    tell nothing, but is not taken for reversed: else the worst designs would be promoted in case it is."""
    free_slope: float
    """Mode of the posterior without that limit."""
    covariance: Floats
    """2 x 2, of level and slope, over the residual variance."""
    residual_sd: float
    """Of a run of the design that is foretold best, in points."""
    freedom: float
    num_known: int

    @property
    def prior(self) -> Prior:
        """What was taken for known."""
        return self.basis.prior

    @property
    def index_n(self) -> Floats:
        """What all small scales together say of a design, in standardised units."""
        return self.basis.index_n

    @property
    def is_relative(self) -> bool:
        """Whether no design is known at the large scale: predictions are then differences to the designs' mean."""
        return self.num_known == 0

    @property
    def prior_share(self) -> float:
        """Share of what is known of the transfer that is prior: of the slope or of the residual scatter, the larger.

        Known designs that score alike at the small scales tell of the scatter, but nothing of the slope.
        """
        of_slope = self.basis.slope_weight * float(self.covariance[1, 1])
        return min(1.0, max(of_slope, self.prior.weight / self.freedom))

    @property
    def mean_n(self) -> Floats:
        """Predicted scores; known ones as they are."""
        known_n = self.candidates.known_n
        return np.where(np.isfinite(known_n), known_n, self.level + self.slope * self.index_n)

    @property
    def sd_n(self) -> Floats:
        """Standard deviation of the prediction of a run; 0 where known. With few degrees of freedom its tails are
        those of Student's t."""
        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        spread_n = ((x_n2 @ self.covariance) * x_n2).sum(axis=1) + self.basis.relative_n
        sd_n = self.residual_sd * np.sqrt(self._heavy * spread_n)
        return np.where(np.isfinite(self.candidates.known_n), 0.0, sd_n)

    @property
    def _heavy(self) -> float:
        """Variance of Student's t over its squared scale; with fewer than three degrees of freedom as with three."""
        return self.freedom / (self.freedom - 2) if self.freedom > 3 else 3.0

    def covariance_nn(self) -> Floats:
        """Of the predictions of runs, points squared: they share the errors of level and slope."""
        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        shared_nn = x_n2 @ self.covariance @ x_n2.T
        return np.asarray(self._heavy * self.residual_sd**2 * (shared_nn + np.diag(self.basis.relative_n)))

    def half_width_n(self) -> Floats:
        """Half-width of the 95 % prediction interval of a run; 0 where known."""
        from analysis.numbers import t_quantile

        return np.asarray(t_quantile(self.freedom) * self.sd_n / math.sqrt(self._heavy))

    def draws(self, num: int = NUM_DRAWS, seed: int = _SEED) -> Floats:
        """y_Mn: scores at the large scale as they may turn out, jointly; known ones are the same in all draws.

        Level and slope are drawn where they are independent, at the middle of the known designs; slopes stop at 0.
        """
        rng = np.random.default_rng(seed)
        sd_M = self.residual_sd * np.sqrt(self.freedom / rng.chisquare(self.freedom, num))
        (level_M, slope_M), centre = rng.standard_normal((2, num)) * sd_M, _centre(self.covariance)
        slope_M = np.maximum(self.free_slope + slope_M * math.sqrt(self.covariance[1, 1]), 0.0)
        level_M *= math.sqrt(max(float(self.covariance[0, 0] + centre * self.covariance[0, 1]), 0.0))
        noise_Mn = rng.standard_normal((num, len(self.index_n))) * np.sqrt(self.basis.relative_n)
        middle_M = self.level + self.slope * centre + level_M
        y_Mn = middle_M[:, None] + np.outer(slope_M, self.index_n - centre) + sd_M[:, None] * noise_Mn
        known_n = self.candidates.known_n
        return np.asarray(np.where(np.isfinite(known_n), known_n, y_Mn))

    def knowing(self, known_n: Floats) -> Transfer:
        """The posterior with other scores at the large scale; what the small scales say stays as it is."""
        return _posterior(self.candidates.knowing(known_n), self.basis)


def predict(found: Candidates, prior: Prior) -> Transfer:
    """The posterior of all scores at the large scale.

    Raises:
        TableError: all designs score alike at the small scales.
    """
    seen = standardised(found, prior)
    index_n, explained_n = krige(seen.z_nS, seen.share_S / np.maximum(found.seeds_nS, 1.0), found, seen.rate)
    # The noise of a run at the large scale is not measured: that of the largest small scale is taken for it.
    unexplained_n = np.maximum(1 - explained_n, 0.01) + float(seen.share_S[-1])
    basis = Basis(
        prior=prior,
        seen=seen,
        index_n=index_n,
        explained_n=explained_n,
        unexplained=float(unexplained_n.min()),
        relative_n=unexplained_n / unexplained_n.min(),
        unit=seen.spread * math.exp(prior.growth * (found.log_size - found.log_size_S[seen.reference])),
    )
    return _posterior(found, basis)


def explained_with_run(transfer: Transfer, scale: int) -> Floats:
    """Share of variance that would be explained after one more run of each design at a small scale, n values.

    Args:
        transfer: the posterior.
        scale: place among the small scales; a first run there, or a further seed.
    """
    found, seen = transfer.candidates, transfer.basis.seen
    z_nS, seeds_nS = seen.z_nS.copy(), found.seeds_nS.copy()
    z_nS[:, scale] = np.nan_to_num(z_nS[:, scale])
    seeds_nS[:, scale] += 1
    _, explained_n = krige(z_nS, seen.share_S / np.maximum(seeds_nS, 1.0), found, seen.rate)
    return explained_n


def _posterior(found: Candidates, basis: Basis) -> Transfer:
    """Normal-inverse-gamma regression of the known scores on the index; each counts by its own residual variance.

    The prior of the slope is that of `prior.weight` designs spread like the candidates; that of the level is flat.
    """
    known, weight = np.isfinite(found.known_n), basis.prior.weight
    start = float(found.known_n[known].mean()) if known.any() else 0.0  # so that no digits are lost
    x = np.column_stack([np.ones(int(known.sum())), basis.index_n[known]])
    y, w = found.known_n[known] - start, 1 / basis.relative_n[known]
    if not known.any():  # no level: differences to the mean of the designs
        x, y, w = np.array([[1.0, float(basis.index_n.mean())]]), np.zeros(1), np.array([_PINNED])
    total = np.diag([0.0, basis.slope_weight]) + (x * w[:, None]).T @ x
    mean = np.linalg.solve(total, np.array([0.0, basis.slope_weight * basis.unit]) + (x * w[:, None]).T @ y)
    rest = y - x @ mean
    squares = weight * basis.unit**2 * basis.unexplained + float((w * rest**2).sum())
    squares += basis.slope_weight * float((mean[1] - basis.unit) ** 2)
    freedom = weight + max(0, int(known.sum()) - 1)
    covariance, residual_sd = np.asarray(np.linalg.inv(total), dtype=np.float64), math.sqrt(squares / freedom)
    slope = _mean_above_zero(float(mean[1]), residual_sd * math.sqrt(covariance[1, 1]), freedom)
    return Transfer(
        candidates=found,
        basis=basis,
        level=start + float(mean[0]) - (slope - float(mean[1])) * _centre(covariance),
        slope=slope,
        free_slope=float(mean[1]),
        covariance=covariance,
        residual_sd=residual_sd,
        freedom=freedom,
        num_known=int(known.sum()),
    )


def _centre(covariance: Floats) -> float:
    """Where on the index the line's height and its slope are uncorrelated."""
    return -float(covariance[0, 1] / covariance[1, 1])


def _mean_above_zero(middle: float, sd: float, freedom: float) -> float:
    """Mean of max(0, t) for t of Student's about `middle`; more than one degree of freedom."""
    from scipy.special import gammaln, stdtr

    c = middle / sd
    log_density = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - math.log(freedom * math.pi) / 2
    density = math.exp(log_density - (freedom + 1) / 2 * math.log1p(c * c / freedom))
    return middle * float(stdtr(freedom, c)) + sd * (freedom + c * c) / (freedom - 1) * density
