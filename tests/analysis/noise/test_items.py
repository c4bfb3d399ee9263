"""Test items in halves: data in which the choice of items matters, and data in which it does not."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.noise import item_halves

ITEMS = 200


def scores_on_items(shared: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve designs of equal quality except the first; each has its own luck with each item at both scales alike."""
    rng = np.random.default_rng(seed)
    quality = 2 * rng.normal(size=(12, 1))
    luck = shared * rng.normal(size=(12, ITEMS))
    scores = [quality + luck + 10 * rng.normal(size=(12, ITEMS)) for _ in range(2)]
    return *scores, rng.choice([1.0, 2.0, 5.0], size=ITEMS)


def test_shared_items_raise_r2():
    result = item_halves(*scores_on_items(shared=40.0))
    assert result.items == ITEMS
    assert result.same_half > result.different_halves + 0.3


def test_items_that_do_not_matter_change_nothing():
    result = item_halves(*scores_on_items(shared=0.0))
    assert result.same_half == pytest.approx(result.different_halves, abs=0.05)


def test_weights_are_questions():
    x, y, _ = scores_on_items(shared=40.0)
    once = item_halves(x, y, np.ones(ITEMS))
    assert item_halves(x, y, np.full(ITEMS, 7.0)).same_half == pytest.approx(once.same_half)
    assert item_halves(x, y, np.arange(1.0, ITEMS + 1)) != once


def test_too_few_items_or_designs_give_none():
    x, y, weights = scores_on_items(shared=1.0)
    assert item_halves(x[:, :19], y[:, :19], weights[:19]) is None
    assert item_halves(x[:2], y[:2], weights) is None
    assert item_halves(np.ones((5, ITEMS)), np.ones((5, ITEMS)), weights) is None
