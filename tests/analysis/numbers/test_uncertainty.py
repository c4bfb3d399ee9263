"""Intervals against scipy and by what must hold of them; seed noise against textbook formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.noise import seed_noise
from analysis.numbers import fitted_line
from analysis.numbers.agreement import WEIGHTED, jackknife, kendall, once, spearman, tau_a, weighted_pearson
from analysis.numbers.uncertainty import (
    NUM_RESAMPLES,
    bca_interval,
    bootstrap_weights,
    kendall_interval,
    line_intervals,
    r2_interval,
    spearman_interval,
)


def noisy(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, x + noise * rng.normal(size=n)


def interval(name: str, x: np.ndarray, y: np.ndarray):
    return bca_interval(partial(WEIGHTED[name], x, y), bootstrap_weights(len(x)))


def test_resamples_are_the_same_every_time_and_of_three_designs_or_more():
    weights = bootstrap_weights(6)
    assert np.array_equal(weights, bootstrap_weights(6))
    assert (weights.sum(axis=1) == 6).all()
    assert (weights > 0).sum(axis=1).min() == 3
    assert 0.9 * NUM_RESAMPLES < len(weights) < NUM_RESAMPLES
    assert len(bootstrap_weights(30, resamples=100)) == 100


@pytest.mark.parametrize(("name", "reference"), [("r2", stats.pearsonr), ("spearman", stats.spearmanr)])
def test_bca_is_that_of_scipy(name, reference):
    x, y = noisy(25, 0.6)

    def statistic(a, b):
        value = reference(a, b).statistic
        return value**2 if name == "r2" else value

    theirs = stats.bootstrap(
        (x, y), statistic, paired=True, vectorized=False, n_resamples=1000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    ours = interval(name, x, y)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)  # two bootstraps differ so much


@settings(max_examples=12)
@given(st.integers(5, 12), st.floats(0.05, 3), st.integers(0, 10_000))
@example(5, 1.8125, 179)  # R^2 of 3e-6, below nearly all resamples
def test_the_interval_holds_the_estimate(n, noise, seed):
    x, y = noisy(n, noise, seed)
    for name in WEIGHTED:
        result = interval(name, np.round(x, 1), np.round(y, 1))
        estimate = once(WEIGHTED[name], np.round(x, 1), np.round(y, 1))
        if result is not None:
            assert result.low <= estimate <= result.high
            assert (-1 if name in {"spearman", "kendall"} else 0) <= result.low < result.high <= 1


def test_intervals_narrow_with_designs():
    widths = [result.high - result.low for n in (10, 40, 160) if (result := interval("spearman", *noisy(n, 0.7)))]
    assert widths[0] > widths[1] > widths[2]


def of_r2(x: np.ndarray, y: np.ndarray):
    return r2_interval(once(weighted_pearson, x, y), jackknife(weighted_pearson, x, y))


def of_spearman(x: np.ndarray, y: np.ndarray):
    return spearman_interval(spearman(x, y), jackknife(WEIGHTED["spearman"], x, y))


def of_kendall(x: np.ndarray, y: np.ndarray):
    return kendall_interval(kendall(x, y), jackknife(WEIGHTED["kendall"], x, y))


def of_tau_a(x: np.ndarray, y: np.ndarray):
    return kendall_interval(tau_a(x, y), 2 * jackknife(WEIGHTED["decision_accuracy"], x, y) - 1)


RHO = 1 / np.sqrt(1 + 0.6**2)
TRUTHS = {  # of a bivariate normal of this correlation
    of_r2: RHO**2,
    of_spearman: 6 / np.pi * np.arcsin(RHO / 2),
    of_kendall: 2 / np.pi * np.arcsin(RHO),
    of_tau_a: 2 / np.pi * np.arcsin(RHO),
}


@pytest.mark.parametrize("interval_of", TRUTHS)
def test_intervals_hold_the_truth_about_as_often_as_promised(interval_of):
    """Of 400 studies of 20 designs; `make coverage` looks closer, and at designs that collapsed."""
    hits = 0
    for seed in range(400):
        result = interval_of(*noisy(20, 0.6, seed))
        hits += result.low <= TRUTHS[interval_of] <= result.high
    assert 0.92 <= hits / 400 <= 0.99


@settings(max_examples=60)
@given(st.integers(5, 12), st.floats(0.0, 3), st.integers(0, 10_000), st.sampled_from([0, 1, 6]))
def test_the_intervals_of_the_report_hold_the_estimates(n, noise, seed, digits):
    x, y = (np.round(values, digits) for values in noisy(n, noise, seed))
    estimates = {of_spearman: spearman(x, y), of_kendall: kendall(x, y), of_tau_a: tau_a(x, y)}
    for interval_of, estimate in estimates.items():
        result = interval_of(x, y)
        if result is not None:
            assert -1 <= result.low <= estimate <= result.high <= 1
            assert result.low < result.high
    if (result := of_r2(x, y)) is not None:
        assert 0 <= result.low <= once(WEIGHTED["r2"], x, y) <= result.high <= 1


@pytest.mark.parametrize("gap", [1e-1, 1e-4, 1e-7, 1e-12])
def test_r2_near_one(gap):
    x = np.arange(8.0)
    y = x + gap * np.array([1, -1, 1, 1, -1, -1, 1, -1.0])
    for sign in (1, -1):
        result = of_r2(x, sign * y)
        assert (result is None) == (gap < 1e-6)
        if result is not None:
            assert 0.9 < result.low < once(WEIGHTED["r2"], x, y) < result.high <= 1


def test_a_perfect_order_has_an_error_too():
    for n in (5, 10, 40):
        x = np.arange(float(n))
        for interval_of in (of_spearman, of_kendall):
            perfect, reverse = interval_of(x, x), interval_of(x, -x)
            assert perfect.high == 1
            assert perfect.low < 1
            assert (reverse.low, reverse.high) == pytest.approx((-perfect.high, -perfect.low))
    lows = [of_kendall(np.arange(float(n)), np.arange(float(n))).low for n in (5, 10, 40)]
    assert lows == sorted(lows)


def test_a_single_design_decides_no_interval():
    x, y = np.array([1.0, 1, 1, 1, 1, 9]), np.array([1.0, 2, 3, 4, 5, 8])
    assert of_r2(x, y) is of_spearman(x, y) is of_kendall(x, y) is None
    assert of_tau_a(x, y) is not None
    of_line = line_intervals(fitted_line(x, y), jackknife(WEIGHTED["r2"], x, y))
    assert of_line["slope"] is None


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3, 4], [1, 3, 2, 4]),  # too few designs
        ([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6]),  # undefined
        ([1, 2, 3, 4, 5, 6], [2, 4, 6, 8, 10, 12]),  # the same in every resample
        ([1, 1, 1, 1, 1, 1, 1, 9], [1, 2, 3, 4, 5, 6, 7, 8]),  # one value in each resample that has both scores
    ],
)
def test_data_for_which_the_bootstrap_has_no_interval(x, y):
    assert interval("spearman", np.array(x, float), np.array(y, float)) is None


def test_seed_noise_is_that_of_analysis_of_variance():
    groups = [np.array([1.0, 2.0, 4.0]), np.array([7.0, 9.0, 8.0]), np.array([3.0, 3.5, 5.0])]
    noise = seed_noise("1M", groups)
    assert noise.sd == pytest.approx(np.sqrt(np.mean([group.var(ddof=1) for group in groups])))
    assert (noise.degrees_of_freedom, noise.num_designs, noise.seeds_per_design) == (6, 3, pytest.approx(3))
    assert noise.detectable == pytest.approx(stats.t.ppf(0.975, 6) * noise.sd * np.sqrt(2 / 3))


def test_seed_noise_of_two_designs_is_that_of_the_t_test():
    """A difference of exactly `detectable` has p = 0.05 in the two-sample t test."""
    a, b = np.array([1.0, 2.0, 4.0]), np.array([7.0, 9.0, 8.0])
    noise = seed_noise("1M", [a, b])
    moved = b - b.mean() + a.mean() + noise.detectable
    assert stats.ttest_ind(a, moved).pvalue == pytest.approx(0.05)


def test_seed_noise_with_unequal_seeds():
    noise = seed_noise("1M", [np.array([1.0, 3.0]), np.array([5.0])])
    assert (noise.sd, noise.degrees_of_freedom, noise.num_designs) == (pytest.approx(np.sqrt(2)), 1, 1)
    assert noise.seeds_per_design == pytest.approx(4 / 3)


def test_one_seed_shows_no_noise():
    noise = seed_noise("1M", [np.array([1.0]), np.array([5.0])])
    assert (noise.sd, noise.detectable, noise.degrees_of_freedom, noise.num_designs) == (None, None, 0, 0)
