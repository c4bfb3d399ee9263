"""Test items in halves: data in which the choice of items matters, and data in which it does not."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.noise import item_halves

ITEMS = 200


def answered(shared: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve designs of equal quality but for the first; each has its own luck with each item at both scales alike."""
    rng = np.random.default_rng(seed)
    quality = 2 * rng.normal(size=(12, 1))
    luck = shared * rng.normal(size=(12, ITEMS))
    scores = [quality + luck + 10 * rng.normal(size=(12, ITEMS)) for _ in range(2)]
    return *scores, rng.choice([1.0, 2.0, 5.0], size=ITEMS)


def test_shared_items_raise_r2():
    found = item_halves(*answered(shared=40.0))
    assert found.items == ITEMS
    assert found.same_half > found.different_halves + 0.3


def test_items_that_do_not_matter_change_nothing():
    found = item_halves(*answered(shared=0.0))
    assert found.same_half == pytest.approx(found.different_halves, abs=0.05)


def test_weights_are_questions():
    x, y, _ = answered(shared=40.0)
    once = item_halves(x, y, np.ones(ITEMS))
    assert item_halves(x, y, np.full(ITEMS, 7.0)).same_half == pytest.approx(once.same_half)
    assert item_halves(x, y, np.arange(1.0, ITEMS + 1)) != once


def test_what_is_too_little():
    x, y, weights = answered(shared=1.0)
    assert item_halves(x[:, :19], y[:, :19], weights[:19]) is None
    assert item_halves(x[:2], y[:2], weights) is None
    assert item_halves(np.ones((5, ITEMS)), np.ones((5, ITEMS)), weights) is None
