"""The memory formula against torch's tracker on real steps in fp32 (python -m benchmarks.costs has larger ones)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.costs import SMALL, Case, Trainer, predicted

CASES = (
    replace(SMALL, name="nothing learns", learns=""),
    replace(SMALL, name="connector", learns="c"),
    SMALL,
    replace(SMALL, name="connector and LLM, checkpointed", learns="cl", checkpointing=True),
    replace(SMALL, name="connector and adapters", learns="cl", rank=64),
    replace(SMALL, name="adapters alone", learns="l", rank=64),
    replace(SMALL, name="connector and adapters, checkpointed", learns="cl", rank=16, checkpointing=True),
)
"""19 million parameters."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_formula_is_within_15_percent_of_the_tracker(case: Case):
    trainer = Trainer(case)
    trainer.step()  # makes the optimiser's states
    assert predicted(case).peak == pytest.approx(trainer.tracked_bytes(), rel=0.15)
