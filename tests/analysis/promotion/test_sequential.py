"""Sequential promotion: the knowledge gradient against Monte Carlo, and when to stop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.promotion import advise, predict
from analysis.promotion.sequential import gain, joint_gain
from analysis.promotion.transfer import explained_with_run
from tests.analysis.promotion.test_transfer import PRIOR, candidates_of, some_candidates

ONES = np.ones(12)


def test_gain_of_one_moving_mean_is_that_of_monte_carlo():
    mean, sd = np.array([1.0, 0.8, -1.0, 0.0]), np.array([0.5, 0.7, 0.3, 0.0])
    moves = np.random.default_rng(0).standard_normal(400_000)
    for i in range(4):
        changed = np.tile(mean, (400_000, 1))
        changed[:, i] += sd[i] * moves
        assert gain(mean, sd)[i] == pytest.approx(changed.max(axis=1).mean() - mean.max(), abs=3e-3)
    assert gain(mean, sd)[3] == 0
    assert gain(np.array([1.0]), np.array([2.0])).tolist() == [0]
    assert not gain(mean, np.zeros(4)).any()


def test_joint_gain_is_that_of_monte_carlo_and_of_one_mean_where_none_is_shared():
    rng = np.random.default_rng(1)
    mean, root = rng.standard_normal(5), rng.standard_normal((5, 5)) * 0.5
    covariance = root @ root.T
    for i in range(5):
        moves = covariance[i] / math.sqrt(covariance[i, i]) * rng.standard_normal((400_000, 1))
        assert joint_gain(mean, covariance)[i] == pytest.approx(
            (mean + moves).max(axis=1).mean() - mean.max(), abs=5e-3
        )
    sd = np.array([0.5, 0.7, 0.3, 0.0, 1.0])
    assert joint_gain(mean, np.diag(sd**2)) == pytest.approx(gain(mean, sd), abs=2e-3)


def test_a_level_that_all_share_is_worth_nothing():
    assert joint_gain(np.array([1.0, 0.5, 0.2]), np.ones((3, 3))) == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_pick_is_trained_first_then_the_highest_worth_until_enough():
    transfer = predict(some_candidates(known=0), PRIOR)
    advice = advise(transfer, {"7B": ONES}, 0.1)
    assert not advice.is_enough
    assert advice.pick == advice.steps[0].design
    assert len(advice.steps) == 12
    known = np.full(12, math.nan)
    known[transfer.candidates.designs.index(advice.pick)] = 90.0  # far above the predictions of the others
    later = advise(transfer.conditioned_on(known), {"7B": ONES}, 0.1)
    assert later.pick not in [step.design for step in later.steps]
    worths = [step.per_cost for step in later.steps]
    assert worths == sorted(worths, reverse=True)
    assert later.regret < advice.regret + 5
    assert advise(transfer.conditioned_on(known), {"7B": ONES}, 1e6).is_enough
    assert not advise(transfer, {"7B": ONES}, 1e6).is_enough  # the pick is not trained at the large scale
    assert advise(transfer, {"7B": ONES}, 1e6).steps[0].design == advice.pick


def test_all_known_is_enough_and_leaves_no_step():
    advice = advise(predict(some_candidates(known=12), PRIOR), {"7B": ONES, "s0": 0.1 * ONES}, 0)
    assert (advice.regret, advice.is_enough, advice.steps) == (0, True, ())


def test_a_cheap_seed_can_come_before_an_expensive_design():
    rng = np.random.default_rng(0)
    candidates = candidates_of(rng.standard_normal((12, 2)) * 0.2 + rng.standard_normal((12, 1)), sizes=(0.5e9, 4e9))
    gaps = candidates.score_nS.copy()
    gaps[3, 1] = math.nan
    noisy = predict(candidates_of(gaps, sizes=(0.5e9, 4e9), noise=[0.6, 0.6]), PRIOR)
    costs = {"s0": 0.001 * ONES, "s1": 0.002 * ONES, "7B": ONES}
    steps = advise(noisy, costs, 0.01).steps
    assert steps[0].kind in ("seed", "scale")
    assert steps[0].cost < 1
    kinds = {(step.design, step.scale): step.kind for step in steps}
    if ("d0003", "s1") in kinds:
        assert kinds["d0003", "s1"] == "scale"
    assert {step.scale for step in advise(noisy, {"7B": ONES}, 0.01).steps} == {"7B"}
    assert all(step.worth >= 0 and math.isfinite(step.per_cost) for step in steps)


def test_worth_of_a_seed_is_from_the_variance_it_explains():
    transfer = predict(candidates_of(np.linspace(0, 1, 12), noise=[0.2]), PRIOR)
    more = explained_with_run(transfer, 0) - transfer.basis.explained_n
    worth = gain(transfer.mean_n, transfer.slope * np.sqrt(more))
    worths = {step.design: step.worth for step in advise(transfer, {"s0": ONES}, 0.1).steps}
    for i, name in enumerate(transfer.candidates.designs):
        assert worths.get(name, 0.0) == pytest.approx(worth[i])


def test_advice_is_the_same_every_time():
    transfer = predict(some_candidates(known=3), PRIOR)
    assert advise(transfer, {"7B": ONES}, 0.2) == advise(transfer, {"7B": ONES}, 0.2)
