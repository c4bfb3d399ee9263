"""Sensitivity of R^2: the paper's table within its data mixtures, and small tables computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.consistency import compare
from analysis.consistency.influence import most_influential, within, without_main_effects


@pytest.mark.parametrize(("small", "r2"), [("4B", 0.900), ("1.5B", 0.686), ("0.5B", 0.517)])
def test_golden_r2_within_data_mixtures(apollo, small, r2):
    points = compare(apollo, small, "7B").points
    x, y = (np.array([getattr(p, axis) for p in points]) for axis in "xy")
    found = within([p.design for p in points], x, y, apollo.factors["data_mix"])
    assert (round(found.r2, 3), found.n, found.freedom, found.left_out) == (r2, 21, 18, ())


def test_designs_alone_in_their_level_are_left_out():
    x = np.array([1.0, 2, 3, 10, 11, 12, 50, 60])
    y = np.array([2.0, 1, 3, 30, 32, 31, 99, 77])
    levels = pd.Series({"a": 1, "b": 1.0, "c": 1, "d": "k", "e": "k", "f": "k", "g": True, "h": None})
    found = within(list("abcdefgh"), x, y, levels)
    assert (found.n, found.freedom, found.left_out) == (6, 4, ("g", "h"))
    left = np.array([-1.0, 0, 1, -1, 0, 1]), np.array([0.0, -1, 1, -1, 1, 0])
    assert found.r2 == pytest.approx(np.corrcoef(*left)[0, 1] ** 2)


def test_main_effects_leave_interactions():
    """A two by two by two grid with effects of its axes alone leaves nothing; an interaction is left whole."""
    cells = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    factors = pd.DataFrame(cells, columns=list("abc"), index=[f"d{i}" for i in range(8)])
    a, b, c = np.array(cells, dtype=float).T
    main, both = 5 * a - 3 * b + c, np.where(a == b, 1.0, -1.0)
    names = list(factors.index)
    found = without_main_effects(names, 50 + main, 70 + 2 * main, factors)
    assert (found.r2, found.freedom, found.n) == (None, 4, 8)
    noise = np.where(b == c, 1.0, -1.0)
    found = without_main_effects(names, main + both, main + both + noise, factors)
    assert found.r2 == pytest.approx(0.5)
    absent = without_main_effects([*names, "stranger"], np.append(main + both, 9), np.append(main + noise, 9), factors)
    assert (absent.n, absent.left_out) == (8, ("stranger",))
    assert without_main_effects(names, main, main, pd.DataFrame(index=names)).n == 0


def test_main_effects_are_those_of_least_squares():
    """An unbalanced table of three axes, one nested in another, against regression on all dummies at once."""
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 2, size=40), rng.integers(0, 5, size=40)
    factors = pd.DataFrame({"a": a, "b": b, "b2": b // 2}, index=[f"d{i}" for i in range(40)])
    x, y = rng.normal(size=(2, 40)) + 3 * a + b
    design = np.column_stack([np.ones(40), *pd.get_dummies(factors.astype(str)).to_numpy(dtype=float).T])
    rest = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, y)]
    found = without_main_effects(list(factors.index), x, y, factors)
    assert found.r2 == pytest.approx(np.corrcoef(*rest)[0, 1] ** 2)
    assert found.freedom == 40 - np.linalg.matrix_rank(design) == 34


def test_units_do_not_matter_to_residuals():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 12))
    names, levels = [f"d{i}" for i in range(12)], pd.Series({f"d{i}": i % 3 for i in range(12)})
    r2 = within(names, x, y, levels).r2
    assert within(names, 1e-12 * x, 1e6 * y, levels).r2 == pytest.approx(r2)


def test_the_most_influential_are_removed_one_after_another():
    x, y = np.array([0.0, 1, 2, 3, 4, 5, 30, 60]), np.array([2.0, 0, 3, 1, 2, 1, 30, 60])
    found = most_influential(list("abcdefgh"), x, y)
    assert [removal.design for removal in found[:2]] == ["h", "g"]
    assert found[1].r2 == pytest.approx(np.corrcoef(x[:6], y[:6])[0, 1] ** 2)
    assert [r.r2 for r in found] == sorted((r.r2 for r in found), reverse=True)
    assert most_influential(list("abcd"), x[:4], y[:4]) == ()
    assert most_influential(list("abcde"), x[:5], np.ones(5)) == ()
