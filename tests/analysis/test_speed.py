"""How long the statistics take. Time of this process alone, as other work may share the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from analysis.consistency import Request, study_report
from analysis.numbers.agreement import WEIGHTED
from analysis.numbers.uncertainty import bootstrap_weights
from analysis.tables import COLUMNS, ScoreTable

pytestmark = pytest.mark.slow
NOISE = 2.0
"""Allowance for a busy machine."""


@contextmanager
def within_seconds(limit: float, what: str) -> Iterator[None]:
    started = time.process_time()
    yield
    seconds = time.process_time() - started
    print(f"\n{what}: {seconds:.3f} s (at most {limit:g} s)")
    assert seconds < NOISE * limit


@pytest.mark.parametrize(("designs", "limit"), [(21, 0.1), (1000, 5.0)])
def test_ten_thousand_resamples(designs, limit):
    rng = np.random.default_rng(1)
    x = rng.normal(size=designs)
    y, weights = x + rng.normal(size=designs), bootstrap_weights(designs, resamples=10_000)
    with within_seconds(limit, f"four statistics, 10,000 resamples of {designs} designs"):
        for statistic in WEIGHTED.values():
            statistic(x, y, weights)


def test_the_published_study(apollo):
    request = Request(small="0.5B", large="7B", within="data_mix")
    study_report(apollo, request)  # imports what it needs
    with within_seconds(0.5, "report on apollo"):
        study_report(apollo, request)


@pytest.mark.parametrize("blocks", ["two levels", "many levels", "one axis"])
def test_a_thousand_designs(blocks):
    rng, n = np.random.default_rng(2), 1000
    quality = rng.normal(50, 3, size=n)
    names = [f"d{i:04d}" for i in range(n)]
    call: Callable[[int], dict[str, object]] = {
        "two levels": lambda i: {"lr": (1e-3, 1e-4)[i % 2], "mix": i // 2 % 10, "depth": i // 20},
        "many levels": lambda i: {"a": i // 100, "b": i % 100},
        "one axis": lambda i: {"a": i},
    }[blocks]
    factors = pd.DataFrame([call(i) for i in range(n)], index=names)
    rows = [
        ("s", name, scale, 0, 1000, "bench", category, "video", float(np.round(quality[i] + rng.normal(), 2)))
        for i, name in enumerate(names)
        for scale in ("1M", "2M")
        for category in ("overall", "order", "count")
    ]
    table = ScoreTable(pd.DataFrame(rows, columns=list(COLUMNS)), factors=factors)
    with within_seconds(4.0, f"report on 1,000 designs, {blocks}"):
        study_report(table, Request(small="1M", large="2M"))
