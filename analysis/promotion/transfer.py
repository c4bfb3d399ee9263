"""From small-scale scores to predictions at a large scale where few designs, or none, were trained.

The model, in standardised scores: a design's quality drifts as the LLM grows; between two sizes its correlation is
exp(-rate * |ln(size ratio)|), an Ornstein-Uhlenbeck process in ln(size). A run observes it with noise between seeds.
So all smaller scales together predict a design by kriging (Rasmussen and Williams 2006, section 2.2): the nearest scale
has the largest weight, the others contribute in proportion to its noise, and a design without a score at one of them
is predicted with a wider interval. This index is converted to points of the large scale by Bayesian linear regression
(conjugate, Gelman et al. 2013, section 14.8), y = level + slope * index + residual: the prior comes from published
studies and counts as a number of designs, each score at the large scale counts as one more. The level is unknown before
the first score there.

Legend: `n` designs; `S` small scales; `M` draws. Higher is better for all scores here: losses are negated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.promotion.candidate_designs import Candidates
from analysis.promotion.kriging import Standardised, krige, standardise
from analysis.promotion.prior import Prior

if TYPE_CHECKING:
    from analysis.numbers import Floats


NUM_DRAWS = 4000
_SEED = 20241216
_TINY = 1e-9
_PINNED = 1e6
"""Weight of the level where no score determines it: large enough to fix it at 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """What the prior and the small scales determine, without scores at the large scale."""

    prior: Prior
    standardised: Standardised
    index_n: Floats
    """Predicted quality of each design in standardised units, from all its small scales."""
    explained_n: Floats
    """Share of the variance of qualities at the large scale that the index is expected to explain, by design."""
    unexplained: float
    """Residual variance of a run of the most precisely predicted design, noise included, in units of that variance."""
    relative_n: Floats
    """Residual variance of each design over that of the most precisely predicted one."""
    unit: float
    """Points of the large scale that one standardised unit is expected to be, before any score there."""

    @property
    def slope_weight(self) -> float:
        """Sum of squares of the index that the prior of the slope is worth: its designs vary like the candidates."""
        return self.prior.weight * max(float(self.index_n.var()), _TINY)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """The posterior of the scores at the large scale."""

    candidates: Candidates
    basis: Basis
    level: float
    """Predicted score at index 0, in points."""
    slope: float
    """Points for one unit of the index: the posterior mean of max(0, slope). A small scale may be uninformative, but is
    assumed not to be reversed: otherwise the worst designs would be promoted in case it is."""
    free_slope: float
    """Mode of the posterior of the slope without that limit."""
    covariance: Floats
    """Covariance of level and slope over the residual variance, 2 x 2."""
    residual_sd: float
    """Residual standard deviation of a run of the most precisely predicted design, in points."""
    freedom: float
    """Degrees of freedom of the residual variance."""
    num_known: int
    """Number of designs with a score at the large scale."""

    @property
    def prior(self) -> Prior:
        """The prior of the transfer model."""
        return self.basis.prior

    @property
    def index_n(self) -> Floats:
        """Predicted quality of each design in standardised units, from all its small scales."""
        return self.basis.index_n

    @property
    def is_relative(self) -> bool:
        """Whether no design has a score at the large scale: predictions are then differences from the designs' mean."""
        return self.num_known == 0

    @property
    def prior_share(self) -> float:
        """Share of the prior in the posterior of the slope or of the residual variance, the larger of the two.

        Known designs with equal scores at the small scales determine the residual variance, but not the slope.
        """
        slope_share = self.basis.slope_weight * float(self.covariance[1, 1])
        return min(1.0, max(slope_share, self.prior.weight / self.freedom))

    @property
    def mean_n(self) -> Floats:
        """Predicted scores; observed scores where known."""
        known_n = self.candidates.known_n
        return np.where(np.isfinite(known_n), known_n, self.level + self.slope * self.index_n)

    @property
    def sd_n(self) -> Floats:
        """Standard deviation of the prediction of a run, in points; 0 where known. The distribution is Student's t."""
        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        variance_n = ((x_n2 @ self.covariance) * x_n2).sum(axis=1) + self.basis.relative_n
        sd_n = self.residual_sd * np.sqrt(self._t_variance * variance_n)
        return np.where(np.isfinite(self.candidates.known_n), 0.0, sd_n)

    @property
    def _t_variance(self) -> float:
        """Variance of Student's t over its squared scale; that of three degrees of freedom where there are fewer."""
        return self.freedom / (self.freedom - 2) if self.freedom > 3 else 3.0

    def covariance_nn(self) -> Floats:
        """Covariance of the predictions of runs, n x n, in squared points: they share the errors of level and slope."""
        x_n2 = np.column_stack([np.ones_like(self.index_n), self.index_n])
        shared_nn = x_n2 @ self.covariance @ x_n2.T
        return np.asarray(self._t_variance * self.residual_sd**2 * (shared_nn + np.diag(self.basis.relative_n)))

    def half_width_n(self) -> Floats:
        """Half-width of the 95 % prediction interval of a run, in points; 0 where known."""
        from analysis.numbers import t_quantile

        return np.asarray(t_quantile(self.freedom) * self.sd_n / math.sqrt(self._t_variance))

    def draws(self, num: int = NUM_DRAWS, seed: int = _SEED) -> Floats:
        """y_Mn: joint draws of the scores at the large scale; known scores are the same in all draws.

        Level and slope are drawn where they are independent, at the centre of the known designs; slopes below 0 are
        set to 0.
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

    def conditioned_on(self, known_n: Floats) -> Transfer:
        """The posterior with other scores at the large scale; the index from the small scales is unchanged."""
        return _posterior(self.candidates.with_scores(known_n), self.basis)


def predict(candidates: Candidates, prior: Prior) -> Transfer:
    """The posterior of all scores at the large scale.

    Raises:
        TableError: all designs have equal scores at the reference scale.
    """
    scores = standardise(candidates, prior)
    share_nS = scores.share_S / np.maximum(candidates.seeds_nS, 1.0)
    index_n, explained_n = krige(scores.z_nS, share_nS, candidates, scores.rate)
    # The noise of a run at the large scale is not measured: assumed to be that of the largest small scale.
    unexplained_n = np.maximum(1 - explained_n, 0.01) + float(scores.share_S[-1])
    basis = Basis(
        prior=prior,
        standardised=scores,
        index_n=index_n,
        explained_n=explained_n,
        unexplained=float(unexplained_n.min()),
        relative_n=unexplained_n / unexplained_n.min(),
        unit=scores.sd * math.exp(prior.growth * (candidates.log_size - candidates.log_size_S[scores.reference])),
    )
    return _posterior(candidates, basis)


def explained_with_run(transfer: Transfer, scale: int) -> Floats:
    """Share of variance that would be explained after one more run of each design at a small scale.

    Args:
        transfer: the posterior.
        scale: index of the small scale; the run is a first one there, or a further seed.

    Returns:
        n values.
    """
    candidates, scores = transfer.candidates, transfer.basis.standardised
    z_nS, seeds_nS = scores.z_nS.copy(), candidates.seeds_nS.copy()
    z_nS[:, scale] = np.nan_to_num(z_nS[:, scale])
    seeds_nS[:, scale] += 1
    _, explained_n = krige(z_nS, scores.share_S / np.maximum(seeds_nS, 1.0), candidates, scores.rate)
    return explained_n


def _posterior(candidates: Candidates, basis: Basis) -> Transfer:
    """Normal-inverse-gamma regression of the known scores on the index, with weights 1 / residual variance.

    The prior of the slope is worth `prior.weight` designs that vary like the candidates; that of the level is flat.
    """
    is_known, weight = np.isfinite(candidates.known_n), basis.prior.weight
    start = float(candidates.known_n[is_known].mean()) if is_known.any() else 0.0  # centred for precision
    x = np.column_stack([np.ones(int(is_known.sum())), basis.index_n[is_known]])
    y, w = candidates.known_n[is_known] - start, 1 / basis.relative_n[is_known]
    if not is_known.any():  # no level: differences from the mean of the designs
        x, y, w = np.array([[1.0, float(basis.index_n.mean())]]), np.zeros(1), np.array([_PINNED])
    total = np.diag([0.0, basis.slope_weight]) + (x * w[:, None]).T @ x
    mean = np.linalg.solve(total, np.array([0.0, basis.slope_weight * basis.unit]) + (x * w[:, None]).T @ y)
    rest = y - x @ mean
    squares = weight * basis.unit**2 * basis.unexplained + float((w * rest**2).sum())
    squares += basis.slope_weight * float((mean[1] - basis.unit) ** 2)
    freedom = weight + max(0, int(is_known.sum()) - 1)
    covariance, residual_sd = np.asarray(np.linalg.inv(total), dtype=np.float64), math.sqrt(squares / freedom)
    slope = _mean_above_zero(float(mean[1]), residual_sd * math.sqrt(covariance[1, 1]), freedom)
    return Transfer(
        candidates=candidates,
        basis=basis,
        level=start + float(mean[0]) - (slope - float(mean[1])) * _centre(covariance),
        slope=slope,
        free_slope=float(mean[1]),
        covariance=covariance,
        residual_sd=residual_sd,
        freedom=freedom,
        num_known=int(is_known.sum()),
    )


def _centre(covariance: Floats) -> float:
    """Value of the index at which the errors of the line's height and of its slope are uncorrelated."""
    return -float(covariance[0, 1] / covariance[1, 1])


def _mean_above_zero(middle: float, sd: float, freedom: float) -> float:
    """Mean of max(0, t) for Student's t with location `middle` and scale `sd`; more than one degree of freedom."""
    from scipy.special import gammaln, stdtr

    c = middle / sd
    log_density = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - math.log(freedom * math.pi) / 2
    density = math.exp(log_density - (freedom + 1) / 2 * math.log1p(c * c / freedom))
    return middle * float(stdtr(freedom, c)) + sd * (freedom + c * c) / (freedom - 1) * density
