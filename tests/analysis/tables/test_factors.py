"""Axes as text, and who differs in one axis alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.tables import blocks, level_named, told, written
from analysis.tables.factors import levels_of


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (2.0, "2"), (np.float64(0.5), "0.5"), (1e-5, "1e-05"), (3e6, "3000000"), (1234567.5, "1234567.5"),
     (True, "True"), (np.bool_(False), "False"), ("siglip", "siglip"), (None, "not told"), (math.nan, "not told"),
     (pd.NA, "not told"), (np.int64(7), "7")],
)  # fmt: skip
def test_how_values_are_written(value, text):
    assert written(value) == text


def test_levels_are_sorted_as_numbers_before_words():
    assert levels_of(["10", "b", "2", "a", "1e-05", "2"]) == ["1e-05", "2", "10", "a", "b"]


def test_the_value_that_is_meant():
    assert level_named("1e-5", ["1e-05", "0.001"]) == "1e-05"
    assert level_named("true", ["False", "True"]) == "True"
    assert level_named("3", ["1", "2"]) is None


def test_designs_of_which_nothing_is_known_are_not_told():
    factors = pd.DataFrame({"a": [1, None, 2], "b": [None, None, "x"]}, index=["p", "q", "r"])
    known = told(factors, ["r", "q", "p", "stranger"])
    assert known.to_dict("index") == {"r": {"a": "2", "b": "x"}, "p": {"a": "1", "b": "not told"}}
    assert told(pd.DataFrame(), ["p"]).empty
    assert told(pd.DataFrame({"a": []}), ["p"]).empty


def test_blocks_of_a_grid():
    rows = {f"{a}{b}": {"a": a, "b": b} for a in "xyz" for b in "12"}
    factors = pd.DataFrame(rows).T.astype(str)
    found = blocks(factors, "a")
    assert found.levels == ("x", "y", "z")
    ones, others = found.every_pair()
    pairs = {(factors.index[i], factors.index[j]) for i, j in zip(ones, others, strict=True)}
    assert pairs == {(f"{p}{b}", f"{q}{b}") for b in "12" for p, q in ("xy", "xz", "yz")}
    one, other = found.against(2, 0)
    assert [(factors.index[i], factors.index[j]) for i, j in zip(one, other, strict=True)] == [
        ("z1", "x1"),
        ("z2", "x2"),
    ]


def test_designs_that_the_axes_do_not_tell_apart_are_in_no_pair():
    factors = pd.DataFrame({"a": ["x", "x", "y", "z"], "b": ["1", "1", "1", "1"]}, index=list("pqrs"))
    found = blocks(factors, "a")
    assert found.confused == ("p", "q")
    assert [factors.index[i] for i in found.design_m] == ["r", "s"]
    alone = blocks(factors[:2], "a")
    assert (len(alone.every_pair()[0]), len(alone.design_m)) == (0, 0)
