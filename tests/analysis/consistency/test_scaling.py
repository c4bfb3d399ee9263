"""R^2 over sizes, numbers of training samples and metrics: the paper's figures, and incomplete tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.consistency import Pair
from analysis.consistency.scaling import LEVEL_OFF, by_metric, by_samples, every_pair, size_fit
from analysis.tables import ScoreTable

FIGURE_15 = {
    ("4B", "7B"): 0.938, ("1.5B", "7B"): 0.831, ("0.5B", "7B"): 0.694,
    ("1.5B", "4B"): 0.903, ("0.5B", "4B"): 0.772, ("0.5B", "1.5B"): 0.736,
}  # fmt: skip
"""As printed (arXiv 2412.10360); 1.5B -> 4B comes out as 0.9023."""


def test_golden_matrix_and_trend(apollo):
    found = every_pair(apollo.select())
    assert {(p.small, p.large): p.r2 for p in found.pairs} == pytest.approx(FIGURE_15, abs=0.001)
    assert all(p.r2_interval.low < p.r2 < p.r2_interval.high for p in found.pairs)
    assert (round(found.fit.slope, 2), round(found.fit.intercept, 2)) == (0.12, 0.78)  # Fig. 3 left
    assert (found.large, found.fit.sizes, found.left_out) == ("7B", 3, ())
    assert found.fit.intercept + found.fit.slope * math.log(found.fit.target_size / 1e9) == pytest.approx(0.9)
    assert 1.5e9 < found.fit.target_size < 4e9
    assert not found.fit.is_extrapolated
    assert every_pair(apollo.select(), "4B").fit is None  # two sizes below it


def pair(small: str, r2: float) -> Pair:
    return Pair(small=small, large="9B", n=9, r2=r2, r2_interval=None, spearman=r2, decision_accuracy=r2)


def test_the_size_for_the_target_r2():
    rising = size_fit([pair("1M", 0.1), pair("10M", 0.3), pair("100M", 0.5)])
    assert rising.target_size == pytest.approx(10e9)
    assert rising.is_extrapolated
    assert size_fit([pair("1M", 0.5), pair("10M", 0.4), pair("100M", 0.3)]).target_size is None
    flat = size_fit([pair("1M", 0.5), pair("10M", 0.5), pair("100M", 0.5000001)])
    assert flat.target_size is None  # 1e1000000 parameters
    assert size_fit([pair("1M", 0.1), pair("base", 0.3), pair("100M", 0.5)]) is None


def test_labels_that_are_not_sizes_and_scales_with_few_designs(rows_of):
    designs = {name: [float(i)] for i, name in enumerate("abcd")}
    scores = {"tiny": designs, "base": designs, "7B": dict(list(designs.items())[:2])}
    found = every_pair(ScoreTable(rows_of(scores)).select(), "base")
    assert [(p.small, p.large) for p in found.pairs] == [("tiny", "base")]
    assert found.fit is None
    assert found.left_out == ("7B and tiny have 2 designs in common", "7B and base have 2 designs in common")


def test_a_scale_with_several_numbers_of_samples_is_named(rows_of):
    rows = rows_of({scale: {name: [float(i)] for i, name in enumerate("abcd")} for scale in ("1M", "2M", "3M")})
    more = rows[rows["scale"] == "2M"].assign(samples=5)
    found = every_pair(ScoreTable(pd.concat([rows, more])).select())
    assert [(p.small, p.large) for p in found.pairs] == [("1M", "3M")]
    assert "trained at 2M on different numbers of samples" in found.left_out[0]


def by_number_of_samples(
    rows_of, noises: dict[int, float], n: int = 30, absent: tuple[tuple[int, int], ...] = ()
) -> ScoreTable:
    """A small scale trained on several numbers of samples; fewer samples, more noise."""
    rng = np.random.default_rng(5)
    quality, noise = rng.normal(size=n), rng.normal(size=n)
    names = [f"d{i:02d}" for i in range(n)]
    parts = [rows_of({"7B": {d: [float(q)] for d, q in zip(names, quality, strict=True)}})]
    for samples, size in noises.items():
        scores = {d: [float(quality[i] + size * noise[i])] for i, d in enumerate(names) if (samples, i) not in absent}
        parts.append(rows_of({"1B": scores}).assign(samples=samples))
    return ScoreTable(pd.concat(parts)).select()


def test_where_training_levels_off(rows_of):
    found = by_samples(by_number_of_samples(rows_of, {100: 1.0, 300: 0.3, 500: 0.1, 1000: 0.08}), "1B", "7B")
    assert [point.samples for point in found.points] == [100, 300, 500, 1000]
    assert found.levels_off == 500
    first, *_, last = found.points
    assert last.lost is None
    assert first.lost.low > 0.1  # worse than with the most samples
    assert first.lost.low < last.r2 - first.r2 < first.lost.high
    assert abs(found.points[2].r2 - last.r2) <= LEVEL_OFF < abs(found.points[1].r2 - last.r2)
    rising = by_samples(by_number_of_samples(rows_of, {100: 1.0, 300: 0.6, 500: 0.3}), "1B", "7B")
    assert rising.levels_off == 500  # the highest: not below


def test_incomplete_numbers_of_samples(rows_of):
    few = tuple((100, i) for i in range(28))
    found = by_samples(
        by_number_of_samples(rows_of, {100: 1.0, 300: 0.3, 500: 0.1}, absent=(*few, (300, 4))), "1B", "7B"
    )
    assert [(point.samples, point.n) for point in found.points] == [(300, 29), (500, 29)]
    assert found.left_out == (
        "100 samples: fewer than 3 designs",
        "1 designs without a score for every number of samples: d04",
    )
    assert by_samples(by_number_of_samples(rows_of, {100: 1.0, 300: 0.3}, absent=few), "1B", "7B") is None
    assert by_samples(by_number_of_samples(rows_of, {100: 1.0}), "1B", "7B") is None


def test_by_metric(rows_of):
    def at(values: str, sign: float = 1.0) -> dict[str, list[float]]:
        return {name: [sign * float(i)] for i, name in enumerate(values)}

    frames = [
        rows_of({"1M": at("abcdef"), "2M": at("abcdef")}, "bench/overall"),
        rows_of({"1M": at("abcd"), "2M": at("abcdeg")}, "bench/order"),
        rows_of({"1M": at("abcdef", -1), "2M": at("abcdef", -1)}, "bench/loss"),
        rows_of({"1M": at("abcdef")}, "bench/small"),
        rows_of({"1M": at("abcdef"), "2M": at("ab")}, "bench/few"),
    ]
    table = ScoreTable(pd.concat(frames))
    rows = by_metric(table, "1M", "2M", "bench/overall")
    assert [(row.metric, row.pair.n, row.missing) for row in rows] == [
        ("bench/overall", 6, 0), ("bench/loss", 6, 0), ("bench/order", 4, 2)]  # fmt: skip
    assert [row.with_metric for row in rows] == pytest.approx([1, -1, 1])
