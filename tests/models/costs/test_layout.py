"""How LLMs lie on the GPUs of a trial."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.cards import LLMS
from models.costs import REPLICATED_PARAMS, Layout, layouts


def test_llms_up_to_the_size_that_is_called_1_5b_are_replicated():
    small = {name for name, card in LLMS.items() if card.params <= REPLICATED_PARAMS}
    assert any("1.5B" in name for name in small)
    assert not any(size in name for name in small for size in ("3B", "7B", "8B"))


def test_the_best_layouts_come_first():
    assert [str(one) for one in layouts(494_000_000, 8)] == [
        "replicated on 8 GPUs",
        "replicated on 8 GPUs, with checkpointing",
        "sharded over 8 GPUs",
        "sharded over 8 GPUs, with checkpointing",
    ]
    assert [str(one) for one in layouts(7_600_000_000, 8, nodes=2)] == [
        "sharded over 8 GPUs, replicated 2 times",
        "sharded over 8 GPUs, replicated 2 times, with checkpointing",
        "sharded over 16 GPUs",
        "sharded over 16 GPUs, with checkpointing",
    ]
    assert str(layouts(7_600_000_000, 1)[0]) == "on one GPU"


@given(st.integers(1, 10**11), st.integers(1, 9), st.integers(1, 5))
def test_every_layout_uses_all_gpus(params: int, gpus: int, nodes: int):
    candidates = layouts(params, gpus, nodes)
    assert {one.gpus for one in candidates} == {gpus * nodes}
    assert len(set(candidates)) == len(candidates)
    assert Layout().gpus == 1
