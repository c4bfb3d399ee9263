"""Least squares against NIST's Statistical Reference Datasets (certified values: itl.nist.gov/div898/strd/lls)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.numbers import fitted_line
from analysis.numbers.agreement import r2
from analysis.numbers.line import least_squares

NORRIS = """
0.1 0.2 338.8 337.4 118.1 118.2 888.0 884.6 9.2 10.1 228.1 226.5 668.5 666.3 998.5 996.3 449.1 448.6
778.9 777.0 559.2 558.2 0.3 0.4 0.1 0.6 778.1 775.5 668.8 666.9 339.3 338.0 448.9 447.5 10.8 11.6
557.7 556.0 228.3 228.1 998.0 995.8 888.8 887.6 119.6 120.2 0.3 0.3 0.6 0.3 557.6 556.8 339.3 339.1
888.0 887.2 998.5 999.0 778.9 779.0 10.2 11.1 117.6 118.3 228.9 229.2 668.4 669.1 449.2 448.9 0.2 0.5
"""
"""y x, 36 times."""
LONGLEY = """
60323 83.0 234289 2356 1590 107608 1947
61122 88.5 259426 2325 1456 108632 1948
60171 88.2 258054 3682 1616 109773 1949
61187 89.5 284599 3351 1650 110929 1950
63221 96.2 328975 2099 3099 112075 1951
63639 98.1 346999 1932 3594 113270 1952
64989 99.0 365385 1870 3547 115094 1953
63761 100.0 363112 3578 3350 116219 1954
66019 101.2 397469 2904 3048 117388 1955
67857 104.6 419180 2822 2857 118734 1956
68169 108.4 442769 2936 2798 120445 1957
66513 110.8 444546 4681 2637 121950 1958
68655 112.6 482704 3813 2552 123366 1959
69564 114.2 502601 3931 2514 125368 1960
69331 115.7 518173 4806 2572 127852 1961
70551 116.9 554894 4007 2827 130081 1962
"""
"""y and six regressors that are nearly collinear."""


def test_norris():
    y, x = np.array(NORRIS.split(), dtype=float).reshape(-1, 2).T
    line = fitted_line(x, y)
    assert line.intercept == pytest.approx(-0.262323073774029, rel=1e-11)
    assert line.slope == pytest.approx(1.00211681802045, rel=1e-13)
    assert line.intercept_se == pytest.approx(0.232818234301152, rel=1e-11)
    assert line.slope_se == pytest.approx(0.429796848199937e-3, rel=1e-11)
    assert line.residual_sd == pytest.approx(0.884796396144373, rel=1e-11)
    assert r2(x, y) == pytest.approx(0.999993745883712, rel=1e-13)


def test_longley():
    table = np.array(LONGLEY.split(), dtype=float).reshape(16, 7)
    y, x = table[:, 0], np.column_stack([np.ones(16), table[:, 1:]])
    fit = least_squares(x, y)
    assert fit.coefficients_p == pytest.approx(
        [-3482258.63459582, 15.0618722713733, -0.358191792925910e-1, -2.02022980381683, -1.03322686717359,
         -0.511041056535807e-1, 1829.15146461355], rel=1e-8)  # fmt: skip
    assert fit.errors_p == pytest.approx(
        [890420.383607373, 84.9149257747669, 0.334910077722432e-1, 0.488399681651699, 0.214274163161675,
         0.226073200069370, 455.478499142212], rel=1e-8)  # fmt: skip
    assert fit.residual_sd == pytest.approx(304.854073561965, rel=1e-9)
    explained = 1 - (fit.residuals_n @ fit.residuals_n) / ((y - y.mean()) ** 2).sum()
    assert explained == pytest.approx(0.995479004577296, rel=1e-11)
    assert fit.freedom == 9


points = st.lists(
    st.tuples(st.floats(-100, 100).map(lambda v: round(v, 3)), st.floats(-100, 100).map(lambda v: round(v, 3))),
    min_size=4,
    max_size=15,
).filter(lambda pairs: np.ptp([x for x, _ in pairs]) > 0.1)


@given(points)
def test_leaving_one_out_is_what_leverage_and_cook_say(pairs):
    x, y = np.array(pairs).T
    line = fitted_line(x, y)
    assert line.leverage_n.sum() == pytest.approx(2)
    for i in range(len(x)):
        rest = fitted_line(np.delete(x, i), np.delete(y, i))
        if rest is None or line.leverage_n[i] > 0.999 or line.residual_sd < 1e-6:
            continue
        moved = ((line.at(x) - rest.at(x)) ** 2).sum() / (2 * line.residual_sd**2)
        assert line.cooks_distance_n[i] == pytest.approx(moved, rel=1e-5, abs=1e-7)


def test_errors_are_those_of_scipy():
    rng = np.random.default_rng(3)
    x = rng.normal(50, 2, 21)
    y = 1.3 * x + rng.normal(size=21)
    ours, theirs = fitted_line(x, y), stats.linregress(x, y)
    assert (ours.slope, ours.slope_se) == pytest.approx((theirs.slope, theirs.stderr))
    assert (ours.intercept, ours.intercept_se) == pytest.approx((theirs.intercept, theirs.intercept_stderr))


def test_robust_errors_are_those_of_the_jackknife_up_to_its_factor():
    """HC3 sums squares of what leaving one out does (MacKinnon and White 1985)."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40) * np.abs(x)
    line = fitted_line(x, y)
    slopes = np.array([fitted_line(np.delete(x, i), np.delete(y, i)).slope for i in range(40)])
    assert line.slope_robust_se == pytest.approx(np.sqrt(((slopes - line.slope) ** 2).sum()))


def test_a_new_design_lies_in_its_interval_as_often_as_promised():
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(2000):
        x = rng.normal(size=12)
        y = 2 * x + rng.normal(size=12)
        line, new = fitted_line(x[:11], y[:11]), x[11]
        inside += abs(y[11] - line.at(new)) < line.prediction(new)
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_what_cannot_be_fitted():
    assert fitted_line(np.ones(5), np.arange(5.0)) is None
    assert fitted_line(np.arange(2.0), np.arange(2.0)) is None
    twice = np.column_stack([np.ones(6), np.arange(6.0), 2 * np.arange(6.0)])
    assert least_squares(twice, np.arange(6.0)) is None
    one_apart = fitted_line(np.array([0.0, 0, 0, 5]), np.array([1.0, 2, 3, 9]))
    assert one_apart.slope_robust_se == np.inf
