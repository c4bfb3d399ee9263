"""Executors: every job is tried, a failure once more, and both executors tell the same story."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.plan import Plan, make_plan, refuse_infeasible
from ablate.record import Result, folder_of
from ablate.run import Cluster, Job, Progress, about, job_of, run_on_ray
from ablate.run.executors.here import run_here
from ablate.run.queue import ATTEMPTS, Queue, end_attempt
from ablate.run.worker.trial import run_trial
from ablate.spec import load_spec
from tests.end_to_end.conftest import SMALL


def job(key: str) -> Job:
    return Job(key=key, label=key, config={}, folder="", cache="", cpus=1, gpus=0)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.lists(st.booleans(), min_size=ATTEMPTS, max_size=9))
)
def test_a_queue_tries_each_job_until_it_succeeds_or_was_tried_often_enough(fates: dict[str, list[bool]]):
    queue = Queue([job(key) for key in fates])
    tried = dict.fromkeys(fates, 0)
    while (taken := queue.take()) is not None:
        assert taken in queue.running
        succeeded = fates[taken.key][tried[taken.key]]
        tried[taken.key] += 1
        again = queue.settle(taken.key, succeeded=succeeded)
        assert again == (not succeeded and tried[taken.key] < ATTEMPTS)
    assert queue.empty
    for key, fate in fates.items():
        first = fate.index(True) + 1 if True in fate else ATTEMPTS
        assert tried[key] == min(first, ATTEMPTS)


@dataclass
class Story:
    """A listener that remembers."""

    lines: list[str] = field(default_factory=list)
    phases: dict[str, list[str]] = field(default_factory=dict)

    def started(self, job: Job) -> None:
        self.lines.append(f"{job.label} started")

    def progressed(self, job: Job, progress: Progress) -> None:
        seen = self.phases.setdefault(job.label, [])
        if not seen or seen[-1] != progress.phase:
            seen.append(progress.phase)

    def finished(self, job: Job) -> None:
        self.lines.append(f"{job.label} finished")

    def failed(self, job: Job, *, retried: bool) -> None:
        self.lines.append(f"{job.label} failed, {'again' if retried else 'for good'}")

    def killed(self, job: Job, message: str) -> None:
        self.lines.append(f"{job.label} killed")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + "resources: {cpus: 1, gpus: 1}\n")
    plan = make_plan(load_spec(path))
    for planned in plan.planned:
        folder_of(plan.paths, planned.trial.key).describe(about(plan, planned.trial))
    return plan


def broken(plan: Plan) -> list[Job]:
    """The plan's jobs, the first with a seed that no config takes."""
    first, *others = [job_of(plan, planned) for planned in plan.planned]
    return [replace(first, config=first.config | {"seed": -1}), *others]


STORY = {"uniform4@0.05M/s0 failed, again", "uniform4@0.05M/s0 failed, for good", "fps1@0.05M/s0 finished"}
PHASES = ["preparing", "training", "testing", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["here", "ray"])
def test_a_job_that_fails_takes_no_other_with_it(plan: Plan, executor: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ABLATE_FAKE_GPUS", "1")
    story = Story()
    if executor == "here":
        run_here(broken(plan), story)
    else:  # GPUs that only Ray believes in: requests and placement are real
        run_on_ray(broken(plan), story, Cluster(num_cpus=2, num_gpus=1), partial(refuse_infeasible, plan))
    assert set(story.lines) >= STORY
    assert sum("started" in line for line in story.lines) == 3
    assert story.phases["fps1@0.05M/s0"] == PHASES
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    assert [f.attempt for f in folder.failures()] == [0, 1]
    assert "greater than or equal to 0" in folder.failures()[0].message
    assert "ValidationError" in folder.failures()[0].traceback


def test_a_trial_that_finished_counts_as_done_however_its_worker_ended(plan: Plan):
    """A worker may die between writing the result and telling so: nothing is run again, nothing is overwritten."""
    done, story = job_of(plan, plan.planned[0]), Story()
    folder = folder_of(plan.paths, done.key)
    folder.finish(Result(key=done.key, attempt=0, scores=[], seconds=1, started_at=1, ended_at=2, environment={}))
    before = folder.read()
    queue = Queue([done])
    queue.take()
    end_attempt(queue, story, done, succeeded=False)
    assert story.lines == [f"{done.label} finished"]
    assert queue.empty
    assert [progress.phase for progress in run_trial(done)] == ["done"]
    assert folder.read() == before
