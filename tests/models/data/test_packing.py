"""Packs hold every row once, within their limits, with few empty positions and with work that ranks can share."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import RowSize, computed_positions, packs
from models.data.packing import Layout, padded_length
from models.presets import PRESETS
from tests.models.data.rows import realistic_sizes

APOLLO = PRESETS["apollo"].design
SIZES = st.lists(st.builds(RowSize, st.integers(1, 6000), st.integers(0, 900)), min_size=1, max_size=60)


def share_of_empty(sizes: list[RowSize], layout: Layout, most: int) -> float:
    computed = sum(computed_positions(sizes, pack, layout) for pack in packs(sizes, most, layout=layout))
    return 1 - sum(size.length for size in sizes) / computed


def test_padded_lengths_are_few_and_near():
    lengths = {padded_length(n) for n in range(1, 32769)}
    assert all(length % 128 == 0 for length in lengths)
    assert len(lengths) == 48
    assert {128, 1024, 2048, 4096, 8192, 16384, 32768} <= lengths
    assert all(n <= padded_length(n) <= max(n + 127, 1.125 * n) for n in range(1, 32769))


@given(SIZES, st.sampled_from(["rows", "flat"]), st.sampled_from([512, 4096]))
def test_every_row_is_in_one_pack_within_the_limits(sizes: list[RowSize], layout: Layout, most: int):
    plan = packs(sizes, most, 1024, layout=layout)
    assert sorted(i for pack in plan for i in pack) == list(range(len(sizes)))
    for pack in plan:
        longest = max(sizes[i].length for i in pack)
        limit = most if layout == "rows" or longest <= most else padded_length(longest)
        assert len(pack) == 1 or computed_positions(sizes, pack, layout) <= limit
        assert len(pack) == 1 or sum(sizes[i].num_frames for i in pack) <= 1024


@pytest.mark.parametrize("batch", [64, 256])
@pytest.mark.parametrize("stage", APOLLO.schedule, ids=lambda stage: stage.name)
def test_a_gpu_computes_few_empty_positions(stage, batch):
    """The mean over steps, at the number of positions of a GPU's micro-batch."""
    shares = [share_of_empty(realistic_sizes(APOLLO, stage, batch, seed), "flat", 4096) for seed in range(8)]
    assert sum(shares) / len(shares) <= 0.05
    assert max(shares) <= 0.10


def test_neighbouring_packs_have_equal_work():
    """Ranks take neighbours: the text of a step of two ranks is equal in all, its frames nearly."""
    stage = APOLLO.schedule[-1]
    sizes = realistic_sizes(APOLLO, stage, 256, 0)
    plan = packs(sizes, 4096, layout="flat")
    work = [(computed_positions(sizes, pack, "flat"), sum(sizes[i].num_frames for i in pack)) for pack in plan]
    assert work == sorted(work, reverse=True)
    differences = [abs(a[1] - b[1]) for a, b in pairwise(work) if a[0] == b[0]]
    assert sum(differences) / len(differences) < 0.1 * sum(frames for _, frames in work) / len(work)
