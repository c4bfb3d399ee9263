"""A trial of ablate's own trainer in the foreground: what comes after its result does not make it a failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.record import folder_of
from ablate.run import Progress, SingleOutcome, run_single
from tests.ablate.run.worker.studies import Study


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., SingleOutcome]:
    """Runs a trial with a limit of an hour; returns its outcome, which its folder must agree with."""

    def go(progressed: Callable[[Progress], None]) -> SingleOutcome:
        plan = Study(tmp_path).plan("tiny/image-encoder@2")
        outcome = run_single(plan, plan.planned[0], 3600.0, lambda _: None, progressed)
        folder = folder_of(plan.paths, plan.planned[0].trial.key)
        assert outcome.result == folder.result()
        assert outcome.failure == next(iter(folder.failures()), None)
        return outcome

    return go


def at(phase: str, act: Callable[[], None]) -> Callable[[Progress], None]:
    return lambda progress: act() if progress.phase == phase else None


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("phase", "exit_code"), [("training", 130), ("done", 0)])
def test_an_interruption_after_the_result_changes_nothing(run, phase: str, exit_code: int):
    assert run(at(phase, interrupt)).exit_code == exit_code


@pytest.mark.parametrize(("phase", "exit_code"), [("training", 1), ("done", 0)])
def test_a_trial_that_is_done_is_not_too_late(run, monkeypatch: pytest.MonkeyPatch, phase: str, exit_code: int):
    later = time.monotonic() + 7200.0
    outcome = run(at(phase, lambda: monkeypatch.setattr(time, "monotonic", lambda: later)))
    assert outcome.exit_code == exit_code
    assert outcome.failure is None or outcome.failure.kind == "timeout"
