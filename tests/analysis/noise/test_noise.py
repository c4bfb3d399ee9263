"""Seed noise: a textbook example, intervals by simulation, and what noise leaves of R^2."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.noise import ceiling, seed_noise, seeds_for
from analysis.noise.noise import ASSUMED_NOISE

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Six targets, four ratings each (Shrout and Fleiss 1979, Table 2): between mean square 11.24, within 6.26."""


def test_components_are_those_of_shrout_and_fleiss():
    noise = seed_noise("1M", [np.array(row, dtype=float) for row in SHROUT_FLEISS])
    assert round(noise.sd**2, 2) == 6.26
    assert noise.design_sd**2 == pytest.approx((11.24 - 6.26) / 4, abs=0.005)
    assert round(noise.reliability, 2) == 0.44  # ICC(1, 4) of their Table 4
    # their F limits: F = 1.795, F(0.975; 5, 18) = 3.382, and 1 / F(0.975; 18, 5)
    assert noise.reliability_interval.low == 0.0
    assert noise.reliability_interval.high == pytest.approx(0.912, abs=0.002)
    assert noise.signal_to_noise == pytest.approx((7.5 - 3) / math.sqrt(6.26), abs=0.02)


def test_the_interval_of_reliability_holds_the_truth_as_often_as_promised():
    rng, hits = np.random.default_rng(7), 0
    design_sd, sd, seeds = 1.5, 1.0, 3
    truth = design_sd**2 / (design_sd**2 + sd**2 / seeds)
    for _ in range(1000):
        scores = design_sd * rng.normal(size=(8, 1)) + sd * rng.normal(size=(8, seeds))
        result = seed_noise("1M", list(scores)).reliability_interval
        hits += result.low <= truth <= result.high
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)


def test_the_components_are_unbiased_with_uneven_seeds():
    rng = np.random.default_rng(8)
    components = []
    for _ in range(600):
        scores = [2 * rng.normal() + rng.normal(size=size) for size in (1, 2, 2, 3, 5, 1, 1, 2, 4, 2)]
        noise = seed_noise("1M", scores)
        between = np.var([s.mean() for s in scores], ddof=1) - noise.sd**2 / noise.seeds_per_design
        components.append((noise.sd**2, between))
    assert np.mean(components, axis=0) == pytest.approx([1.0, 4.0], rel=0.07)


def test_scores_without_scatter():
    same = seed_noise("1M", [np.full(3, 0.1), np.full(3, 0.7)])
    assert (same.sd, same.detectable, same.reliability, same.signal_to_noise) == (0.0, 0.0, 1.0, None)
    flat = seed_noise("1M", [np.full(2, 5.0), np.full(2, 5.0)])
    assert (flat.sd, flat.reliability, flat.reliability_interval) == (0.0, None, None)


def test_the_highest_r2_is_the_product_of_reliabilities():
    small = seed_noise("1M", [np.array([0.0, 2.0]), np.array([5.0, 7.0]), np.array([9.0, 11.0])])
    large = seed_noise("2M", [np.array([1.0, 3.0]), np.array([8.0, 8.0]), np.array([9.0, 13.0])])
    variances = tuple(float(np.var(means, ddof=1)) for means in ([1, 6, 10], [2, 8, 11]))
    result = ceiling(0.9, small, large, variances)
    assert result.is_measured
    assert result.reliability == pytest.approx((small.reliability, large.reliability))
    assert result.r2 == pytest.approx(small.reliability * large.reliability)
    assert result.disattenuated_r == pytest.approx(0.9 / math.sqrt(result.r2))


def test_noise_that_is_not_measured_is_stated_else_borrowed_else_assumed():
    single = seed_noise("2M", [np.array([1.0]), np.array([5.0])])
    double = seed_noise("1M", [np.array([1.0, 2.0]), np.array([5.0, 4.0])])
    assert ceiling(0.9, single, single, (9.0, 9.0)).noise == (ASSUMED_NOISE, ASSUMED_NOISE)
    assert ceiling(0.9, single, single, (9.0, 9.0), stated=0.3).noise == (0.3, 0.3)
    assert ceiling(0.9, double, single, (9.0, 9.0)).noise == (double.sd, double.sd)
    assert ceiling(0.9, double, single, (9.0, 9.0), stated=0.3).noise == (double.sd, 0.3)
    assert not ceiling(0.9, double, single, (9.0, 9.0)).is_measured
    nothing = ceiling(None, single, single, (0.0, 1.0))
    assert (nothing.r2, nothing.disattenuated_r) == (0.0, None)


def test_attenuation_by_simulation():
    """True scores in perfect line: the observed R2 equals the highest one that noise allows."""
    rng = np.random.default_rng(9)
    true = rng.normal(size=4000)
    observed = [true[:, None] + 0.7 * rng.normal(size=(4000, 2)) for _ in range(2)]
    noise = [seed_noise("1M", list(scores)) for scores in observed]
    x, y = (scores.mean(axis=1) for scores in observed)
    r = float(np.corrcoef(x, y)[0, 1])
    result = ceiling(r, *noise, (float(x.var(ddof=1)), float(y.var(ddof=1))))
    assert result.r2 == pytest.approx(r * r, abs=0.02)
    assert result.disattenuated_r == pytest.approx(1.0, abs=0.02)


def test_seeds_for_a_resolution():
    assert (seeds_for(1.0, 1.0), seeds_for(2.0, 1.0), seeds_for(1.0, 0.0)) == (16, 4, 1)
