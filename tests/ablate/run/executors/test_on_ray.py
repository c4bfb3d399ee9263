"""Executors: every job is run, a failed one is retried once, and both executors report the same events."""

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
def test_a_queue_runs_each_job_until_it_succeeds_or_has_no_attempts_left(fates: dict[str, list[bool]]):
    queue = Queue([job(key) for key in fates])
    attempts = dict.fromkeys(fates, 0)
    while (current := queue.take()) is not None:
        assert current in queue.running
        succeeded = fates[current.key][attempts[current.key]]
        attempts[current.key] += 1
        again = queue.settle(current.key, succeeded=succeeded)
        assert again == (not succeeded and attempts[current.key] < ATTEMPTS)
    assert queue.empty
    for key, fate in fates.items():
        first = fate.index(True) + 1 if True in fate else ATTEMPTS
        assert attempts[key] == min(first, ATTEMPTS)


@dataclass
class EventLog:
    """A listener that records events."""

    lines: list[str] = field(default_factory=list)
    phases: dict[str, list[str]] = field(default_factory=dict)

    def started(self, job: Job) -> None:
        self.lines.append(f"{job.label} started")

    def progressed(self, job: Job, progress: Progress) -> None:
        phases = self.phases.setdefault(job.label, [])
        if not phases or phases[-1] != progress.phase:
            phases.append(progress.phase)

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
    """The plan's jobs, the first with an invalid seed."""
    first, *others = [job_of(plan, planned) for planned in plan.planned]
    return [replace(first, config=first.config | {"seed": -1}), *others]


EVENTS = {"uniform4@0.05M/s0 failed, again", "uniform4@0.05M/s0 failed, for good", "fps1@0.05M/s0 finished"}
PHASES = ["preparing", "training", "testing", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["here", "ray"])
def test_a_failed_job_does_not_affect_others(plan: Plan, executor: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ABLATE_FAKE_GPUS", "1")
    log = EventLog()
    if executor == "here":
        run_here(broken(plan), log)
    else:  # GPUs that only Ray sees: requests and placement are real
        run_on_ray(broken(plan), log, Cluster(num_cpus=2, num_gpus=1), partial(refuse_infeasible, plan))
    assert set(log.lines) >= EVENTS
    assert sum("started" in line for line in log.lines) == 3
    assert log.phases["fps1@0.05M/s0"] == PHASES
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    assert [f.attempt for f in folder.failures()] == [0, 1]
    assert "greater than or equal to 0" in folder.failures()[0].message
    assert "ValidationError" in folder.failures()[0].traceback


def test_a_trial_that_finished_counts_as_done_however_its_worker_ended(plan: Plan):
    """A worker may die between writing and reporting the result: nothing is run again, nothing is overwritten."""
    done, log = job_of(plan, plan.planned[0]), EventLog()
    folder = folder_of(plan.paths, done.key)
    folder.finish(Result(key=done.key, attempt=0, scores=[], seconds=1, started_at=1, ended_at=2, environment={}))
    before = folder.read()
    queue = Queue([done])
    queue.take()
    end_attempt(queue, log, done, succeeded=False)
    assert log.lines == [f"{done.label} finished"]
    assert queue.empty
    assert [progress.phase for progress in run_trial(done)] == ["done"]
    assert folder.read() == before
