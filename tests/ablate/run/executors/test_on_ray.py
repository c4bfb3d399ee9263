"""Executors: every job is run, failures are retried by class, and both executors report the same events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.plan import Plan, make_plan, refuse_infeasible
from ablate.record import Failure, FailureClass, folder_of
from ablate.run import Cluster, Job, Progress, about, job_of, run_on_ray
from ablate.run.executors.here import run_here
from ablate.run.failures import ON_ANOTHER_NODE
from ablate.run.queue import RETRIES, Queue, end_attempt
from ablate.spec import load_spec
from tests.end_to_end.conftest import SMALL


def job(key: str) -> Job:
    return Job(key=key, label=key, config={}, folder="", cache="", cpus=1, gpus=0)


def failure(kind: FailureClass) -> Failure:
    return Failure(attempt=0, kind=kind, message=kind, traceback="", seconds=1, ended_at=1)


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

    def failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        self.lines.append(f"{job.label} failed ({failure.kind}), {'again' if retried else 'for good'}")

    def note(self, message: str) -> None:
        self.lines.append(message)


FATES = st.lists(st.sampled_from([None, *get_args(FailureClass)]), min_size=1, max_size=9)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), FATES, max_size=4))
def test_a_job_runs_until_it_succeeds_or_a_class_has_no_retries_left(fates: dict[str, list[FailureClass | None]]):
    queue = Queue([job(key) for key in fates])
    ends: dict[str, list[FailureClass | None]] = {key: [] for key in fates}
    while (current := queue.take()) is not None:
        assert queue.has_running(current.key)
        fate = fates[current.key]
        kind = fate[len(ends[current.key]) % len(fate)] if len(ends[current.key]) < 40 else None
        assert current.oom_failures == ends[current.key].count("oom")
        ends[current.key].append(kind)
        retried = queue.settle(current.key, failure(kind) if kind else None, "node")
        counts = Counter(ends[current.key])
        assert retried == (kind is not None and counts[kind] <= RETRIES.get(kind, 0))
        assert ("node" in queue.avoided(current.key)) == bool(ON_ANOTHER_NODE & set(ends[current.key]))
    assert queue.empty
    assert len(queue) == 0


def test_a_job_that_was_taken_back_is_the_next_one_unless_the_queue_is_stopped():
    queue = Queue([job("a"), job("b")], max_running=1)
    assert queue.take() == job("a")
    assert queue.take() is None
    queue.withdraw("a")
    assert queue.take() == job("a")
    queue.stop()
    queue.withdraw("a")
    assert queue.empty
    assert queue.is_stopped


def test_an_end_is_reported_once():
    """Tune reports an error of a trial whose end it has reported, where that report raised."""
    queue, log = Queue([job("a")]), EventLog()
    queue.take()
    end_attempt(queue, log, job("a"), None)
    end_attempt(queue, log, job("a"), failure("killed"))
    assert log.lines == ["a finished"]


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


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["here", "ray"])
def test_a_failed_job_does_not_affect_others(plan: Plan, executor: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ABLATE_FAKE_GPUS", "1")
    log, queue = EventLog(), Queue(broken(plan))
    if executor == "here":
        run_here(queue, log)
    else:  # GPUs that only Ray sees: requests and placement are real
        run_on_ray(queue, log, Cluster(num_cpus=2, num_gpus=1), partial(refuse_infeasible, plan))
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    [only] = folder.failures()
    assert log.lines[0] == "uniform4@0.05M/s0 started"
    assert f"uniform4@0.05M/s0 failed ({only.kind}), for good" in log.lines
    assert "fps1@0.05M/s0 finished" in log.lines
    assert sum("started" in line for line in log.lines) == 2
    assert set(log.phases["fps1@0.05M/s0"]) <= {"preparing", "training", "testing", "done"}, "as often as it is asked"
    assert "greater than or equal to 0" in only.message
    assert "ValidationError" in only.traceback


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's own processes, collected late
def test_trials_of_two_gpus_run_in_two_processes_each(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """GPUs that only Ray sees; the processes train on CPUs, in a gloo group."""
    monkeypatch.setenv("ABLATE_FAKE_GPUS", "1")
    log, jobs = EventLog(), [replace(job_of(plan, planned), gpus=2) for planned in plan.planned]
    run_on_ray(Queue(jobs), log, Cluster(num_cpus=2, num_gpus=2), lambda _: None)
    assert [line for line in log.lines if "failed" in line] == []
    for planned in plan.planned:
        folder = folder_of(plan.paths, planned.trial.key)
        result = folder.result()
        assert result is not None
        assert result.environment["ranks"] == "2"
        assert (folder.latest() / "stdout-1.txt").exists()
