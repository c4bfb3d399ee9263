"""The share of empty positions to expect: packs of some steps, planned from lengths as training plans them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from models.costs import POSITIONS_PER_MICRO_BATCH, Load, Model
from models.data import RowSize, computed_positions, layout_on, packs

STEPS = 4
"""Optimiser steps whose packs are planned."""


def empty_positions(model: Model, loads: list[tuple[float, Load]], batch: int) -> dict[str, float]:
    """Device type -> expected share of a micro-batch's positions that are padding.

    Args:
        model: the sizes of the model.
        loads: samples of a stage: their share, and the load of one.
        batch: samples of an optimiser step.
    """
    samples = tuple((share, round(load.length), round(model.frames(load))) for share, load in loads)
    return {device: _empty(samples, batch, device) for device in POSITIONS_PER_MICRO_BATCH}


@lru_cache(maxsize=1024)
def _empty(samples: tuple[tuple[float, int, int], ...], batch: int, device_type: str) -> float:
    """The share for samples of (share, length, frames); the same each time."""
    shares = np.array([share for share, _, _ in samples])
    rng = np.random.default_rng(0)
    layout, most = layout_on(device_type), POSITIONS_PER_MICRO_BATCH[device_type]
    used = computed = 0
    for _ in range(STEPS):
        drawn = rng.choice(len(samples), batch, p=shares / shares.sum())
        sizes = [RowSize(max(1, samples[i][1]), samples[i][2]) for i in drawn]
        used += sum(size.length for size in sizes)
        computed += sum(computed_positions(sizes, pack, layout) for pack in packs(sizes, most, layout=layout))
    return 1 - used / computed
