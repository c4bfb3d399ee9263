"""The training curve: which steps have a point, and what a point says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.record import AttemptFolder
from ablate.run.worker.curve import CURVE_POINTS, TrainingCurve
from ablate.tracking.encode import event_metrics
from models.training import Step


def step(number: int, steps: int, stage: str = "a", **fields: float | int | bool) -> Step:
    values = {"loss": 2.0, "tokens": 1000, "padding": 0.25, "seconds": 1.0, "data_s": 0.1, "samples": 4 * number}
    return Step(stage=stage, step=number, steps=steps, rates={"llm": 1e-4 / number}, **(values | fields))


def curve_of(folder: Path, steps: list[Step], stages: int = 1) -> tuple[TrainingCurve, list[dict[str, float]]]:
    curve = TrainingCurve(AttemptFolder(folder), stages)
    for one in steps:
        curve.add(one)
    return curve, AttemptFolder(folder).events()


def test_a_point_has_the_means_since_the_one_before(tmp_path: Path):
    steps = [step(n, 3, loss=float(n), gradient_norm=n, memory_bytes=2**30) for n in (1, 2, 3)]
    curve, (first, last) = curve_of(tmp_path, steps)
    assert (first["step"], last["step"]) == (1, 3)
    del last["time"]
    assert last == {
        "step": 3,
        "samples": 12,
        "loss": 2.5,
        "gradient_norm": 2.5,
        "padding": 0.25,
        "samples_per_s": 4.0,
        "tokens_per_s": 750.0,
        "positions_per_s": 1000.0,
        "data_wait": pytest.approx(0.1),
        "rate/llm": pytest.approx(1e-4 / 3),
        "memory_gib": 1.0,
    }
    assert "train/rate_llm" in event_metrics(last)
    assert curve.counts == {"samples": 12, "steps": 3, "seconds_training": 3.0}


@pytest.mark.parametrize("seconds", [0.001, 0.5, 20.0])
@pytest.mark.parametrize("steps", [1, 7, 400, 12345])
def test_points_are_ten_a_minute_and_sixty_in_all_at_most(tmp_path: Path, steps: int, seconds: float):
    half = steps // 2
    all_steps = [step(n, steps, "a" if n <= half else "b", seconds=seconds) for n in range(1, steps + 1)]
    _, points = curve_of(tmp_path, all_steps, stages=2)
    numbers = [int(point["step"]) for point in points]
    assert {1, half or 1, half + 1, steps} <= set(numbers)  # the first and the last of each stage
    assert numbers == sorted(set(numbers))
    assert len(points) <= min(CURVE_POINTS, 4 + steps * seconds / 6)
    if steps > 1000 and seconds > 1:
        assert len(points) >= CURVE_POINTS // 2


def test_a_cpu_has_no_memory_of_its_own(tmp_path: Path):
    _, (point,) = curve_of(tmp_path, [step(1, 1)])
    assert "memory_gib" not in point


def test_only_the_first_process_writes(tmp_path: Path):
    curve = TrainingCurve(None)
    curve.add(step(1, 1))
    assert curve.samples == 4
    assert not list(tmp_path.iterdir())


def test_the_speed_that_people_see_is_that_of_the_last_seconds(tmp_path: Path):
    curve = TrainingCurve(AttemptFolder(tmp_path))
    curve.add(step(1, 100, seconds=40.0))  # the first step loads kernels
    assert curve.samples_per_s == pytest.approx(0.1)
    curve.add(step(2, 100, seconds=1.0))
    assert (curve.samples_per_s, curve.tokens_per_s) == (4.0, 750.0)
