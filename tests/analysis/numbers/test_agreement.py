"""Statistics of agreement: against scipy, against brute force, and by what must not change them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.consistency.topk import regret
from analysis.numbers import fitted_line
from analysis.numbers.agreement import WEIGHTED, decision_accuracy, kendall, once, r2, spearman

quick = settings(max_examples=60)
scores = st.integers(-6, 6).map(float)  # few values, so that ties are common and arithmetic is exact


@st.composite
def pairs(draw, smallest: int = 3, value=scores):
    n = draw(st.integers(smallest, 12))
    return tuple(np.array(draw(st.lists(value, min_size=n, max_size=n))) for _ in "xy")


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, abs=1e-9)


def constant(xy) -> bool:
    return any(np.ptp(values) == 0 for values in xy)


@quick
@given(pairs())
def test_correlations_are_those_of_scipy(xy):
    if constant(xy):
        assert math.isnan(r2(*xy))
        assert math.isnan(spearman(*xy))
        assert math.isnan(kendall(*xy))
        return
    assert r2(*xy) == pytest.approx(stats.pearsonr(*xy).statistic ** 2, abs=1e-9)
    assert spearman(*xy) == pytest.approx(stats.spearmanr(*xy).statistic, abs=1e-9)
    assert kendall(*xy) == pytest.approx(stats.kendalltau(*xy, variant="b").statistic, abs=1e-9)


@quick
@given(pairs())
def test_decision_accuracy_by_counting(xy):
    x, y = xy
    agree = 0.0
    for i, j in itertools.combinations(range(len(x)), 2):
        order = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        agree += {1: 1.0, 0: 0.5, -1: 0.0}[int(order)]
    assert decision_accuracy(x, y) == pytest.approx(agree / math.comb(len(x), 2))


@quick
@given(pairs(), st.data())
def test_a_weight_is_a_repeated_design(xy, data):
    x, y = xy
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(x), max_size=len(x))), dtype=float)
    if (counts > 0).sum() < 2:
        return
    repeated = [np.repeat(values, counts.astype(int)) for values in xy]
    for name in ("r2", "spearman", "kendall"):
        assert same(float(WEIGHTED[name](x, y, counts[None])[0]), once(WEIGHTED[name], *repeated)), name


def test_a_design_and_its_copy_are_no_pair():
    x = np.array([1.0, 2.0, 3.0])
    assert WEIGHTED["decision_accuracy"](x, x, np.array([[5.0, 1.0, 0.0]]))[0] == 1.0


@quick
@given(pairs(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(xy, random):
    order = list(range(len(xy[0])))
    random.shuffle(order)
    shuffled = tuple(values[order] for values in xy)
    for name, statistic in WEIGHTED.items():
        assert same(once(statistic, *xy), once(statistic, *shuffled)), name
    for k in range(1, len(order) + 1):
        assert regret(*xy, k) == regret(*shuffled, k)


@quick
@given(pairs(), st.sampled_from([0.5, 2.0, 8.0]), st.integers(-50, 50))
def test_positive_affine_changes_do_not_matter(xy, scale, shift):
    x, y = xy
    for name, statistic in WEIGHTED.items():
        assert same(once(statistic, x, y), once(statistic, scale * x + shift, y)), name
        assert same(once(statistic, x, y), once(statistic, x, scale * y + shift)), name
    assert regret(scale * x + shift, scale * y + shift, 2) == pytest.approx(scale * regret(x, y, 2))


@quick
@given(pairs())
def test_monotone_changes_do_not_matter_to_ranks(xy):
    x, y = xy
    for statistic in (spearman, kendall, decision_accuracy):
        assert same(statistic(x, y), statistic(x**3 + x, np.exp(y)))


@quick
@given(pairs())
def test_scales_can_be_swapped(xy):
    for name, statistic in WEIGHTED.items():
        assert same(once(statistic, *xy), once(statistic, *xy[::-1])), name


@quick
@given(pairs())
def test_reversal_flips_the_signs(xy):
    x, y = xy
    assert same(spearman(x, -y), -spearman(x, y))
    assert same(kendall(x, -y), -kendall(x, y))
    assert same(r2(x, -y), r2(x, y))
    assert decision_accuracy(x, -y) == pytest.approx(1 - decision_accuracy(x, y))


@quick
@given(st.lists(st.integers(-99, 99), min_size=3, max_size=12, unique=True))
def test_perfect_and_inverted_order(values):
    x = np.array(values, dtype=float)
    assert (spearman(x, 2 * x), kendall(x, 2 * x), decision_accuracy(x, 2 * x)) == (1.0, 1.0, 1.0)
    assert (spearman(x, -x), kendall(x, -x), decision_accuracy(x, -x)) == (-1.0, -1.0, 0.0)
    assert r2(x, x) == pytest.approx(1.0)
    assert regret(x, x, 1) == 0
    assert regret(x, -x, 1) == np.ptp(x)


@quick
@given(pairs())
def test_regret_is_the_worst_way_to_break_ties(xy):
    x, y = xy
    for k in (1, 2, 3):
        ways = [
            max(y[list(chosen)])
            for chosen in itertools.combinations(range(len(x)), k)
            if min(x[list(chosen)]) >= max((x[i] for i in range(len(x)) if i not in chosen), default=-math.inf)
        ]
        assert regret(x, y, k) == max(y) - min(ways)
    assert regret(x, y, len(x)) == 0


@quick
@given(pairs())
def test_the_line_is_that_of_polyfit(xy):
    line = fitted_line(*xy)
    if np.ptp(xy[0]) == 0:
        assert line is None
    else:
        assert (line.slope, line.intercept) == pytest.approx(tuple(np.polyfit(*xy, 1)), abs=1e-8)


@pytest.mark.parametrize("size", [1e-150, 1e-9, 1e9, 1e150])
def test_any_magnitude_of_scores(size):
    x = np.array([1.0, 2.0, 4.0, 3.0])
    assert r2(x * size, x * size) == pytest.approx(1.0)
    assert math.isnan(r2(np.full(4, 0.1) * size, x))
