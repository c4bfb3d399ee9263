"""Checkpoints of several attempts of a trial, of which an earlier one may still run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.record import TrialFolder
from ablate.run.job import Job
from ablate.run.worker.curve import TrainingCurve
from ablate.run.worker.resuming import TrialCheckpoints
from models.training import Training
from tests.models.training.small import ENGINE, small_corpus, small_model, small_prompter, with_design
from tests.models.training.test_recorded_losses import trial_of


@pytest.fixture(autouse=True)
def _a_point_for_each_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ablate.run.worker.curve.POINT_S", 0.0)


class Attempt:
    """An attempt that saves after each step."""

    def __init__(self, folder: Path, key: str = "k") -> None:
        prompter, trial = small_prompter(), trial_of("connector and LLM", "adamw")
        model = small_model(prompter, folder)
        self.folder = TrialFolder(folder / "trial")
        self.attempt = self.folder.begin()
        training = Training(model, trial, with_design(small_corpus(model, prompter), trial.design), ENGINE, 40)
        self.curve, self.steps = TrainingCurve(self.attempt), training.run()
        job = Job(
            key=key, label="one", config={}, folder=str(self.folder.path), cache="", cpus=1, gpus=0, checkpoint_s=0
        )
        self.checkpoints = TrialCheckpoints(job, self.attempt, training, self.curve)
        self.checkpoints.resume()

    def train(self, count: int) -> None:
        with self.checkpoints:
            for _ in range(count):
                step = next(self.steps)
                self.curve.add(step)
                self.checkpoints._store.wait()
                self.checkpoints.after(step)

    @property
    def kept(self) -> list[int]:
        return sorted(int(path.parent.name) for path in self.attempt.checkpoints.glob("*/checkpoint.json"))


def test_attempts_go_on_and_an_earlier_one_removes_nothing_of_a_later_one(tmp_path: Path):
    first = Attempt(tmp_path)
    first.train(3)
    assert first.kept == [2, 3]
    second = Attempt(tmp_path)
    assert second.checkpoints.facts == {"resumed": "at step 3 of attempt 0"}
    second.train(1)
    assert (first.kept, second.kept) == ([3], [4])
    first.train(3)  # it was given up, but still runs
    assert (first.kept, second.kept) == ([5, 6], [4])
    second.train(2)
    assert (first.kept, second.kept) == ([], [5, 6])
    assert [point["step"] for point in second.attempt.events()] == [1, 2, 3, 4, 5, 6]
    second.folder.remove_checkpoints()
    assert not list(tmp_path.glob("trial/attempts/*/checkpoints"))


@pytest.mark.parametrize("key", ["another"])
def test_a_trial_of_another_config_begins_at_its_first_step(tmp_path: Path, key: str):
    Attempt(tmp_path).train(1)
    other = Attempt(tmp_path, key)
    assert other.checkpoints.facts == {}
    assert next(other.steps).step == 1


def test_points_that_are_computed_once_more_are_not_written_again(tmp_path: Path):
    first = Attempt(tmp_path)
    first.train(2)
    step = next(first.steps)
    first.curve.add(step)  # after the last checkpoint
    second = Attempt(tmp_path)
    second.train(2)
    assert [point["step"] for point in second.attempt.events()] == [1, 2, 3, 4]
    assert second.attempt.events()[:3] == first.attempt.events()
    assert second.curve.counts["steps"] == 4
