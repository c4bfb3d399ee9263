"""Trials that are killed: the next attempt goes on from a checkpoint, and is equal to the bit to an undisturbed one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from ablate.record import AttemptFolder, Failure, TrialFolder, folder_of
from ablate.run import about, job_of
from ablate.run.agent import Agent, Ended, NodeRole, Patience, free_port
from ablate.run.job import Job
from tests.ablate.run.worker.studies import QUESTION, Study

PATIENCE = Patience(grace_s=0.5, frozen_s=60.0, beat_s=0.2, tick_s=0.02, look_s=0.1)
STAGES = [
    {"name": "a", "share": 0.4, "batch": 2, "mix": {"image": 1.0}, "lr": {"connector": 1e-3}},
    {"name": "b", "share": 0.6, "batch": 2, "mix": {"image": 0.7, "text": 0.3}, "lr": {"connector": 1e-3, "llm": 1e-3}},
]
SAMPLES = 400
STEPS = 200


class Trials:
    """One config in folders of its own, run by an agent."""

    def __init__(self, folder: Path, schedule: list[dict[str, Any]]) -> None:
        self.folder, self.agent = folder, Agent(PATIENCE)
        self.study = Study(folder)
        words = ["red", "blue", "what color", "color"]
        talks = [{"image": f"{n % 2}.png", "conversations": talk(words[n % 4])} for n in range(8)]
        texts = [{"conversations": talk(word, "")} for word in words]
        self.study.write("train", talks + texts)
        self.study.write("test", [{"image": f"{n}.png", "questions": [QUESTION]} for n in (0, 1)])
        self.plan = self.study.plan("tiny/image-encoder@2", schedule=schedule, samples=SAMPLES)

    def job(self, name: str, **fields: Any) -> Job:
        planned = self.plan.planned[0]
        folder = TrialFolder(self.folder / "runs" / "trials" / name)
        folder_of(self.plan.paths, planned.trial.key).describe(about(self.plan, planned.trial))
        folder.describe(about(self.plan, planned.trial))
        return replace(job_of(self.plan, planned), folder=str(folder.path), **fields)

    def begin(self, job: Job) -> AttemptFolder:
        attempt = TrialFolder(Path(job.folder)).begin()
        self.agent.begin(job, attempt, NodeRole(master_port=free_port()))
        return attempt

    def end(self, now: Callable[[], bool] = lambda: False) -> Failure | None:
        """Wait for the end; the trial's process is killed once `now` is true."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if now():
                now = lambda: False  # noqa: E731
                for child in psutil.Process().children(recursive=True):
                    child.send_signal(signal.SIGKILL)
            if isinstance(state := self.agent.poll(0.01), Ended):
                return state.failure
        raise TimeoutError

    def run(self, job: Job) -> TrialFolder:
        self.begin(job)
        assert self.end() is None
        return TrialFolder(Path(job.folder))


def talk(answer: str, medium: str = "<image>\n") -> list[dict[str, str]]:
    return [{"from": "human", "value": f"{medium}what color"}, {"from": "gpt", "value": answer}]


@pytest.fixture
def trials(tmp_path: Path) -> Iterator[Trials]:
    trials = Trials(tmp_path, STAGES)
    yield trials
    trials.agent.close()


def checkpoints(folder: Path) -> list[int]:
    """Steps of all complete checkpoints of a trial."""
    return sorted(int(path.parent.name) for path in folder.glob("attempts/*/checkpoints/*/checkpoint.json"))


def curve(folder: TrialFolder) -> list[tuple[float, ...]]:
    return [(point["step"], point["samples"], point["loss"], point["padding"]) for point in folder.events()]


@pytest.mark.slow
def test_a_killed_trial_goes_on_and_is_equal_to_the_bit(trials: Trials):
    whole = trials.run(trials.job("whole", checkpoint_s=1000.0))
    job = trials.job("killed", checkpoint_s=0.2)
    folder = TrialFolder(Path(job.folder))
    reached = []
    for part in (0.25, 0.6):
        first = trials.begin(job)
        failure = trials.end(lambda at=part: max(checkpoints(folder.path), default=0) > at * STEPS)
        assert failure is not None
        assert failure.kind == "killed"
        reached.append(max(checkpoints(folder.path)))
        assert len(checkpoints(folder.path)) <= 3  # the last two, and one that is being removed
        assert first.events()
    trials.run(job)
    logs = [attempt.log.read_text() for attempt in folder.attempts()]
    assert "resumed" not in logs[0]
    for number in (1, 2):
        assert f"resumed at step {reached[number - 1]} of attempt {number - 1}" in logs[number]
    result, expected = folder.result(), whole.result()
    assert result is not None
    assert expected is not None
    assert result.environment["resumed"] == f"at step {reached[1]} of attempt 1"
    assert result.scores == expected.scores
    assert result.counts["samples"] == SAMPLES
    assert result.counts["steps"] == STEPS
    assert curve(folder) == curve(whole)
    mine, theirs = (pd.read_parquet(one.file("predictions.parquet")) for one in (folder, whole))
    assert mine.drop(columns="log_likelihoods").equals(theirs.drop(columns="log_likelihoods"))
    for one, other in zip(mine["log_likelihoods"], theirs["log_likelihoods"], strict=True):
        assert np.array_equal(one, other)
    assert not list(folder.path.glob("attempts/*/checkpoints"))


@pytest.mark.slow
def test_a_full_disk_does_not_stop_a_trial(trials: Trials):
    job = trials.job("full", checkpoint_s=0.2)
    folder = TrialFolder(Path(job.folder))
    attempt = trials.begin(job)
    attempt.checkpoints.write_text("a file, so that no folder can be made")
    assert trials.end() is None
    assert folder.result() is not None
    assert "could not be saved, and the training goes on: " in attempt.log.read_text()
