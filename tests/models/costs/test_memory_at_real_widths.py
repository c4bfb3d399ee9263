"""The memory formula against torch's tracker on fake tensors of real sizes (python -m benchmarks.budget)."""

from __future__ import annotations

import pytest

from benchmarks.budget import FITTED, JUDGED, TOLERANCE, Case, planned, predicted, tracked_bytes

JUDGED_NAMES = {
    "DINOv2-L, 64 frames, 1.5B, connector and LLM",
    "SigLIP, 96 frames, 1.5B, checkpointed",
    "InternVideo2 + SigLIP, 400 frames, 7B, connector",
    "SigLIP, 96 frames, 1.5B, LoRA of rank 16",
    "SigLIP, 128 frames, 7B, LoRA of rank 128, checkpointed",
}
"""Another encoder, another number of frames, another LLM than those on which the formula was fitted."""


def test_the_judged_cases_differ_from_the_fitted_ones():
    assert {case.name for case in JUDGED} == JUDGED_NAMES
    fitted_encoders = {encoder for case in FITTED for encoder in case.encoders}
    assert any(set(case.encoders) - fitted_encoders for case in JUDGED)
    assert not {case.frames for case in JUDGED} & {case.frames for case in FITTED}
    assert not {case.llm for case in JUDGED} & {case.llm for case in FITTED}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*FITTED, *JUDGED], ids=lambda case: case.name)
def test_the_formula_is_within_15_percent_of_the_tracker(case: Case):
    assert predicted(case).peak == pytest.approx(tracked_bytes(case), rel=TOLERANCE)


def test_frozen_encoders_and_features_are_counted():
    """SigLIP-SO400M on 240 frames: features alone have 0.4 GiB in bf16, a portion about 1 GiB, beside the weights."""
    case = next(case for case in FITTED if case.name == "SigLIP, 240 frames, 0.5B, evaluation")
    features = 240 * 729 * 1152 * 2
    memory = predicted(case)
    assert memory.encoding > 2 * features
    assert memory.weights == pytest.approx(2 * sum(planned(case)[0].params.values()))
    assert (memory.gradients, memory.optimizer) == (0, 0)
