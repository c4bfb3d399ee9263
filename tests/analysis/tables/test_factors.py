"""Axes as text, and designs that differ in a single axis."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.tables import blocks, factors_as_text, level_named, value_as_text
from analysis.tables.factors import levels_of


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (2.0, "2"), (np.float64(0.5), "0.5"), (1e-5, "1e-05"), (3e6, "3000000"), (1234567.5, "1234567.5"),
     (True, "True"), (np.bool_(False), "False"), ("siglip", "siglip"), (None, "not set"), (math.nan, "not set"),
     (pd.NA, "not set"), (np.int64(7), "7")],
)  # fmt: skip
def test_values_as_text(value, text):
    assert value_as_text(value) == text


def test_levels_are_sorted_as_numbers_before_words():
    assert levels_of(["10", "b", "2", "a", "1e-05", "2"]) == ["1e-05", "2", "10", "a", "b"]


def test_a_level_is_found_by_text_number_or_case():
    assert level_named("1e-5", ["1e-05", "0.001"]) == "1e-05"
    assert level_named("true", ["False", "True"]) == "True"
    assert level_named("3", ["1", "2"]) is None


def test_designs_without_any_value_are_left_out():
    factors = pd.DataFrame({"a": [1, None, 2], "b": [None, None, "x"]}, index=["p", "q", "r"])
    texts = factors_as_text(factors, ["r", "q", "p", "stranger"])
    assert texts.to_dict("index") == {"r": {"a": "2", "b": "x"}, "p": {"a": "1", "b": "not set"}}
    assert factors_as_text(pd.DataFrame(), ["p"]).empty
    assert factors_as_text(pd.DataFrame({"a": []}), ["p"]).empty


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


def test_designs_that_are_equal_in_every_axis_are_in_no_pair():
    factors = pd.DataFrame({"a": ["x", "x", "y", "z"], "b": ["1", "1", "1", "1"]}, index=list("pqrs"))
    found = blocks(factors, "a")
    assert found.confused == ("p", "q")
    assert [factors.index[i] for i in found.design_m] == ["r", "s"]
    alone = blocks(factors[:2], "a")
    assert (len(alone.every_pair()[0]), len(alone.design_m)) == (0, 0)
