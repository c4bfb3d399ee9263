"""Power of paired comparisons: published values, a simulation, and what must hold of any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.noise import power
from analysis.noise.power_analysis import detectable, detectable_paired, paired_test_power, seeds_needed


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_samples_for_cohens_effects_are_the_tabled_ones(effect: float, needed: int):
    """Cohen (1988), paired two-sided t test at 5% and a power of 80%: 199, 34 and 15 pairs."""
    assert paired_test_power(effect, needed) >= 0.8 > paired_test_power(effect, needed - 1)


@pytest.mark.parametrize(
    ("effect", "seeds", "alpha"), [(1.0, 2, 0.05), (5.0, 2, 0.05), (2.0, 4, 0.05), (0.5, 30, 0.001)]
)
def test_the_chance_is_that_of_the_noncentral_t(effect: float, seeds: int, alpha: float):
    critical, shift = stats.t.ppf(1 - alpha / 2, seeds - 1), effect * seeds**0.5
    exact = stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift)
    assert paired_test_power(effect, seeds, alpha) == pytest.approx(exact, abs=2e-4)


def test_the_chance_is_what_simulation_finds():
    rng = np.random.default_rng(0)
    noise, difference, seeds = 1.5, 4.0, 4
    gaps = difference + rng.normal(size=(20_000, seeds)) * noise - rng.normal(size=(20_000, seeds)) * noise
    share = (stats.ttest_1samp(gaps, 0, axis=1).pvalue < 0.05).mean()
    assert paired_test_power(difference / (2**0.5 * noise), seeds) == pytest.approx(share, abs=0.01)


def test_a_known_noise_is_a_normal_test():
    assert detectable(1.0, 1) == pytest.approx((1.959964 + 0.841621) * 2**0.5, abs=1e-5)
    assert detectable(1.0, 4) == pytest.approx(detectable(1.0, 1) / 2)


def test_every_seed_helps_from_the_first_on():
    powers = [power(1.0, seeds, 6) for seeds in range(1, 8)]
    for attribute in ("detectable", "detectable_any"):
        values = [getattr(one, attribute) for one in powers]
        assert values == sorted(values, reverse=True)
    assert powers[0].detectable_paired is None  # one seed provides no estimate of the noise
    assert all(one.detectable_paired > one.detectable for one in powers[1:])


@pytest.mark.slow
@settings(max_examples=15)
@given(st.floats(0.01, 50), st.integers(2, 30))
def test_more_seeds_see_smaller_differences_and_noise_scales(noise: float, seeds: int):
    here = detectable_paired(noise, seeds)
    assert detectable_paired(noise, seeds + 1) < here < detectable_paired(noise, seeds, alpha=0.01)
    assert detectable_paired(2 * noise, seeds) == pytest.approx(2 * here)
    assert paired_test_power(here / (2**0.5 * noise), seeds) == pytest.approx(0.8, abs=1e-6)


@given(st.floats(0.1, 20), st.floats(0.1, 20))
def test_seeds_needed_are_the_fewest(difference: float, noise: float):
    needed = seeds_needed(difference, noise)
    assert detectable(noise, needed) <= difference * (1 + 1e-6)
    assert needed == 1 or detectable(noise, needed - 1) > difference


def test_a_difference_as_large_as_the_noise_takes_sixteen_seeds():
    """2 (1.96 + 0.84)^2 = 15.7, the textbook's two-sample size at a standardised difference of one."""
    assert power(1.0, 1, 2).seeds_for_noise == seeds_needed(3.0, 3.0) == 16


def test_many_designs_cost_power():
    few, many = power(1.0, 3, 2), power(1.0, 3, 21)
    assert few.detectable == few.detectable_any == many.detectable < many.detectable_any
