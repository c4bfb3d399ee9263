"""Regret and recall: brute force, ties computed by hand, expected values by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.consistency.topk import expected, recall, regret
from analysis.numbers import Interval

scores = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=9)


@settings(max_examples=60)
@given(scores, st.integers(1, 3))
def test_recall_is_the_worst_way_to_break_ties(pairs, k):
    x, y = np.array(pairs, dtype=float).T
    best = {i for i in range(len(x)) if y[i] >= np.sort(y)[::-1][k - 1]}
    ways = [
        len(best & set(chosen)) / k
        for chosen in itertools.combinations(range(len(x)), k)
        if min(x[list(chosen)]) >= max((x[i] for i in range(len(x)) if i not in chosen), default=-math.inf)
    ]
    assert recall(x, y, k) == pytest.approx(min(ways))


def test_by_hand():
    x, y = np.array([5.0, 4, 3, 2, 1]), np.array([7.0, 9, 1, 8, 2])
    assert [regret(x, y, k) for k in (1, 2, 5)] == [2, 0, 0]
    assert [recall(x, y, k) for k in (1, 2, 3)] == [0, 0.5, pytest.approx(2 / 3)]


def test_expected_values_of_perfect_and_of_useless_proxies():
    y = np.arange(10.0)
    sure = expected(y, 1.0, Interval(1.0, 1.0), [1, 3, 10])
    assert [(sure[k].regret, sure[k].recall) for k in (1, 3, 10)] == [(0, 1), (0, 1), (0, 1)]
    blind = expected(y, 0.0, None, [1, 3])
    assert blind[1].regret == pytest.approx(4.5, abs=0.25)  # 9 less the mean of 0 to 9
    assert blind[3].recall == pytest.approx(0.3, abs=0.02)
    assert blind[1].regret_interval is None
    worst = expected(y, -1.0, None, [1])
    assert worst[1].regret == 9


def test_expected_values_are_means_over_studies():
    """Studies whose small scale agrees by a known tau: the mean of their regrets is the expected regret."""
    rng = np.random.default_rng(2)
    latent = np.sort(rng.normal(size=12))
    rho = 0.8
    found = expected(latent, 2 / math.pi * math.asin(rho), None, [1, 3])
    y = np.sort(rng.normal(size=(4000, 12)), axis=1)
    x = rho * y + math.sqrt(1 - rho**2) * rng.normal(size=y.shape)
    regrets = [regret(row, latent, 1) for row in x]
    recalls = [recall(row, latent, 3) for row in x]
    assert found[1].regret == pytest.approx(np.mean(regrets), rel=0.1)
    assert found[3].recall == pytest.approx(np.mean(recalls), abs=0.02)


@settings(max_examples=20)
@given(st.floats(-1, 1), st.floats(0, 0.5), st.integers(5, 12))
def test_the_interval_contains_the_expected_value(tau, width, n):
    y = np.random.default_rng(n).normal(size=n)
    interval = Interval(max(-1.0, tau - width), min(1.0, tau + width))
    for mean in expected(y, tau, interval, [1, 3, 5]).values():
        assert 0 <= mean.regret_interval.low <= mean.regret <= mean.regret_interval.high <= np.ptp(y) + 1e-9
        assert 0 <= mean.recall_interval.low <= mean.recall <= mean.recall_interval.high <= 1
