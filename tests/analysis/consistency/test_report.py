"""The whole report: its parts, the warnings about data left out, invariances."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.consistency import ItemScores, Request, study_report
from analysis.tables import ScoreTable, TableError

REQUEST = Request(small="1M", large="2M")


@pytest.fixture(scope="module")
def grid_study(rows_of):
    """Two axes, two seeds, two metrics: twelve designs at 1M and 2M, from numbers."""

    def build(values, sign: float = 1.0, lower_is_better: bool = False) -> ScoreTable:
        names = [f"{a}{lr}" for a in "pqrxyz" for lr in (1, 2)]
        factors = pd.DataFrame({"arch": [n[0] for n in names], "lr": [int(n[1]) for n in names]}, index=names)
        cells = iter(np.resize(np.array(values, dtype=float), 12 * 2 * 2 * 2) * sign)
        frames = [
            rows_of({scale: {n: [next(cells) for _ in range(2)] for n in names} for scale in ("1M", "2M")}, metric)
            for metric in ("bench/overall", "bench/order")
        ]
        return ScoreTable(pd.concat(frames), factors=factors, lower_is_better=lower_is_better)

    return build


values = st.lists(st.integers(0, 40), min_size=96, max_size=96)


def test_apollo(apollo):
    found = study_report(apollo, Request(small="0.5B", large="7B", within="data_mix"))
    assert round(found.within.r2, 3) == 0.517
    assert (found.three_way, found.across_seeds, found.items, found.by_samples) == (None, None, None, None)
    assert not found.ceiling.is_measured
    assert found.ceiling.noise == (2.0, 2.0)  # the assumed noise
    assert found.seeds_needed == 63  # for one point, were the noise two
    assert found.stability is None  # an assumed noise says nothing of these designs
    assert (found.designs_needed, found.items_needed) == (128, None)
    assert found.scaling.fit.target_interval.high == 1.0
    assert 0.5 < found.scaling.fit.target_interval.low < 0.9
    assert (len(found.scaling.pairs), round(found.scaling.fit.slope, 2)) == (6, 0.12)
    assert found.warnings == ()
    assert {axis.axis for axis in found.axes} == set(apollo.factors)
    stated = study_report(apollo, Request(small="0.5B", large="7B", noise=0.5))
    assert (stated.three_way.source, stated.ceiling.noise, stated.seeds_needed) == ("stated", (0.5, 0.5), 4)
    assert stated.three_way.smallest == pytest.approx(0.5 * math.sqrt(2) * 1.959964)
    assert stated.three_way.accuracy > found.consistency.decision_accuracy


@pytest.mark.parametrize(("small", "r2"), [("4B", 0.913), ("1.5B", 0.742), ("0.5B", 0.523)])
def test_apollo_without_the_collapsed(apollo, small, r2):
    found = study_report(apollo, Request(small=small, large="7B", without=("v21", "v07", "v14")))
    assert (found.consistency.n, round(found.consistency.r2, 3)) == (18, r2)
    assert {pair.n for pair in found.scaling.pairs} == {18}
    assert found.warnings == ("left out on request: v07, v14, v21",)
    with pytest.raises(TableError, match="cannot leave out 'v99': the designs of the study are v01"):
        study_report(apollo, Request(small=small, large="7B", without=("v99",)))


@settings(max_examples=5)
@given(values)
def test_json_is_plain(grid_study, values):
    for numbers in (values, [7.0], [1.0, math.nan, 3.0, 4.0, 2.0]):
        plain = study_report(grid_study(numbers), replace(REQUEST, within="arch")).to_json()
        assert set(plain) >= {
            "r2",
            "within",
            "axes",
            "three_way",
            "noise",
            "scaling",
            "metrics",
            "warnings",
            "by_samples",
        }
        json.dumps(plain, allow_nan=False)


def flipped(plain: dict) -> dict:
    """Values in points with their sign changed: effects, the intercept, the points themselves."""

    def turned(pair):
        return None if pair is None else [-pair[1], -pair[0]]

    def effect(one):
        ends = one["interval"] and {"low": -one["interval"]["high"], "high": -one["interval"]["low"]}
        return one | {"value": -one["value"], "interval": ends}

    axes = [
        axis | {"choices": [c | {"small": effect(c["small"]), "large": effect(c["large"])} for c in axis["choices"]]}
        for axis in plain["axes"]
    ]
    crossed = None if plain["intercept"] is None else -plain["intercept"]
    intervals = plain["intervals"] | {"intercept": turned(plain["intervals"]["intercept"])}
    points = [point | {"x": -point["x"], "y": -point["y"]} for point in plain["points"]]
    return plain | {"axes": axes, "intercept": crossed, "intervals": intervals, "points": points}


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return round(value, 8) + 0.0 if isinstance(value, float) else value


@settings(max_examples=6)
@given(values)
def test_lower_is_better_is_higher_negated(grid_study, values):
    losses = study_report(grid_study(values, 1.0, lower_is_better=True), replace(REQUEST, within="arch")).to_json()
    gains = study_report(grid_study(values, -1.0), replace(REQUEST, within="arch")).to_json()
    for plain in (losses, gains):
        del plain["lower_is_better"]
        plain["warnings"] = [w for w in plain["warnings"] if "order of designs opposite" not in w]
    assert rounded(flipped(losses)) == rounded(gains)


@settings(max_examples=6)
@given(values, st.randoms(use_true_random=False))
def test_row_order_does_not_matter(grid_study, values, random):
    table = grid_study(values)
    shuffled = ScoreTable(
        table.frame.sample(frac=1, random_state=random.randrange(999)),
        factors=table.factors.sample(frac=1, random_state=1),
    )
    assert study_report(table, REQUEST).to_json() == study_report(shuffled, REQUEST).to_json()


def test_seeds_give_the_noise(grid_study):
    rng = np.random.default_rng(1)
    table = grid_study(np.repeat(rng.normal(size=48) * 5, 2) + rng.normal(size=96))
    found = study_report(table, replace(REQUEST, noise=9.0, resolution=2.0))
    assert found.ceiling.is_measured
    assert found.three_way.source == "seeds"
    assert len(found.across_seeds.pairs) == 4
    assert any("stated noise of 9 points is not used" in warning for warning in found.warnings)
    assert 2 <= found.seeds_needed <= 8
    assert {r.axis for r in found.robustness} == {"lr"}
    assert found.robustness[0].n == 6


def test_three_way_uses_the_seeds_that_all_designs_have(rows_of):
    """A third seed of one design, run on a lucky order of data that lifts everything, must not decide pairs."""
    scores = {f"d{i}": [10.0 + i / 100, 20.0 + (i % 2) / 10] for i in range(6)}
    scores["d0"].append(99.0)
    found = study_report(ScoreTable(rows_of({"1M": scores, "2M": scores})), REQUEST)
    assert found.three_way.decided == 0
    assert any("seeds left out at 1M when seeds are paired" in warning for warning in found.warnings)


def test_everything_left_out_is_named(rows_of):
    names = "abcdefgh"
    scores = {name: [float(i)] for i, name in enumerate(names)}
    losses = {name: [-float(i)] for i, name in enumerate(names)}
    frames = [
        rows_of({"1M": scores, "2M": {**scores, "a": [math.nan]}, "3M": {"b": [1.0]}}),
        rows_of({"1M": losses, "2M": losses}, "bench/loss"),
        rows_of({"1M": scores}, "bench/small"),
        rows_of({"1M": {**scores, "b": [math.nan]}, "2M": scores}, "bench/order"),
        rows_of({"1M": {"a": [math.nan]}}, "bench/never"),
    ]
    factors = pd.DataFrame({"k": [1, 1, 2, 3], "m": [1, 1, 1, 1]}, index=list("bcdz"))
    request = replace(REQUEST, metric="bench/overall", within="k", without=("h",))
    found = study_report(ScoreTable(pd.concat(frames), factors=factors), request)
    warnings = "\n".join((*found.consistency.warnings, *found.warnings))
    for phrase in (
        "score at 2M is NaN: a seed 0",
        "no score at 2M: a;",
        "left out on request: h",
        "no axis values for e, f, g",
        "left out within k, alone in their level or without a value: d, e, f, g",
        "2 designs left out of k: another design has the same values of all axes",
        "order of designs opposite to bench/overall",
        "left out for that metric only: bench/order (1)",
        "scores that are NaN, left out: bench/never (1), bench/order (1)",
        "fewer than 3 designs have a score at both 1M and 2M, not compared: bench/never, bench/small",
        "left out of the pairs of scales: 1M and 3M have 1 designs in common",
        "only 6 designs",
    ):
        assert phrase in warnings, phrase
    json.dumps(found.to_json(), allow_nan=False)


def item_scores(names, seed: int = 3) -> ItemScores:
    rng = np.random.default_rng(seed)
    scores = 50 + 3 * np.arange(len(names))[:, None] + 10 * rng.normal(size=(2, len(names), 60))
    return ItemScores(tuple(names), scores[0], scores[1], np.ones(60))


def test_items_follow_the_designs_that_are_compared(table_of):
    table = table_of([float(i) for i in range(8)], [float(i) for i in range(8)])
    names = [f"d{i:02d}" for i in range(8)]
    every = study_report(table, REQUEST, items=item_scores(names[::-1]))
    assert (every.three_way.source, every.items.items, every.warnings) == ("items", 60, ())
    rest = study_report(table, replace(REQUEST, without=("d00",)), items=item_scores(names[::-1]))
    assert rest.three_way.pairs == 21  # the others still have theirs
    assert rest.items != every.items
    unscored = study_report(table, REQUEST, items=item_scores(names[1:]))
    assert (unscored.three_way, unscored.items.items) == (None, 60)
    assert unscored.warnings == ("no scores by test item for d00: left out of the comparison of item halves",)
    incomplete = item_scores(names)
    incomplete.x_nI[2, :5] = math.nan
    found = study_report(table, REQUEST, items=incomplete)
    assert (found.items.items, found.three_way.source) == (55, "items")
    assert found.warnings == ("5 test items left out, not scored for every design at both scales",)
    with pytest.raises(TableError, match="each design needs one score per item"):
        ItemScores(("a",), np.ones((1, 2)), np.ones((1, 1)), np.ones(1))


def test_few_designs_get_no_verdict(table_of):
    four = study_report(table_of([1, 2, 3, 4], [1, 2, 4, 3]), REQUEST)
    assert (four.consistency.verdict, four.three_way) == ("no verdict: too few designs", None)
    assert "4 designs are too few for a verdict" in four.to_json()["warnings"][0]
    assert study_report(table_of([1, 2, 3, 4], [1, 2, 4, 3]), replace(REQUEST, noise=1.0)).three_way is None
    assert study_report(table_of([1, 2, 3, 4, 5], [1, 2, 4, 3, 5]), replace(REQUEST, noise=1.0)).three_way is not None


def test_without_leaves_designs_out_of_every_number_of_samples(rows_of):
    rows = [rows_of({scale: {f"d{i}": [float(i)] for i in range(6)} for scale in ("1M", "2M")})]
    rows.append(rows_of({"1M": {f"d{i}": [float(i)] for i in range(6)}}).assign(samples=10))
    every = ScoreTable(pd.concat(rows))
    found = study_report(every.only(samples=1000), replace(REQUEST, without=("d5",)), all_samples=every)
    assert {point.n for point in found.by_samples.points} == {5}


def test_invalid_requests():
    for wrong in ({"noise": 0.0}, {"noise": -1.0}, {"noise": math.nan}, {"resolution": 0.0}, {"resolution": math.inf}):
        with pytest.raises(TableError, match="it must be a number above 0"):
            Request(small="1M", large="2M", **wrong)


def test_axes_that_do_not_exist(apollo, table_of):
    with pytest.raises(TableError, match="no axis 'mix'; there are: encoders"):
        study_report(apollo, Request(small="0.5B", large="7B", within="mix"))
    with pytest.raises(TableError, match="no axis 'mix'; there are: none"):
        study_report(table_of([1, 2, 3], [1, 2, 3]), replace(REQUEST, within="mix"))
