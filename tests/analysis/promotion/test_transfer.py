"""Predictions at the large scale: against closed forms, by their invariants, and on the paper's tables."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.numbers import fitted_line
from analysis.promotion import Candidates, Prior, find_candidates, predict, published_prior, vague_prior
from analysis.promotion.kriging import krige, standardise
from analysis.promotion.transfer import explained_with_run
from analysis.tables import ScoreTable, TableError

PRIOR = Prior(rate=0.06, noise_share=0.02, growth=0.18, weight=5.0, source="test")


def candidates_of(scores, known=None, sizes=(1.5e9,), large=7e9, seeds=None, noise=None) -> Candidates:
    score_nS = np.asarray(scores, dtype=float).reshape(len(scores), -1)
    n, num_scales = score_nS.shape
    return Candidates(
        designs=tuple(f"d{i:04d}" for i in range(n)),
        scales=tuple(f"s{s}" for s in range(num_scales)),
        log_size_S=np.log(np.asarray(sizes, dtype=float)),
        score_nS=score_nS,
        seeds_nS=np.where(np.isfinite(score_nS), 1.0, 0.0) if seeds is None else np.asarray(seeds, dtype=float),
        noise_S=np.full(num_scales, math.nan) if noise is None else np.asarray(noise, dtype=float),
        large="7B",
        log_size=math.log(large),
        known_n=np.full(n, math.nan) if known is None else np.asarray(known, dtype=float),
        lower_is_better=False,
    )


def some_candidates(n=12, known=5, seed=0):
    rng = np.random.default_rng(seed)
    x = 40 + 3 * rng.standard_normal(n)
    y = 50 + 3.5 * (x - 40) / 3 + rng.standard_normal(n)
    y[known:] = math.nan
    return candidates_of(x, y)


# --- the regression ---------------------------------------------------------------------------------


def test_without_prior_it_is_least_squares_with_its_t_intervals():
    candidates = some_candidates(known=8)
    transfer = predict(candidates, replace(PRIOR, weight=1e-9))
    known = np.isfinite(candidates.known_n)
    line = fitted_line(candidates.score_nS[known, 0], candidates.known_n[known])
    new = candidates.score_nS[~known, 0]
    # one observation determines the level, so that 7 degrees remain where least squares counts 6
    assert transfer.mean_n[~known] == pytest.approx(line.at(new), rel=1e-4)  # slopes below 0 count as 0
    ratio = math.sqrt(6 / 7) * stats.t.ppf(0.975, 7) / stats.t.ppf(0.975, 6)
    assert transfer.half_width_n()[~known] == pytest.approx(ratio * line.prediction(new), rel=1e-4)


def test_posterior_is_that_of_brute_force_integration():
    """On a grid: prior of the slope N(unit, s^2 / w), of s^2 scaled inverse chi^2, of the level flat."""
    candidates = some_candidates(n=9, known=4)
    transfer = predict(candidates, PRIOR)
    basis, known = transfer.basis, np.isfinite(candidates.known_n)
    x, y = basis.index_n[known], candidates.known_n[known]
    weight, scale2 = PRIOR.weight, basis.unit**2 * basis.unexplained

    b, s2 = np.linspace(-6, 12, 1500)[:, None], np.exp(np.linspace(-4, 6, 1500))[None, :]
    squares = sum(((yi - y.mean()) - b * (xi - x.mean())) ** 2 for xi, yi in zip(x, y, strict=True))
    log = -(weight / 2 + 1) * np.log(s2) - weight * scale2 / (2 * s2)
    log = log - 0.5 * np.log(s2) - basis.slope_weight * (b - basis.unit) ** 2 / (2 * s2)
    log = log - (len(x) - 1) / 2 * np.log(s2) - squares / (2 * s2)
    density = np.exp(log - log.max()) * s2  # the grid is even in the logarithm of s2
    density /= density.sum()
    assert (density * b).sum() == pytest.approx(transfer.free_slope, rel=1e-4)
    variance = transfer.residual_sd**2 * transfer.freedom / (transfer.freedom - 2)
    assert (density * s2).sum() == pytest.approx(variance, rel=1e-3)


def test_draws_have_the_predicted_means_and_standard_deviations():
    for candidates in (some_candidates(), some_candidates(known=0), some_candidates(known=2, seed=3)):
        transfer = predict(candidates, PRIOR)
        y_Mn = transfer.draws(200_000)
        error_n = 4 * y_Mn.std(axis=0) / math.sqrt(200_000) + 1e-3
        assert (np.abs(y_Mn.mean(axis=0) - transfer.mean_n) < error_n).all()
        assert y_Mn.std(axis=0) == pytest.approx(transfer.sd_n, rel=0.05, abs=1e-9)
        assert np.array_equal(y_Mn, transfer.draws(200_000))


def test_a_small_scale_is_assumed_not_to_be_reversed():
    x = np.arange(10.0)
    candidates = candidates_of(x, [9, 8, 7, 6, 5, *[math.nan] * 5])  # the known scores are in reverse order
    transfer = predict(candidates, replace(PRIOR, weight=0.5))
    assert transfer.free_slope < 0 <= transfer.slope
    unknown = transfer.mean_n[5:]
    assert (np.diff(unknown) >= 0).all()
    assert transfer.draws(100_000).mean(axis=0)[5:] == pytest.approx(unknown, abs=0.5)


def test_relative_until_one_is_known():
    transfer = predict(some_candidates(known=0), PRIOR)
    assert transfer.is_relative
    assert transfer.mean_n.mean() == pytest.approx(0, abs=1e-9)
    assert transfer.prior_share == pytest.approx(1)
    assert not predict(some_candidates(known=1), PRIOR).is_relative


def test_prior_share_falls_with_known_designs_except_those_of_equal_index():
    x = np.concatenate([np.zeros(6), np.linspace(-3, 3, 6)])
    alike, spread = np.full(12, math.nan), np.full(12, math.nan)
    alike[:6], spread[6:] = 50 + np.arange(6) % 2, 50 + np.linspace(-3, 3, 6)
    shares = [predict(candidates_of(x, known), PRIOR).prior_share for known in (alike, spread)]
    assert shares[0] == pytest.approx(1)  # nothing of the slope
    assert shares[1] < 0.6
    several = [predict(some_candidates(n=20, known=k), PRIOR).prior_share for k in (0, 3, 6, 12, 20)]
    assert several == sorted(several, reverse=True)


def test_the_index_does_not_depend_on_large_scale_scores():
    candidates = some_candidates()
    again = predict(candidates.with_scores(np.full(12, math.nan)), PRIOR).conditioned_on(candidates.known_n)
    assert again.mean_n == pytest.approx(predict(candidates, PRIOR).mean_n)


# --- kriging ----------------------------------------------------------------------------------------


def test_kriging_of_two_scales_in_closed_form():
    candidates = candidates_of(np.zeros((1, 2)), sizes=(1e9, 2e9), large=8e9)
    z, noise, rate = np.array([[1.5, 0.7]]), np.array([[0.3, 0.1]]), 0.2
    a = math.exp(-rate * math.log(2))
    k = np.array([math.exp(-rate * math.log(8)), math.exp(-rate * math.log(4))])
    det = 1.3 * 1.1 - a * a
    weights = np.array([1.1 * k[0] - a * k[1], 1.3 * k[1] - a * k[0]]) / det
    index_n, explained_n = krige(z, noise, candidates, rate)
    assert index_n == pytest.approx([weights @ z[0]])
    assert explained_n == pytest.approx([weights @ k])


def test_without_noise_the_nearest_scale_is_all_that_counts():
    candidates = candidates_of(np.zeros((3, 2)), sizes=(1e9, 2e9), large=8e9)
    z = np.array([[1.0, 2.0], [-3.0, 2.0], [5.0, math.nan]])
    index_n, explained_n = krige(z, np.full((3, 2), 1e-9), candidates, 0.2)
    assert index_n[0] == pytest.approx(index_n[1], abs=1e-6)
    assert explained_n[2] < explained_n[0]


def test_a_seed_or_a_scale_more_explains_more():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((8, 2)) + rng.standard_normal((8, 1)) * 2
    scores[:3, 1] = math.nan
    transfer = predict(candidates_of(scores, sizes=(0.5e9, 1.5e9)), replace(PRIOR, noise_share=0.3))
    for scale in (0, 1):
        assert (explained_with_run(transfer, scale) > transfer.basis.explained_n).all()
    assert explained_with_run(transfer, 1)[0] == pytest.approx(transfer.basis.explained_n[-1])  # as those that have it


def test_a_scale_with_only_the_better_half_of_designs_is_standardised():
    """Its scores are those of a selection: they exceed its mean by less than at the scale of selection."""
    rng, prior = np.random.default_rng(1), replace(PRIOR, rate=0.1, noise_share=0.05)
    n, correlation = 4000, math.exp(-0.1 * math.log(8))
    quality = rng.standard_normal(n)
    later = correlation * quality + math.sqrt(1 - correlation**2) * rng.standard_normal(n)
    noise = math.sqrt(0.05) * rng.standard_normal((n, 2))
    true = np.column_stack([quality, later]) + noise
    scores = 50 + true * [3, 7]
    scores[scores[:, 0] < 50, 1] = math.nan
    scores_z = standardise(candidates_of(scores, sizes=(0.5e9, 4e9)), prior)
    there = np.isfinite(scores[:, 1])
    slope, start = np.polyfit(true[there, 1], scores_z.z_nS[there, 1], 1)
    assert slope == pytest.approx(1, abs=0.05)
    assert start == pytest.approx(0, abs=0.05)
    assert scores_z.rate == pytest.approx(0.1, abs=0.03)


def test_measured_noise_is_subtracted_from_the_variance():
    rng = np.random.default_rng(2)
    quality = 2 * rng.standard_normal(3000)
    scores = quality + rng.standard_normal(3000)
    scores_z = standardise(candidates_of(scores, noise=[1.0]), PRIOR)
    assert scores_z.sd == pytest.approx(2, rel=0.04)
    assert scores_z.share_S == pytest.approx([0.25], rel=0.1)
    drowned = standardise(candidates_of(scores, noise=[100.0]), PRIOR)
    assert 0 < drowned.sd < math.inf


# --- what must not matter ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 1000), st.floats(-1000, 1000), st.floats(0.01, 1000))
def test_units_and_zero_of_scores_do_not_matter(seed, factor, shift, small_factor):
    candidates = some_candidates(seed=seed)
    moved = replace(candidates, score_nS=candidates.score_nS * small_factor - shift)
    plain, other = predict(candidates, PRIOR), predict(moved, PRIOR)
    assert other.index_n == pytest.approx(plain.index_n, abs=1e-6)
    both = replace(candidates, score_nS=candidates.score_nS * factor, known_n=candidates.known_n * factor + shift)
    other = predict(both, PRIOR)
    tolerance = {"rel": 1e-6, "abs": 1e-6 * (factor + abs(shift))}
    assert other.mean_n == pytest.approx(plain.mean_n * factor + shift, **tolerance)
    assert other.half_width_n() == pytest.approx(plain.half_width_n() * factor, **tolerance)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_order_of_designs_does_not_matter(seed):
    candidates, order = some_candidates(seed=seed), np.random.default_rng(seed).permutation(12)
    plain, other = predict(candidates, PRIOR), predict(candidates.subset(order), PRIOR)
    assert other.mean_n == pytest.approx(plain.mean_n[order])
    assert other.half_width_n() == pytest.approx(plain.half_width_n()[order])


def test_losses_are_scores_negated(rows_of):
    rng = np.random.default_rng(4)
    x = {f"d{i}": [float(v)] for i, v in enumerate(rng.standard_normal(8))}
    y = {name: [2 * v[0]] for name, v in list(x.items())[:4]}
    losses = {scale: {d: [-v[0]] for d, v in part.items()} for scale, part in (("1M", x), ("2M", y))}
    plain = find_candidates(ScoreTable(rows_of({"1M": x, "2M": y})), "2M")
    other = find_candidates(ScoreTable(rows_of(losses), lower_is_better=True), "2M")
    assert predict(other, PRIOR).mean_n == pytest.approx(predict(plain, PRIOR).mean_n)


# --- tables -----------------------------------------------------------------------------------------


def test_candidates_of_a_table_with_gaps(rows_of):
    table = ScoreTable(
        rows_of({"1M": {"a": [1, 3], "b": [2, 2]}, "4M": {"b": [5], "c": [6]}, "9M": {"c": [9], "z": [9]}})
    )
    candidates = find_candidates(table, "9M")
    assert candidates.designs == ("a", "b", "c")
    assert candidates.scales == ("1M", "4M")
    assert candidates.score_nS[0] == pytest.approx([2, math.nan], nan_ok=True)
    assert candidates.seeds_nS.tolist() == [[2, 0], [2, 1], [0, 1]]
    assert candidates.known_n == pytest.approx([math.nan, math.nan, 9], nan_ok=True)
    assert candidates.noise_S[0] == pytest.approx(1.0)
    assert math.isnan(candidates.noise_S[1])
    transfer = predict(candidates, PRIOR)
    assert np.isfinite(transfer.mean_n).all()
    assert np.isfinite(transfer.draws()).all()


@pytest.mark.parametrize(
    ("large", "scales", "message"),
    [
        ("big", None, "not a size"),
        ("0.5B", None, "smaller than 0.5B"),
        ("7B", ["9B"], "9B"),
        ("4B", ["7B"], "7B"),
    ],
)
def test_refusals(apollo, large, scales, message):
    with pytest.raises(TableError, match=message):
        find_candidates(apollo.select(), large, scales)


def test_two_designs_or_equal_scores_are_refused(table_of):
    with pytest.raises(TableError, match="2 designs"):
        find_candidates(table_of([1, 2], [1, 2]), "2M")
    with pytest.raises(TableError, match="equal scores at 1M"):
        predict(find_candidates(table_of([0.1 + 0.2] * 4, [1, 2, 3, 4]), "2M"), PRIOR)


def test_three_designs_are_enough(table_of):
    transfer = predict(find_candidates(table_of([1, 2, 3], [1, 2, 3]), "2M").with_scores(np.full(3, math.nan)), PRIOR)
    assert np.isfinite(transfer.draws()).all()
    assert np.argmax(transfer.mean_n) == 2


def test_all_known(table_of):
    transfer = predict(find_candidates(table_of([1, 2, 3, 5], [4, 3, 2, 1]), "2M"), PRIOR)
    assert transfer.mean_n.tolist() == [4, 3, 2, 1]
    assert (transfer.draws(50) == [4, 3, 2, 1]).all()
    assert not transfer.half_width_n().any()


# --- the published prior ----------------------------------------------------------------------------


def test_published_prior():
    prior = published_prior()
    assert (prior.rate, prior.growth) == (pytest.approx(0.061, abs=5e-4), pytest.approx(0.179, abs=5e-4))
    assert prior.noise_share == pytest.approx(0.0166, abs=5e-4)
    assert vague_prior().weight == prior.weight
    assert vague_prior().rate > prior.rate  # it predicts with wider intervals


def test_a_blind_prediction_on_apollo_covers(apollo):
    candidates = find_candidates(apollo.select(), "7B", ["1.5B"])
    transfer = predict(candidates.with_scores(np.full(21, math.nan)), vague_prior())
    rest = candidates.known_n - candidates.known_n.mean() - transfer.mean_n
    assert (np.abs(rest) <= transfer.half_width_n()).mean() >= 0.9
    every = predict(find_candidates(apollo.select(), "7B").with_scores(np.full(21, math.nan)), vague_prior())
    assert every.half_width_n().max() < transfer.half_width_n().max()  # 4B is more informative


def test_a_thousand_designs():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((1000, 3)) + rng.standard_normal((1000, 1))
    scores[rng.random((1000, 3)) < 0.3] = math.nan
    scores[:, 0] = rng.standard_normal(1000)
    start = time.process_time()
    transfer = predict(candidates_of(scores, sizes=(0.5e9, 1.5e9, 4e9)), PRIOR)
    assert np.isfinite(transfer.draws()).all()
    assert time.process_time() - start < 2
