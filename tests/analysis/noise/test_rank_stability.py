"""Would the ranking be the same with other test items and other seeds?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.consistency.topk import ndcg
from analysis.noise import half_widths_from_items, items_for, stability
from analysis.numbers import designs_for
from analysis.numbers.agreement import permutation_p
from analysis.numbers.uncertainty import r2_interval


def test_two_designs_and_a_known_noise_are_a_matter_of_the_normal_distribution():
    result = stability(("a", "b"), np.array([1.0, 0.0]), np.array([1.0, 1.0]), None)
    assert (result.best, result.causes) == ("a", ("seeds",))
    assert result.chance == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.03)
    assert result.ranks == (("a", 1, 2), ("b", 1, 2))


def test_items_are_drawn_for_all_designs_alike():
    """One design ahead by the same on every item stays ahead whatever is drawn; one that wins on a few does not."""
    rng = np.random.default_rng(1)
    base, weights = rng.normal(50, 30, size=40), np.ones(40)
    always = np.array([base + 1, base])
    assert stability(("a", "b"), always.mean(axis=1), None, (always, weights)).chance == 1
    lucky = np.array([base + np.where(np.arange(40) < 2, 30.0, 0.0), base + 1])
    result = stability(("a", "b"), lucky.mean(axis=1), None, (lucky, weights))
    assert (result.best, result.causes) == ("a", ("test items",))
    assert 0.5 < result.chance < 0.95


def test_the_chance_over_items_is_that_of_their_mean_difference():
    rng = np.random.default_rng(2)
    scores, weights = rng.normal(50, 20, size=(2, 200)), np.ones(200)
    scores[0] += 1.5 - (scores[0] - scores[1]).mean()
    error = (scores[0] - scores[1]).std(ddof=1) / np.sqrt(200)
    result = stability(("a", "b"), scores.mean(axis=1), None, (scores, weights))
    assert result.chance == pytest.approx(stats.norm.cdf(1.5 / error), abs=0.04)
    three = np.array([[5.0], [3.0], [1.0]]) + 0 * scores[0]
    still = stability(("a", "b", "c"), three.mean(axis=1), None, (three, weights))
    assert still.ranks == (("a", 1, 1), ("b", 2, 2), ("c", 3, 3))


def test_equals_share_and_nothing_known_is_no_answer():
    assert stability(("a", "b"), np.array([1.0, 1.0]), np.zeros(2), None).chance == 0.5
    assert stability(("a", "b"), np.array([1.0, 0.0]), None, None) is None


def test_ndcg_by_hand():
    x, y = np.array([3.0, 2.0, 1.0]), np.array([5.0, 7.0, 4.0])
    assert ndcg(x, y, 1) == pytest.approx(1 / 3)  # promoted a design 1 above the worst, where 3 could be had
    assert ndcg(x, y, 2) == pytest.approx((1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3)))
    assert ndcg(y, y, 2) == 1
    assert ndcg(x, np.ones(3), 1) == 1
    assert ndcg(np.array([1.0, 1.0]), np.array([0.0, 2.0]), 1) == 0  # a tie counts against


def test_the_chance_of_shuffled_designs_is_scipys():
    rng = np.random.default_rng(4)
    x = rng.normal(size=9)
    for y in (x + rng.normal(size=9), rng.normal(size=9), -x):
        theirs = stats.permutation_test(
            (y,),
            lambda values, x=x: stats.spearmanr(x, values).statistic,
            permutation_type="pairings",
            alternative="greater",
            n_resamples=1500,
            rng=np.random.default_rng(0),
        ).pvalue
        assert permutation_p(x, y) == pytest.approx(theirs, abs=0.03)
    order = rng.permutation(9)
    assert permutation_p(x, y) == permutation_p(x[order], y[order])
    assert np.isnan(permutation_p(x, np.ones(9)))


def test_so_many_designs_reach_the_wanted_half_width():
    for r2, half in ((0.83, 0.1), (0.94, 0.05), (0.3, 0.3)):
        n = designs_for(r2, half)

        def down(n: int, r2: float = r2) -> float:
            return r2 - r2_interval(np.sqrt(r2), np.full(n, np.sqrt(r2))).low

        assert down(n) <= half + 1e-9
        assert n == 5 or down(n - 1) > half - 1e-9


def test_so_many_items_find_a_difference_in_four_studies_of_five():
    rng, gap = np.random.default_rng(6), 5.0
    half = half_widths_from_items(rng.normal([[50.0 + gap], [50.0]], 20, size=(2, 400)), np.ones(400))[0, 1]
    items = items_for(gap, half, 400)
    hits = 0
    for _ in range(400):
        scores = rng.normal([[50.0 + gap], [50.0]], 20, size=(2, items))
        hits += abs(scores[0].mean() - scores[1].mean()) > half_widths_from_items(scores, np.ones(items))[0, 1]
    assert hits / 400 == pytest.approx(0.8, abs=0.07)
