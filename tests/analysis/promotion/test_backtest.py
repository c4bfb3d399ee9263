"""Replays on the paper's tables, where all scores are known, and on simulated studies."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from analysis.consistency import topk
from analysis.promotion import find_candidates, policies, replay, vague_prior
from analysis.tables import TableError
from tests.analysis.promotion.test_transfer import candidates_of


@pytest.fixture(scope="module")
def on_apollo(apollo):
    candidates = find_candidates(apollo.select(), "7B", ["1.5B"])
    return candidates, replay(
        candidates, vague_prior(), policies(21, [0.25, 1.0], [0.8, 0.95]), study="apollo", subsets=60
    )


def test_top_k_on_the_whole_study_is_the_observed_regret(on_apollo):
    candidates, result = on_apollo
    rows = {row.policy: row for row in result.rows}
    for k in range(1, 15):
        chosen, regret, winner_in = rows[f"top-{k}"].whole
        assert chosen == k
        assert regret == pytest.approx(topk.regret(candidates.score_nS[:, 0], candidates.known_n, k), abs=1e-9)
        assert winner_in == (regret == 0)
    assert rows["top-5"].whole == (5, 0.0, True)
    assert rows["top-1"].whole[1] == pytest.approx(0.22)
    assert "top-15" not in rows  # a subset has 14 designs


def test_costs_and_regrets_are_monotone(on_apollo):
    _, result = on_apollo
    rows = {row.policy: row for row in result.rows}
    for kind in ("top", "random"):
        regrets = [rows[f"{kind}-{k}"].regret for k in range(1, 15)]
        assert regrets == sorted(regrets, reverse=True)
        assert regrets[-1] == 0
    assert rows["top-7"].cost == pytest.approx(0.5)
    assert rows["top-3"].regret < rows["random-3"].regret / 3
    assert rows["regret 1"].promoted < rows["regret 0.25"].promoted
    assert rows["confidence 0.8"].promoted < rows["confidence 0.95"].promoted
    assert rows["regret 0.25"].regret <= 0.25
    assert rows["next, regret 0.25"].regret <= 0.25
    assert rows["next, regret 1"].cost < rows["next, regret 0.25"].cost
    assert all(0 <= row.winner_in <= 1 and row.regret <= row.regret_95 + 10 for row in result.rows)
    assert result.rows[0].small_cost == pytest.approx(1.5 / 7)


def test_a_replay_is_the_same_every_time(on_apollo):
    candidates, result = on_apollo
    assert (
        replay(candidates, vague_prior(), policies(21, [0.25, 1.0], [0.8, 0.95]), study="apollo", subsets=60) == result
    )


def test_policies_see_only_scores_of_designs_they_trained():
    """Other scores of designs that were not trained change nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(15)
    y = x + 0.2 * rng.standard_normal(15)
    y[np.argmax(x)] += 5
    worst = np.argsort(x)[:7]
    changed = y.copy()
    changed[worst] -= 3
    rows = [
        replay(candidates_of(x, known_n), vague_prior(), policies(15, [1.0], [0.8]), study="s", subsets=0).rows
        for known_n in (y, changed)
    ]
    for one, other in zip(*rows, strict=True):
        if "random" not in one.policy:
            assert one.whole[0] == other.whole[0]
            if one.promoted < 5:
                assert one.whole == other.whole


def test_designs_without_both_scores_are_left_out_and_few_are_refused():
    x, y = np.arange(10.0), np.arange(10.0)
    y[7:] = math.nan
    result = replay(candidates_of(x, y), vague_prior(), policies(10, [1.0], []), study="s", subsets=5)
    assert result.designs == 7
    assert max(row.whole[0] for row in result.rows) <= 7
    y[3:] = math.nan
    with pytest.raises(TableError, match="3 designs have scores"):
        replay(candidates_of(x, y), vague_prior(), policies(10, [1.0], []), study="s")


def test_all_are_trained_where_the_small_scale_cannot_rank():
    candidates = candidates_of([1.0] * 8, np.arange(8.0))
    result = replay(candidates, vague_prior(), policies(8, [0.5], [0.9]), study="s", subsets=3)
    assert all(row.cost == 1 and row.regret == 0 for row in result.rows)


@pytest.mark.slow
def test_all_proxies_of_apollo_in_fifteen_seconds(apollo):
    table, start = apollo.select(), time.process_time()
    for scales in (["0.5B"], ["1.5B"], ["4B"], None):
        candidates = find_candidates(table, "7B", scales)
        replay(candidates, vague_prior(), policies(21, [0.1, 0.25, 0.5, 1.0], [0.8, 0.95]), study="apollo")
    assert time.process_time() - start < 15  # of a core, as others may use the machine
