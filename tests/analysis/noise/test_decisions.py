"""Three-way decisions on constructed cases; errors from seeds and from test items against simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.noise import (
    half_widths_from_items,
    half_widths_from_noise,
    half_widths_from_seeds,
    paired_seeds,
    three_way,
    verdict_of,
)


def test_pairs_within_the_error_do_not_count():
    x, y = np.array([0.0, 1.0, 5.0, 9.0]), np.array([1.0, 0.0, 5.0, 5.0])
    result = three_way(x, y, np.full((4, 4), 2.0), "stated")
    # 0-1 is not decided (and would be wrong); 2-3 is, and ties at the large scale; the other four are right
    assert (result.pairs, result.decided, result.smallest) == (6, 5, 2.0)
    assert result.accuracy == pytest.approx(4.5 / 5)
    assert result.abstention == pytest.approx(1 / 6)
    none = three_way(x, y, np.full((4, 4), 99.0), "stated")
    assert (none.decided, none.accuracy, none.abstention) == (0, None, 1.0)
    reversed_ = three_way(x, -x, np.zeros((4, 4)), "stated")
    assert (reversed_.accuracy, reversed_.abstention) == (0.0, 0.0)


def test_a_difference_just_as_large_as_the_error_is_not_decided():
    result = three_way(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.full((2, 2), 2.0), "stated")
    assert result.decided == 0


def test_the_error_of_two_designs_is_that_of_the_paired_t_test():
    """A difference of exactly the half-width has p = 0.05, whatever the seeds do to both alike."""
    scores = np.array([[1.0, 42.0, -10.0], [2.5, 45.0, -9.0]])
    half = half_widths_from_seeds(pd.DataFrame(scores))[0, 1]
    moved = scores[1] - scores[1].mean() + scores[0].mean() + half
    assert stats.ttest_rel(scores[0], moved).pvalue == pytest.approx(0.05)


def test_uneven_seeds_are_compared_on_those_that_all_have():
    grid = pd.DataFrame([[1.0, 2.0, 90.0], [2.0, 4.0, math.nan], [5.0, 6.5, math.nan]])
    paired = paired_seeds(grid)
    assert list(paired.columns) == [0, 1]
    assert np.allclose(half_widths_from_seeds(paired), half_widths_from_seeds(grid[[0, 1]]))
    apart = pd.DataFrame([[1.0, 3.0, math.nan], [math.nan, 6.0, 8.0], [math.nan, 9.0, math.nan]])
    assert paired_seeds(apart) is apart
    # within designs: 2 + 2 squares over 2 degrees of freedom; two seeds against two, two against one
    half = half_widths_from_seeds(apart)
    sd = math.sqrt(2.0)
    assert half[0, 1] == pytest.approx(stats.t.ppf(0.975, 2) * sd * math.sqrt(1 / 2 + 1 / 2))
    assert half[0, 2] == pytest.approx(stats.t.ppf(0.975, 2) * sd * math.sqrt(1 / 2 + 1))
    assert half_widths_from_seeds(pd.DataFrame([[1.0], [2.0]])) is None


def test_a_stated_noise():
    half = half_widths_from_noise(2.0, np.array([1.0, 4.0]))
    assert half[0, 1] == pytest.approx(1.959964 * 2 * math.sqrt(1.25))


def test_the_error_by_items_is_that_of_other_items():
    """Against many tests of 200 items drawn again, with unlike numbers of questions that share their item's luck."""
    rng = np.random.default_rng(3)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        weights = rng.choice([1.0, 2.0, 6.0], size=200)
        luck = rng.normal(size=200)  # shared by the designs: it cancels in their difference
        own = rng.normal(size=(2, 200)) * 8
        return 50 + 30 * luck + own + np.array([[0.0], [2.0]]), weights

    differences, halves = [], []
    for _ in range(1500):
        scores, weights = drawn()
        means = scores @ (weights / weights.sum())
        differences.append(means[1] - means[0])
        halves.append(half_widths_from_items(scores, weights)[0, 1])
    assert np.mean(halves) == pytest.approx(1.959964 * np.std(differences), rel=0.06)
    inside = np.mean(np.abs(np.array(differences) - 2.0) < halves)
    assert inside == pytest.approx(0.95, abs=0.02)


def test_the_error_by_items_of_equal_weights_is_the_textbook_one():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(3, 50))
    half = half_widths_from_items(scores, np.full(50, 3.0))
    expected = 1.959964 * np.std(scores[0] - scores[2], ddof=1) / math.sqrt(50)
    assert half[0, 2] == pytest.approx(expected)
    assert np.diag(half) == pytest.approx(0)


@pytest.mark.parametrize(
    ("low", "high", "begins"),
    [(None, None, "no verdict"), (0.8, 0.95, "transfers: "), (0.6, 0.9, "better than chance"),
     (0.4, 0.9, "inconclusive"), (0.55, 0.7, "transfers weakly"), (0.2, 0.6, "does not transfer")],
)  # fmt: skip
def test_verdicts(low, high, begins):
    assert verdict_of(low, high).startswith(begins)
