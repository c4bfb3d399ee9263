"""The share of empty positions to expect: packs of some steps, planned from lengths as training plans them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from models.costs import POSITIONS_PER_MICRO_BATCH, Load, Model
from models.data import RowSize, computed_positions, layout_on, packs

STEPS = 4
"""Optimiser steps whose packs are planned."""
LEAST_TEXT, MOST_TEXT = 0.5, 1.5
"""Text tokens of a sample over their mean, uniform between the two: assumed, since only the mean is known."""


def empty_positions(model: Model, loads: list[tuple[float, Load]], batch: int) -> dict[str, float]:
    """Device type -> expected share of a micro-batch's positions that are padding.

    Args:
        model: the sizes of the model.
        loads: samples of a stage: their share, and the load of one.
        batch: samples of an optimiser step.
    """
    samples = tuple(
        _Sample(share, round(load.visual), round(load.text), round(model.frames(load))) for share, load in loads
    )
    return {device: _empty(samples, batch, device) for device in POSITIONS_PER_MICRO_BATCH}


class _Sample(NamedTuple):
    share: float
    visual: int
    text: int
    num_frames: int


@lru_cache(maxsize=1024)
def _empty(samples: tuple[_Sample, ...], batch: int, device_type: str) -> float:
    """The share for a stage's samples; the same each time."""
    shares = np.array([one.share for one in samples])
    longest = max(one.visual + one.text for one in samples)
    rng = np.random.default_rng(0)
    layout, most = layout_on(device_type), POSITIONS_PER_MICRO_BATCH[device_type]
    used = computed = 0
    for _ in range(STEPS):
        drawn = [samples[i] for i in rng.choice(len(samples), batch, p=shares / shares.sum())]
        texts = rng.uniform(LEAST_TEXT, MOST_TEXT, batch)
        lengths = [one.visual + round(one.text * text) for one, text in zip(drawn, texts, strict=True)]
        sizes = [
            RowSize(max(1, min(length, longest)), one.num_frames) for one, length in zip(drawn, lengths, strict=True)
        ]
        used += sum(size.length for size in sizes)
        computed += sum(computed_positions(sizes, pack, layout) for pack in packs(sizes, most, layout=layout))
    return 1 - used / computed
