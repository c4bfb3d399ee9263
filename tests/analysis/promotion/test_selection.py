"""Which designs to promote: against brute force, by hand, and on the paper's tables."""

from __future__ import annotations

import math
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.promotion import (
    Policy,
    calibration_designs,
    choose,
    find_candidates,
    predict,
    probabilities_of_best,
    published_prior,
    select,
)
from analysis.promotion.selection import expected_regret
from tests.analysis.promotion.test_transfer import PRIOR, candidates_of, some_candidates


def drawn(seed: int, n: int, num: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(rng.normal(0, 1, n), 1, (num, n))


def picked(y_Mn, rule, value, trained=(), costs=None):
    costs = np.ones(y_Mn.shape[1]) if costs is None else np.asarray(costs, dtype=float)
    return choose(y_Mn, list(trained), costs, Policy(rule=rule, value=value))


def test_chances_and_regret_by_hand():
    y_Mn = np.array([[3.0, 1, 0], [2, 2, 0], [0, 5, 1], [0, 0, 4]])
    assert probabilities_of_best(y_Mn).tolist() == [0.375, 0.375, 0.25]  # the tie is shared
    assert expected_regret(y_Mn, [0]) == (0 + 0 + 5 + 4) / 4
    assert expected_regret(y_Mn, [0, 1]) == 1
    assert expected_regret(y_Mn, [0, 1, 2]) == 0
    assert math.isnan(expected_regret(y_Mn, []))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.6, 0.8, 0.95, 1.0]), st.booleans())
def test_the_set_by_confidence_is_the_smallest(seed, target, with_known):
    y_Mn, known = drawn(seed, 7), [2] if with_known else []
    chance_n, chosen = probabilities_of_best(y_Mn), picked(drawn(seed, 7), "confidence", target, known)
    assert chance_n[[*known, *chosen]].sum() >= target - 1e-9
    for smaller in combinations([i for i in range(7) if i not in known], max(0, len(chosen) - 1)):
        if len(smaller) < len(chosen):
            assert chance_n[[*known, *smaller]].sum() < target - 1e-9


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5, 1.0]), st.booleans())
def test_the_set_by_regret_keeps_it_with_at_most_one_design_more_than_needed(seed, target, with_known):
    y_Mn, known = drawn(seed, 8), [5] if with_known else []
    chosen = picked(y_Mn, "regret", target, known)
    assert not set(chosen) & set(known)
    members = [*known, *chosen]
    assert expected_regret(y_Mn, members) <= target
    for i in chosen:  # none of them is redundant
        assert len(members) == 1 or expected_regret(y_Mn, [j for j in members if j != i]) > target
    rest = [i for i in range(8) if i not in known]
    fewest = next(
        k
        for k in range(9)
        if any((known or k) and expected_regret(y_Mn, [*known, *s]) <= target for s in combinations(rest, k))
    )
    assert len(chosen) <= fewest + 1


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.5, 8), st.booleans())
def test_budgets_are_not_exceeded_and_well_spent(seed, budget, with_known):
    y_Mn, known = drawn(seed, 7), [1] if with_known else []
    costs = np.random.default_rng(seed).uniform(0.3, 3, 7)
    chosen = picked(y_Mn, "gpu-hours", budget, known, costs)
    assert costs[chosen].sum() <= budget * (1 + 1e-9)
    rest = [i for i in range(7) if i not in known]
    sets = [s for k in range(8) for s in combinations(rest, k) if costs[list(s)].sum() <= budget and (s or known)]
    if not sets:
        assert chosen == []
        return
    best = min(expected_regret(y_Mn, [*known, *s]) for s in sets)
    assert expected_regret(y_Mn, [*known, *chosen]) <= best + 0.25


def test_a_budget_is_not_wasted_on_cheap_designs():
    y_Mn = np.tile([10.0, 1.0, 1.1], (50, 1))
    assert picked(y_Mn, "gpu-hours", 10, costs=[10, 0.1, 0.1]) == [0]
    assert picked(y_Mn, "gpu-hours", 9, costs=[10, 0.1, 0.1]) == [2]
    assert picked(y_Mn, "gpu-hours", 0.05, costs=[10, 0.1, 0.1]) == []


def test_top_k_by_prediction_ties_by_index():
    y_Mn = np.array([[1.0, 2, 2, 0]])
    assert picked(y_Mn, "top-k", 2) == [1, 2]
    assert picked(y_Mn, "top-k", 2, trained=[1]) == [2, 0]
    assert picked(y_Mn, "top-k", 9) == [1, 2, 0, 3]
    assert picked(y_Mn, "top-k", 0) == []


def test_known_designs_are_free():
    y_Mn = drawn(0, 6)
    best = int(np.argmax(y_Mn.mean(axis=0)))
    assert len(picked(y_Mn, "regret", 0.3, [best])) <= len(picked(y_Mn, "regret", 0.3))
    assert picked(y_Mn, "regret", 100, [3]) == []
    assert len(picked(y_Mn, "regret", 100)) == 1
    for rule, value in (("regret", 0), ("confidence", 1), ("top-k", 6), ("gpu-hours", 6)):
        assert picked(y_Mn, rule, value, range(6)) == []


def test_equal_designs_are_one():
    y_Mn = np.repeat(drawn(0, 1), 4, axis=1)
    assert picked(y_Mn, "regret", 0) == [0]
    assert picked(y_Mn, "gpu-hours", 4) == [0]


# --- with a posterior -------------------------------------------------------------------------------


def test_apollo_blind_from_the_small_scale(apollo):
    candidates = find_candidates(apollo.select(), "7B", ["1.5B"])
    transfer = predict(candidates.with_scores(np.full(21, math.nan)), published_prior())
    by_regret = select(transfer, Policy(rule="regret", value=0.25), np.ones(21))
    assert len(by_regret.promoted) == 8
    assert "v20" in by_regret.promoted
    assert by_regret.expected_regret <= 0.25
    top = select(transfer, Policy(rule="top-k", value=5), np.ones(21))
    chosen = [candidates.designs.index(name) for name in top.promoted]
    assert "v20" in top.promoted
    assert candidates.known_n.max() - candidates.known_n[chosen].max() == 0
    assert top.cost == 5
    assert (top.candidates[0].design, top.candidates[0].is_promoted) == ("v16", True)


def test_fields_of_a_selection():
    candidates = some_candidates()
    costs = np.linspace(1, 2, 12)
    selection = select(predict(candidates, PRIOR), Policy(rule="regret", value=0.5), costs)
    rows = selection.candidates
    assert [r.predicted for r in rows] == sorted((r.predicted for r in rows), reverse=True)
    assert sum(r.chance for r in rows) == pytest.approx(1)
    assert [r.design for r in sorted(rows, key=lambda r: r.order or 99) if r.order] == list(selection.promoted)
    assert selection.cost == pytest.approx(sum(r.cost for r in rows if r.is_promoted))
    assert selection.chance == pytest.approx(sum(r.chance for r in rows if r.is_promoted or r.is_known))
    assert selection.curve[0][0] == 0  # with known designs, nothing promoted is a choice, too
    assert selection.curve[-1][1:] == pytest.approx((selection.expected_regret, selection.chance))
    for row in rows:
        start = "known: " if row.is_known else "promoted: " if row.is_promoted else "left out: "
        assert row.reason.startswith(start)
        assert (row.half_width == 0) == row.is_known
    front = [r for r in rows if r.is_on_front]
    assert rows[0] in front
    assert min(rows, key=lambda r: r.cost) in front


def test_nothing_promoted_and_nothing_known_has_no_regret():
    transfer = predict(some_candidates(known=0), PRIOR)
    for policy in (Policy(rule="top-k", value=0), Policy(rule="gpu-hours", value=0.5)):
        selection = select(transfer, policy, np.ones(12))
        assert selection.promoted == ()
        assert math.isnan(selection.expected_regret)
        assert (selection.chance, selection.cost, selection.curve) == (0, 0, ())
    assert "costs more than the budget" in selection.candidates[0].reason
    assert "points behind" not in selection.candidates[0].reason


def test_all_known_leaves_nothing_to_choose():
    candidates = some_candidates(known=12)
    for rule, value in (("regret", 0.1), ("confidence", 0.95), ("top-k", 3), ("gpu-hours", 5), ("calibrate", 4)):
        selection = select(predict(candidates, PRIOR), Policy(rule=rule, value=value), np.ones(12))
        assert (selection.promoted, selection.expected_regret, selection.chance) == ((), 0, 1)


def test_calibration_designs_differ_in_scores_and_axes():
    x = np.linspace(0, 1, 12)
    transfer = predict(candidates_of(x), PRIOR)
    assert set(calibration_designs(transfer, 2)) == {0, 11}
    levels = np.array([["a"], ["b"]] * 6)
    chosen = calibration_designs(transfer, 4, levels)
    assert len(set(chosen)) == 4
    assert sorted(levels[chosen, 0]) == ["a", "a", "b", "b"]
    known = np.full(12, math.nan)
    known[[0, 11]] = 1.0, 2.0
    assert not {0, 11} & set(calibration_designs(transfer.conditioned_on(known), 10))
    assert len(calibration_designs(transfer.conditioned_on(known), 99)) == 10
    selection = select(transfer, Policy(rule="calibrate", value=3), np.ones(12), levels)
    assert all(
        r.reason.startswith("promoted: informative about the transfer") for r in selection.candidates if r.is_promoted
    )


def test_losses_are_reported_as_losses():
    candidates = some_candidates(known=4)
    from dataclasses import replace

    selection = select(
        predict(replace(candidates, lower_is_better=True), PRIOR), Policy(rule="top-k", value=1), np.ones(12)
    )
    predicted = [r.predicted for r in selection.candidates]
    assert predicted == sorted(predicted)


def test_choice_is_the_same_every_time_and_under_other_names_and_orders():
    candidates = some_candidates(n=14, known=3)
    order = np.random.default_rng(0).permutation(14)
    first, second = (
        select(predict(f, PRIOR), Policy(rule="regret", value=0.3), np.ones(14)) for f in (candidates, candidates)
    )
    assert first == second
    other = select(predict(candidates.subset(order), PRIOR), Policy(rule="top-k", value=4), np.ones(14))
    assert other.promoted == select(predict(candidates, PRIOR), Policy(rule="top-k", value=4), np.ones(14)).promoted


def test_a_thousand_designs_in_three_seconds():
    rng = np.random.default_rng(0)
    candidates = candidates_of(rng.standard_normal(1000))
    start = time.process_time()
    selection = select(predict(candidates, PRIOR), Policy(rule="regret", value=0.02), rng.uniform(1, 2, 1000))
    assert time.process_time() - start < 3
    assert selection.expected_regret <= 0.02
    assert len(selection.promoted) > 20
