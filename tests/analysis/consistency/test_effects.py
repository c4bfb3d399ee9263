"""Effects of single choices at both scales: hand-computed tables, references for many comparisons, poor data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.consistency import axes_consistency
from analysis.consistency.effects import benjamini_hochberg, holm, robustness, to_json
from analysis.tables import ScoreTable, TableError


@pytest.fixture(scope="module")
def study(rows_of):
    """A study from scale -> design -> scores by seed, and design -> its axes."""

    def build(scores, factors) -> ScoreTable:
        return ScoreTable(rows_of(scores), factors=pd.DataFrame.from_dict(factors, orient="index")).select()

    return build


ONE_AT_A_TIME = {
    "base": {"fps": 1, "lr": 0.1},
    "fast": {"fps": 2, "lr": 0.1},
    "slow": {"fps": 0.5, "lr": 0.1},
    "hot": {"fps": 1, "lr": 0.3},
}


def test_one_at_a_time_by_hand(study):
    small = {"base": [10.0, 12.0], "fast": [13.0, 16.0], "slow": [9.0, 9.0], "hot": [10.0, 12.0]}
    large = {"base": [20.0], "fast": [22.0], "slow": [21.0], "hot": [18.0]}
    fps, lr = axes_consistency(study({"1M": small, "2M": large}, ONE_AT_A_TIME), "1M", "2M")
    assert (fps.axis, fps.baseline, lr.axis, lr.baseline) == ("fps", "1", "lr", "0.1")
    slow, fast = fps.choices
    assert (slow.level, fast.level, slow.pairs) == ("0.5", "2", 1)
    assert (fast.small.value, fast.large.value, fast.small.replicates) == (3.5, 2.0, 2)
    # differences by seed 3 and 4: t interval with one degree of freedom
    half = stats.t.ppf(0.975, 1) * np.std([3, 4], ddof=1) / np.sqrt(2)
    assert (fast.small.interval.low, fast.small.interval.high) == pytest.approx((3.5 - half, 3.5 + half))
    assert fast.small.p == pytest.approx(stats.ttest_rel([13, 16], [10, 12]).pvalue)
    assert (fast.large.interval, fast.large.p) == (None, None)  # a single seed gives no error
    assert (slow.verdict, fast.verdict) == ("sign turned", "sign kept")
    assert lr.choices[0].verdict == "open"  # no effect at all at the small scale
    # pairs: slow-base, slow-fast, base-fast; ordered alike: the second and third
    assert (fps.pairs, fps.sign_agreement) == (3, pytest.approx(2 / 3))
    assert lr.sign_agreement == 0.5
    assert fps.slope == pytest.approx((-2.0 * 1 + 3.5 * 2) / (2.0**2 + 3.5**2))
    assert lr.slope is None


def test_a_grid_with_seeds_is_paired(study):
    """What a seed does to all designs alike is no noise; four pairs are the replicates."""
    factors = {f"{a}{b}": {"a": a, "b": b} for a in "xy" for b in "1234"}
    shifts = {"x1": 0, "x2": 5, "x3": 9, "x4": 2, "y1": 1, "y2": 7, "y3": 12, "y4": 6}
    seeds = [0.0, 50.0, -30.0]
    scores = {scale: {d: [v + s for s in seeds] for d, v in shifts.items()} for scale in ("1M", "2M")}
    axis = axes_consistency(study(scores, factors), "1M", "2M")[0]
    (choice,) = axis.choices
    by_pair = [1.0, 2.0, 3.0, 4.0]
    assert (choice.pairs, choice.small.replicates, choice.small.value) == (4, 4, 2.5)
    reference = stats.ttest_1samp(by_pair, 0)
    assert choice.small.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval()
    assert (choice.small.interval.low, choice.small.interval.high) == pytest.approx((interval.low, interval.high))
    assert (choice.verdict, axis.slope, axis.sign_agreement) == ("transfers", 1.0, 1.0)


def test_seeds_that_are_not_shared_give_the_difference_of_means(study):
    scores = {"a": [1.0, math.nan, math.nan], "b": [math.nan, 4.0, 6.0]}
    axis = axes_consistency(study({"1M": scores, "2M": scores}, {"a": {"k": 1}, "b": {"k": 2}}), "1M", "2M")[0]
    assert (axis.choices[0].small.value, axis.choices[0].small.replicates) == (4.0, 1)


def test_a_stated_noise_makes_an_interval_where_nothing_is_replicated(study):
    scores = {"a": [1.0], "b": [4.0]}
    table = study({"1M": scores, "2M": scores}, {"a": {"k": 1}, "b": {"k": 2}})
    effect = axes_consistency(table, "1M", "2M", noise=1.0)[0].choices[0].small
    assert effect.interval.high - effect.value == pytest.approx(1.959964 * math.sqrt(2))
    assert effect.p == pytest.approx(2 * stats.norm.sf(3 / math.sqrt(2)))


def test_equal_replicates_give_no_error(study):
    """Two seeds that were rounded alike must not give p = 0."""
    scores = {"a": [0.1, 0.2], "b": [0.3, 0.4]}
    table = study({"1M": scores, "2M": scores}, {"a": {"k": 1}, "b": {"k": 2}})
    effect = axes_consistency(table, "1M", "2M")[0].choices[0].small
    assert (effect.interval, effect.p, effect.replicates) == (None, None, 2)


def test_equal_means_tie_however_their_seeds_sum(study):
    scores = {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1]}
    axis = axes_consistency(study({"1M": scores, "2M": scores}, {"a": {"k": 1}, "b": {"k": 2}}), "1M", "2M")[0]
    assert (axis.choices[0].small.value, axis.choices[0].verdict, axis.sign_agreement) == (0.0, "open", 0.5)


def test_unknown_axes_and_values_are_refused(study):
    scores = {name: [float(i)] for i, name in enumerate(("base", "fast", "hot", "stranger"))}
    table = study({"1M": scores, "2M": scores}, ONE_AT_A_TIME)
    assert {axis.pairs for axis in axes_consistency(table, "1M", "2M")} == {1}
    with pytest.raises(TableError, match="no axis 'tokens' that varies; there are: fps, lr"):
        axes_consistency(table, "1M", "2M", {"tokens": "3"})
    with pytest.raises(TableError, match="axis 'fps' has no value '7'; there are: 1, 2"):
        axes_consistency(table, "1M", "2M", {"fps": "7"})
    assert axes_consistency(table, "1M", "2M", {"fps": "2.0"})[0].baseline == "2"


def test_axes_with_values_of_every_kind(study):
    factors = {
        "a": {"k": 1, "m": True},
        "b": {"k": 1.0, "m": False},
        "c": {"k": "one", "m": True},
        "d": {"k": None, "m": True},
        "e": {"k": math.nan, "m": None},
    }
    scores = {name: [float(i)] for i, name in enumerate(factors)}
    table = study({"1M": scores, "2M": scores}, factors)
    k, m = axes_consistency(table, "1M", "2M")
    assert [choice.level for choice in k.choices] == ["not set", "one"]  # against 1: b is alike 1.0
    assert [choice.level for choice in m.choices] == ["False"]


def test_holm_and_benjamini_hochberg():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == benjamini_hochberg([]) == []


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_that_of_scipy(p):
    ours = benjamini_hochberg(p)
    assert ours == pytest.approx(stats.false_discovery_control(p, method="bh"))
    assert all(
        raw <= lenient + 1e-12 and lenient <= strict + 1e-12
        for raw, lenient, strict in zip(p, ours, holm(p), strict=True)
    )


def test_all_choices_of_all_axes_share_the_correction(study):
    small = {"base": [10.0, 12.0], "fast": [13.0, 16.0], "slow": [9.0, 9.0], "hot": [11.0, 12.0]}
    axes = axes_consistency(study({"1M": small, "2M": small}, ONE_AT_A_TIME), "1M", "2M")
    effects = [choice.small for axis in axes for choice in axis.choices]
    assert [e.p_holm for e in effects] == pytest.approx(holm([e.p for e in effects]))
    assert [e.p_bh for e in effects] == pytest.approx(benjamini_hochberg([e.p for e in effects]))


grids = st.lists(st.integers(0, 30), min_size=16, max_size=16)


@settings(max_examples=15)
@given(grids, st.randoms(use_true_random=False))
def test_names_of_designs_and_values_do_not_matter(study, values, random):
    cells = list(itertools.product("xy", "12", (0, 1)))
    names = [f"d{i}" for i in range(8)]

    def found(names, call, order):
        factors = {n: {"a": call[a], "b": b} for n, (a, b, s) in zip(names, cells, strict=True) if not s}
        scores = [{n: [values[o + 2 * i], values[o + 2 * i + 1]] for i, n in enumerate(factors)} for o in (0, 8)]
        factors = dict(sorted(factors.items(), key=lambda item: order[item[0]]))
        return axes_consistency(study(dict(zip(("1M", "2M"), scores, strict=True)), factors), "1M", "2M")

    order = {n: random.random() for n in names}
    plain = found(names, {"x": "x", "y": "y"}, dict.fromkeys(names, 0))
    again = found([f"z{n}" for n in names], {"x": "k", "y": "m"}, {f"z{n}": v for n, v in order.items()})
    for one, other in zip(plain, again, strict=True):
        assert one.pairs == other.pairs
        assert one.sign_agreement == other.sign_agreement
        assert one.slope == pytest.approx(other.slope)
        assert [c.small for c in one.choices] == [c.small for c in other.choices]
    swapped = found(names, {"x": "m", "y": "k"}, dict.fromkeys(names, 0))  # the other value becomes the baseline
    assert swapped[0].sign_agreement == plain[0].sign_agreement
    assert swapped[0].choices[0].small.value == -plain[0].choices[0].small.value


def test_apollo_axes(apollo):
    axes = {axis.axis: axis for axis in axes_consistency(apollo.select(), "0.5B", "7B")}
    assert set(axes) == {"encoders", "clip_duration_s", "tokens_per_clip", "fps", "data_mix", "vision"}
    assert all(axis.sign_agreement is None or 0 <= axis.sign_agreement <= 1 for axis in axes.values())
    assert to_json(list(axes.values()))[2]["choices"][0]["verdict"] in (
        "transfers",
        "reverses",
        "sign kept",
        "sign turned",
    )


def test_rankings_under_two_learning_rates(study):
    rates, designs = (1e-5, 1e-4, 1e-3), "pqrs"
    scores = {
        f"{d}{lr}": [v]
        for lr, row in zip(rates, ([1, 2, 3, 4], [1, 2, 4, 3], [4, 3, 2, 1]), strict=True)
        for d, v in zip(designs, map(float, row), strict=True)
    }
    factors = {f"{d}{lr}": {"stages.0.lr.llm": lr, "design": d} for lr in rates for d in designs}
    table = study({"1M": scores, "2M": scores}, factors)
    found = robustness(table, "1M")
    assert [(r.levels, r.n) for r in found] == [
        (("1e-05", "0.0001"), 4),
        (("1e-05", "0.001"), 4),
        (("0.0001", "0.001"), 4),
    ]
    assert [r.spearman for r in found] == pytest.approx([0.8, -1.0, -0.8])
    assert [r.decision_accuracy for r in found] == pytest.approx([5 / 6, 0.0, 1 / 6])
    assert robustness(table, "1M", ["design"])[0].axis == "design"
    with pytest.raises(TableError, match="no axis 'x'"):
        robustness(table, "1M", ["x"])
