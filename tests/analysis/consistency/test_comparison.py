"""Comparison of two scales: the paper's numbers, refusals, warnings, invariances."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.consistency import compare
from analysis.consistency.comparison import without
from analysis.noise import across_seeds, noise_between_seeds
from analysis.numbers import Interval
from analysis.numbers.uncertainty import METHODS
from analysis.tables import ScoreTable, TableError, ranking
from analysis.tables.rankings import collapsed

GOLDEN = {  # arXiv 2412.10360, Tables 14 and 15: r2, spearman, kendall, decision accuracy, regret@1, @3, @5
    ("4B", "7B"): (0.9384, 0.942, 0.800, 0.900, 1.77, 0.22, 0.00),
    ("1.5B", "7B"): (0.8311, 0.868, 0.676, 0.838, 0.22, 0.22, 0.00),
    ("0.5B", "7B"): (0.6937, 0.815, 0.625, 0.812, 1.77, 0.64, 0.22),
}
FIGURE_15 = {("1.5B", "4B"): 0.9023, ("0.5B", "4B"): 0.7716, ("0.5B", "1.5B"): 0.7358}


@pytest.mark.parametrize(("scales", "golden"), GOLDEN.items())
def test_golden_values(apollo, scales, golden):
    found = compare(apollo, *scales)
    r2, spearman, kendall, accuracy, *regret = golden
    assert found.n == 21
    assert round(found.r2, 4) == r2
    assert (round(found.spearman, 3), round(found.kendall, 3)) == (spearman, kendall)
    assert round(found.decision_accuracy, 3) == accuracy
    assert found.regret == dict(zip((1, 3, 5), regret, strict=True))
    assert found.warnings == ()


@pytest.mark.parametrize(("scales", "r2"), FIGURE_15.items())
def test_golden_r2_between_smaller_scales(apollo, scales, r2):
    assert round(compare(apollo, *scales).r2, 4) == r2


@pytest.mark.parametrize(("small", "r2"), [("4B", 0.913), ("1.5B", 0.742), ("0.5B", 0.523)])
def test_golden_r2_without_the_collapsed(apollo, small, r2):
    rest = without(compare(apollo, small, "7B"), ["v07", "v14", "v21"])
    assert (rest.n, round(rest.r2, 3)) == (18, r2)
    assert rest.warnings == ("left out on request: v07, v14, v21",)


def test_a_tie_counts_half(apollo):
    """v11 and v16 tie at 0.5B: 170 pairs of 210 in order, one tied."""
    assert compare(apollo, "0.5B", "7B").decision_accuracy == 170.5 / 210


def test_every_statistic_has_an_interval_around_it(apollo):
    found = compare(apollo, "0.5B", "7B")
    assert set(found.intervals) == {"r2", "spearman", "kendall", "decision_accuracy", "slope", "intercept", "rmse"}
    assert set(found.intervals) <= set(METHODS)
    for name, interval in found.intervals.items():
        assert interval.low < getattr(found, name) < interval.high
    assert found.intervals["r2"].high - found.intervals["r2"].low > 0.3  # 21 designs are few


values = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=5, max_size=9)


def rounded(value):
    """To twelve digits: BLAS may add in another order on another call."""
    match value:
        case float():
            return float(f"{value:.12g}")
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case list():
            return [rounded(item) for item in value]
        case _:
            return value


@settings(max_examples=8)
@given(values, st.randoms(use_true_random=False))
def test_neither_row_order_nor_names_matter(table_of, pairs, random):
    table = table_of(*zip(*pairs, strict=True))
    names = table.frame["design"].unique().tolist()
    others = random.sample(names, len(names))
    renamed = table.frame.assign(design=table.frame["design"].map(dict(zip(names, others, strict=True))))
    again = ScoreTable(renamed.sample(frac=1, random_state=random.randrange(999)))
    left, right = (compare(each, "1M", "2M").to_json() for each in (table, again))
    for key in ("points", "warnings", "collapsed", "influential"):
        del left[key], right[key]
    assert rounded(left) == rounded(right)
    by_score = [
        sorted((p.x, p.y, p.leverage, p.r2_without) for p in compare(t, "1M", "2M").points) for t in (table, again)
    ]
    assert str(by_score[0]) == str(by_score[1])


@settings(max_examples=8)
@given(values)
def test_lower_is_better_is_higher_negated(table_of, pairs):
    x, y = zip(*pairs, strict=True)
    losses = compare(table_of(x, y, lower_is_better=True), "1M", "2M")
    gains = compare(table_of([-v for v in x], [-v for v in y]), "1M", "2M")
    for same in ("regret", "recall", "expected", "collapsed", "influential", "r2_leave_one_out", "verdict", "rmse"):
        assert getattr(losses, same) == getattr(gains, same), same
    intervals = dict(losses.intervals)
    if crossed := intervals["intercept"]:
        intervals["intercept"] = Interval(-crossed.high, -crossed.low)
    assert intervals == gains.intervals
    assert (losses.slope, losses.decision_accuracy) == (gains.slope, gains.decision_accuracy)
    if losses.intercept is not None:
        assert losses.intercept == pytest.approx(-gains.intercept)


def test_json_is_plain_and_complete(apollo, table_of):
    for found in (compare(apollo, "0.5B", "7B"), compare(table_of([1, 1, 1], [1, 2, 3]), "1M", "2M")):
        plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert plain == found.to_json()
    keys = {"study", "small", "large", "n", "r2", "slope", "intercept", "spearman", "kendall"}
    keys |= {"decision_accuracy", "regret", "intervals", "missing", "warnings", "points", "metric", "modality"}
    keys |= {"recall", "expected", "verdict", "influential", "interval_methods", "rmse", "prediction"}
    assert keys <= set(plain)
    assert "notes" not in plain  # they are among the warnings
    assert list(compare(apollo, "0.5B", "7B").to_json()["regret"]) == ["1", "3", "5"]
    point = compare(apollo, "0.5B", "7B").to_json()["points"][0]
    assert {key: point[key] for key in ("design", "x", "y")} == {"design": "v01", "x": 36.5, "y": 46.37}
    assert set(point) == {"design", "x", "y", "leverage", "cooks_distance", "r2_without"}


def test_few_designs(table_of):
    three = compare(table_of([1, 2, 3], [1, 3, 2]), "1M", "2M")
    assert "too few for a verdict" in three.warnings[0]
    assert set(three.intervals.values()) == {None}
    assert (three.verdict, three.expected) == ("no verdict: too few designs", {})
    assert three.regret == {1: 1.0, 3: 0.0}
    seven = compare(table_of([1, 2, 3, 4, 5, 6, 7], [1, 3, 2, 5, 4, 6, 9]), "1M", "2M")
    assert seven.warnings[0].startswith("only 7 designs")
    assert seven.intervals["r2"] is not None
    with pytest.raises(TableError, match="2 designs have scores at both 1M and 2M; a comparison needs 3"):
        compare(table_of([1, 2], [1, 2]), "1M", "2M")


def test_constant_scores_leave_correlations_undefined(table_of):
    found = compare(table_of([1, 2, 3, 4, 5], [7, 7, 7, 7, 7]), "1M", "2M")
    assert (found.r2, found.spearman, found.kendall) == (None, None, None)
    assert found.decision_accuracy == 0.5
    assert (found.slope, found.intercept, found.regret[1]) == (0.0, 7.0, 0.0)
    assert any("undefined: r2, spearman, kendall (all designs score 7 at 2M)" in warning for warning in found.warnings)
    assert (found.rmse, found.intervals["slope"], found.intervals["r2"]) == (0.0, None, None)
    upright = compare(table_of([7, 7, 7, 7, 7], [1, 2, 3, 4, 5]), "1M", "2M")
    assert (upright.slope, upright.intercept, upright.regret[1]) == (None, None, 4.0)


def test_a_reversed_order_gives_a_warning(table_of):
    found = compare(table_of(range(12), [-v for v in range(12)]), "1M", "2M")
    assert found.r2 == pytest.approx(1)
    assert any("reverses the order" in warning for warning in found.warnings)
    assert any("no interval for r2, slope, intercept, rmse" in warning for warning in found.warnings)
    assert found.intervals["spearman"].low == found.intervals["kendall"].low == -1.0  # an order has an error too
    assert -1.0 < found.intervals["kendall"].high < 0
    assert found.verdict.startswith("does not transfer:")


def test_what_is_missing_is_listed(rows_of):
    scores = {
        "1M": {name: [float(value)] for value, name in enumerate("abcdef")},
        "2M": {name: [float(value)] for value, name in enumerate("bcdeg")} | {"f": [math.nan]},
    }
    found = compare(ScoreTable(rows_of(scores)), "1M", "2M")
    assert [point.design for point in found.points] == list("bcde")
    assert found.missing == {"1M": ("g",), "2M": ("a", "f")}
    assert any("no score at 2M: a, f" in warning for warning in found.warnings)
    assert any("score at 2M is NaN: f seed 0" in warning for warning in found.warnings)


def test_different_numbers_of_seeds_and_samples_are_named(table_of):
    table = table_of([[1.0, 2.0], 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    table = ScoreTable(table.frame.assign(samples=np.where(table.frame["design"] == "d03", 500, 1000)))
    warnings = compare(table, "1M", "2M").warnings
    assert "designs differ at 1M in their number of seeds: 1, 2" in warnings
    assert "designs differ at 2M in their number of training samples: 500, 1000" in warnings


def test_scales_must_be_two_and_in_order(apollo):
    with pytest.raises(TableError, match=r"small is 7B, which is larger than 0.5B: swap them"):
        compare(apollo, "7B", "0.5B")
    with pytest.raises(TableError, match="both 7B"):
        compare(apollo, "7B", "7B")
    with pytest.raises(TableError, match=r"no trials at 3B in study apollo; there are: 0.5B"):
        compare(apollo, "3B", "7B")


def test_without_refuses_unknown_designs_and_leaves_enough(apollo):
    found = compare(apollo, "0.5B", "7B")
    with pytest.raises(TableError, match="cannot leave out v99: the compared designs are v01"):
        without(found, ["v99", "v01"])
    with pytest.raises(TableError, match="2 designs"):
        without(found, [point.design for point in found.points[2:]])
    assert without(found, []) == found


def test_warnings_about_scores_remain_when_designs_are_left_out(rows_of):
    scores = {scale: {name: [float(v)] for v, name in enumerate("abcdefg")} for scale in ("1M", "2M")}
    scores["2M"]["g"] = [math.nan]
    rest = without(compare(ScoreTable(rows_of(scores)), "1M", "2M"), ["a"])
    assert any("score at 2M is NaN: g seed 0" in warning for warning in rest.warnings)
    assert any("no score at 2M: g" in warning for warning in rest.warnings)
    assert rest.warnings[-1] == "left out on request: a"


@pytest.mark.parametrize("small", ["0.5B", "1.5B", "4B"])
def test_r2_rests_on_the_collapsed_designs(apollo, small):
    """Golden: without v07, v14 and v21 R2 is 0.913, 0.742 and 0.523 for 4B, 1.5B and 0.5B against 7B."""
    found = compare(apollo, small, "7B")
    assert {removal.design for removal in found.influential} == {"v07", "v14", "v21"}
    assert round(found.influential[-1].r2, 3) == {"4B": 0.913, "1.5B": 0.742, "0.5B": 0.523}[small]
    lowest = min(found.points, key=lambda point: point.r2_without)
    assert lowest.design == found.influential[0].design
    assert found.r2_leave_one_out.low == lowest.r2_without
    assert lowest.r2_without == pytest.approx(without(found, [lowest.design]).r2)


def test_a_correlation_that_depends_on_one_design_has_no_interval(table_of):
    found = compare(table_of([5, 5, 5, 5, 5, 9], [1, 3, 2, 5, 4, 8]), "1M", "2M")
    assert found.r2 is not None
    assert [found.intervals[name] for name in ("r2", "spearman", "kendall", "slope")] == [None] * 4
    assert found.intervals["decision_accuracy"] is not None
    assert any("depends on a single design" in warning for warning in found.warnings)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
@pytest.mark.parametrize("way", ["ties", "line", "one", "huge", "small"])
def test_poor_data_break_nothing(table_of, n, way):
    x = np.arange(float(n))
    x, y = {
        "ties": (0 * x, 0 * x),
        "line": (x, 0.1 + 0.3 * x),
        "one": (np.eye(n)[0], np.eye(n)[-1]),
        "huge": (1e100 * x, -1e100 * x),
        "small": (1e-100 * x, 1e-100 * x[::-1]),
    }[way]
    found = compare(table_of(x.tolist(), y.tolist()), "1M", "2M")
    json.dumps(found.to_json(), allow_nan=False)
    for name, interval in found.intervals.items():
        if interval is not None:
            assert interval.low <= getattr(found, name) <= interval.high, name
    for mean in found.expected.values():
        assert mean.regret_interval.low <= mean.regret <= mean.regret_interval.high
        assert mean.recall_interval.low <= mean.recall <= mean.recall_interval.high
    assert found.verdict.startswith("no verdict") == (n < 5 or way == "ties")


@settings(max_examples=15)
@given(values, st.sampled_from([0.01, 2.0, 1000.0]), st.integers(-90, 90))
def test_other_units_change_nothing_but_units(table_of, pairs, unit, shift):
    x, y = zip(*pairs, strict=True)
    one = compare(table_of(x, y), "1M", "2M")
    other = compare(table_of([unit * v + shift for v in x], [unit * v - shift for v in y]), "1M", "2M")
    for name in ("r2", "spearman", "kendall", "decision_accuracy", "slope", "recall"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9), name
    for name, interval in one.intervals.items():
        if name in ("r2", "spearman", "kendall", "decision_accuracy"):
            twin = other.intervals[name]
            assert (interval is None) == (twin is None), name
            assert interval is None or (interval.low, interval.high) == pytest.approx((twin.low, twin.high), abs=1e-6)
    assert {k: unit * v for k, v in one.regret.items()} == pytest.approx(other.regret)
    assert {k: unit * v.regret for k, v in one.expected.items()} == pytest.approx(
        {k: v.regret for k, v in other.expected.items()}, abs=1e-9
    )
    assert one.verdict == other.verdict


def test_collapsed_designs(apollo, table_of):
    x = [50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 20]
    table = table_of(x, [v + 10 for v in x])
    assert collapsed(table, "1M") == ("d11",)
    found = compare(table, "1M", "2M")
    assert found.collapsed == ("d11",)
    assert found.r2_without_collapsed == without(found, ["d11"]).r2
    assert any(
        "failed to learn" in warning and "d11; R2 without them is 1.000" in warning for warning in found.warnings
    )
    assert collapsed(table_of([-v for v in x], x, lower_is_better=True), "1M") == ("d11",)
    assert collapsed(table_of([1, 1, 1, 1, 0], [1, 2, 3, 4, 5]), "1M") == ()
    assert all(
        collapsed(apollo, scale) == () for scale in apollo.scales
    )  # see the docstring: data mixes raise the standard deviation


def test_ranking(rows_of):
    scores = {"1M": {"a": [1.0, 3.0], "b": [5.0, 5.0], "c": [2.0], "d": [2.0]}}
    order = {"1M": {"a": [10.0, 20.0], "b": [30.0]}, "2M": {"a": [1.0]}}
    rows = pd.concat([rows_of(scores), rows_of(order, "bench/order"), rows_of(order, "else/order")])
    best = ranking(ScoreTable(rows), "1M", "bench/overall")
    assert best.columns.tolist() == ["scale", "rank", "design", "mean", "sd", "seeds", "bench/order"]
    assert best["design"].tolist() == ["b", "a", "c", "d"]
    assert best["rank"].tolist() == [1, 2, 2, 2]
    assert best["bench/order"].tolist()[:2] == [30.0, 15.0]
    assert math.isnan(best["bench/order"][2])
    assert math.isnan(best["sd"][2])
    assert ranking(ScoreTable(rows, lower_is_better=True), "1M", "bench/overall")["design"].tolist() == list("acdb")


def test_across_seeds(table_of):
    rng = np.random.default_rng(4)
    shared = rng.normal(size=(12, 3))  # what a seed does to a design at both scales
    quality = np.arange(12.0)[:, None]
    x, y = quality + 3 * shared, quality + 3 * shared + 0.1 * rng.normal(size=(12, 3))
    found = across_seeds(table_of(x.tolist(), y.tolist()).select(), "1M", "2M")
    table = np.array([[np.corrcoef(x[:, a], y[:, b])[0, 1] ** 2 for b in range(3)] for a in range(3)])
    assert found.same_seeds == pytest.approx(np.diag(table).mean())
    assert found.different_seeds == pytest.approx((table.sum() - np.trace(table)) / 6)
    assert found.same_seeds > found.different_seeds
    assert found.mean_of_seeds == pytest.approx(np.corrcoef(x.mean(1), y.mean(1))[0, 1] ** 2)
    assert (found.n, len(found.pairs), found.left_out) == (12, 9, {})


def test_seeds_that_not_all_designs_have(table_of):
    table = table_of([[1.0, 2.0], [3.0, 5.0], [4.0]], [1.0, 2.0, 4.0]).select()
    found = across_seeds(table, "1M", "2M")
    assert [(pair.small, pair.large) for pair in found.pairs] == [(0, 0)]
    assert found.different_seeds is None
    assert found.left_out == {"1M": (1,)}


def test_noise_over_several_budgets_is_refused(table_of):
    frame = table_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).frame
    table = ScoreTable(pd.concat([frame, frame.assign(samples=1)]))
    with pytest.raises(TableError, match="different numbers of samples"):
        noise_between_seeds(table, "1M")


def test_nothing_heavy_is_imported():
    """`ablate consistency` must answer at once: no figures, and of scipy the functions alone (a third of a second)."""
    code = (
        "import sys; from analysis.consistency import study_report, Request; from analysis.tables import published;"
        "study_report(published('apollo'), Request(small='0.5B', large='7B'));"
        "print([name for name in ('scipy.stats', 'matplotlib', 'torch', 'ablate', 'models') if name in sys.modules])"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
