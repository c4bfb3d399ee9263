"""A sweep whatever its executor, view and disk do: nothing is lost, it ends when it should, and it says why."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import ablate.record.driver as driver
import ablate.run.conductor as conductor
from ablate.cli.views.live import View
from ablate.errors import AblateError, UsageError
from ablate.plan import Plan, make_plan
from ablate.record import Failure, FailureClass, Result, Score, TrialFolder, latest_end
from ablate.run import Board, Job, Listener, Options, Outcome, Queue, Selection, run_sweep
from ablate.run.queue import end_attempt
from ablate.spec import load_spec

SPEC = """\
study: {study}
resources: {{cpus: 1, gpus: {gpus}}}
trainer: {{command: [python, train.py], code: [train.py]}}
axes: {{size: [1, 2, 3]}}
scales: [{{label: small, set: {{width: 1}}}}, {{label: large, set: {{width: 2}}}}]
metric: {{name: mine/overall, lower_is_better: false}}
limits: {limits}
"""
ALL = ["size1@large/s0", "size2@large/s0", "size3@large/s0", "size1@small/s0", "size2@small/s0", "size3@small/s0"]
pytestmark = pytest.mark.slow  # each of them mirrors to a real store
Execute = Callable[[Queue, Listener], None]


@pytest.fixture
def planned(tmp_path: Path, paths) -> Callable[..., Plan]:
    """Makes the plan of six trials of a study of its own."""

    def make(limits: str = "{}", gpus: int = 0) -> Plan:
        (tmp_path / "train.py").write_text("")
        path = tmp_path / "sizes.yaml"
        path.write_text(SPEC.format(study=paths.name, limits=limits, gpus=gpus))
        return make_plan(load_spec(path))

    return make


@pytest.fixture
def run(uri: str) -> Callable[..., tuple[Outcome, str]]:
    """Runs a plan with an executor; returns the outcome and what the view showed."""

    def go(plan: Plan, execute: Execute, view: type[View] = View, **options: object) -> tuple[Outcome, str]:
        console = Console(file=io.StringIO(), width=500)
        outcome = run_sweep(
            plan, execute, lambda jobs: view(Board(jobs), "study", console), Options(uri=uri, **options)
        )
        return outcome, console.file.getvalue()

    return go


def write_result(job: Job) -> None:
    folder = TrialFolder(Path(job.folder))
    folder.finish(
        Result(
            key=job.key,
            attempt=folder.attempts()[-1].number,
            scores=[Score(benchmark="mine", category="overall", modality="video", score=50.0)],
            seconds=1,
            started_at=1,
            ended_at=2,
            environment={},
        )
    )


def failure(kind: FailureClass, message: str) -> Failure:
    return Failure(attempt=0, kind=kind, message=message, traceback="", seconds=1, ended_at=2, node="n1")


def begin(queue: Queue, listener: Listener) -> Job:
    job = queue.take()
    assert job is not None
    TrialFolder(Path(job.folder)).begin()
    listener.started(job)
    return job


def succeed(queue: Queue, listener: Listener) -> None:
    """An executor under which all is well."""
    while not queue.empty:
        job = begin(queue, listener)
        write_result(job)
        end_attempt(queue, listener, job, None)


def hang(queue: Queue, listener: Listener) -> None:
    """An executor of one trial that never ends."""
    begin(queue, listener)
    time.sleep(60)


def started(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines() if line.endswith(" started")]


@pytest.mark.parametrize(
    ("selection", "labels"),
    [
        (Selection(), ALL),
        (Selection(only=("size2",)), [ALL[1], ALL[4]]),
        (Selection(only=("*@small/*", "size1@large/s0")), [ALL[0], *ALL[3:]]),
        (Selection(limit=2), ALL[:2]),
        (Selection(priority=("size3", "*@small/*")), [ALL[2], ALL[5], ALL[3], ALL[4], ALL[0], ALL[1]]),
        (Selection(only=("*@small/*",), priority=("size3",), limit=2), [ALL[5], ALL[3]]),
    ],
)
def test_which_trials_run_and_in_which_order(planned, run, selection: Selection, labels: list[str]):
    outcome, text = run(planned(), succeed, selection=selection)
    assert started(text) == labels
    assert (outcome.exit_code, outcome.selected, outcome.unfinished) == (0, len(labels), [])
    assert outcome.plan.count("done") == len(labels)
    assert outcome.mirror.problem is None


@pytest.mark.parametrize("option", ["only", "priority"])
def test_an_unknown_label_is_refused_with_the_nearest_before_anything_is_written(planned, run, option: str):
    plan = planned()
    with pytest.raises(UsageError, match=rf"--{option} 'size9' matches no trial.*size1"):
        run(plan, succeed, selection=Selection(**{option: ("size9",)}))
    assert not plan.paths.folder.exists()


def test_at_most_so_many_run_at_a_time(planned, run):
    most = []

    def execute(queue: Queue, listener: Listener) -> None:
        jobs = [begin(queue, listener), begin(queue, listener)]
        most.append(queue.take())
        while jobs:
            job = jobs.pop(0)
            write_result(job)
            end_attempt(queue, listener, job, None)
            if more := queue.take():
                TrialFolder(Path(more.folder)).begin()
                listener.started(more)
                jobs.append(more)

    outcome, _ = run(planned(), execute, max_running=2)
    assert most == [None]
    assert outcome.exit_code == 0


@pytest.mark.parametrize(
    ("limits", "gpus", "message"),
    [
        ("{sweep: 1s}", 0, "`limits.sweep` is reached: the sweep ran for 1s"),
        ("{gpu_hours: 0.0002}", 1, "`limits.gpu_hours` is reached: the attempts of this run used 0.0002 GPU-hours"),
    ],
)
def test_a_limit_ends_a_sweep_whose_trials_hang(planned, run, limits: str, gpus: int, message: str):
    outcome, _ = run(planned(limits, gpus), hang)
    assert outcome.stopped is not None
    assert outcome.stopped.startswith(message)
    assert (outcome.exit_code, outcome.interrupted, outcome.unfinished) == (1, False, ALL)
    (attempt,) = TrialFolder(outcome.plan.paths.trials / outcome.plan.missing[0].trial.key).attempts()
    assert attempt.failure().kind == "interrupted"
    assert attempt.failure().message.startswith(message)
    assert latest_end(outcome.plan.paths).exit_code == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_cleanly(planned, run, number: signal.Signals):
    def execute(queue: Queue, listener: Listener) -> None:
        job = begin(queue, listener)
        write_result(job)
        end_attempt(queue, listener, job, None)
        begin(queue, listener)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # closing a terminal sends it twice: this is no impatience
        time.sleep(60)

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    outcome, _ = run(planned(), execute)
    assert (outcome.exit_code, outcome.interrupted, outcome.stopped) == (130, True, None)
    assert outcome.unfinished == ALL[1:]
    second = next(p for p in outcome.plan.planned if p.trial.label == ALL[1])
    assert second.status == "unfinished"
    assert outcome.rankings[0]["mean"].tolist() == [50.0]  # what is done is ranked
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_an_ignored_signal_stays_ignored(planned, run):
    """`nohup ablate sweep` survives its terminal."""

    def execute(queue: Queue, listener: Listener) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        succeed(queue, listener)

    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outcome, _ = run(planned(), execute)
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert outcome.exit_code == 0


def test_failures_in_a_row_stop_new_trials_and_running_ones_go_on(planned, run):
    def execute(queue: Queue, listener: Listener) -> None:
        slow = begin(queue, listener)
        for kind in ("oom", "code"):
            end_attempt(queue, listener, begin(queue, listener), failure(kind, f"reason of {kind}"))
        assert queue.take() is None
        write_result(slow)
        end_attempt(queue, listener, slow, None)

    outcome, text = run(planned("{failures: 2}"), execute)
    assert outcome.exit_code == 1
    assert outcome.unfinished == ALL[1:]
    assert outcome.failed == {ALL[1]: "reason of oom", ALL[2]: "reason of code"}
    for piece in (
        "no more trials are started after 2 failed attempts in a row (`limits.failures`)",
        f"1 oom, first {ALL[1]}: reason of oom",
        f"1 code, first {ALL[2]}: reason of code",
    ):
        assert piece in outcome.stopped
        assert piece in text


def test_a_success_between_failures_lets_the_sweep_go_on(planned, run):
    def execute(queue: Queue, listener: Listener) -> None:
        for is_good in (False, True, False, True, False, True):
            job = begin(queue, listener)
            if is_good:
                write_result(job)
            end_attempt(queue, listener, job, None if is_good else failure("code", "exit code 3"))

    outcome, _ = run(planned("{failures: 2}"), execute)
    assert outcome.stopped is None
    assert len(outcome.failed) == 3
    assert outcome.exit_code == 1


class BrokenView(View):
    """A view with a bug."""

    def started(self, job: Job) -> None:
        raise ZeroDivisionError("a bug")

    finished = started


def test_an_error_of_the_view_is_noted_and_the_sweep_goes_on(planned, run):
    outcome, _ = run(planned(), succeed, view=BrokenView)
    assert (outcome.exit_code, outcome.plan.count("done")) == (0, 6)
    assert outcome.notes == dict.fromkeys(ALL, "ZeroDivisionError: a bug")


def test_a_full_disk_while_a_failure_is_recorded_is_noted_and_the_sweep_goes_on(planned, run):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def execute(queue: Queue, listener: Listener) -> None:
        job = begin(queue, listener)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            end_attempt(queue, listener, job, failure("node", "the node was lost"))
        succeed(queue, listener)

    outcome, _ = run(planned(), execute)
    assert outcome.notes == {ALL[0]: "OSError: [Errno 28] No space left on device"}
    assert (outcome.exit_code, outcome.plan.count("done")) == (0, 6)


def test_a_damaged_record_is_noted_and_the_sweep_goes_on(planned, run):
    def execute(queue: Queue, listener: Listener) -> None:
        job = begin(queue, listener)
        (Path(job.folder) / "attempts" / "0" / "failure.json").write_text("{")
        end_attempt(queue, listener, job, failure("code", "exit code 3"))
        (Path(job.folder) / "attempts" / "0" / "failure.json").unlink()
        succeed(queue, listener)

    outcome, _ = run(planned(), execute)
    assert list(outcome.notes) == [ALL[0]]
    assert outcome.failed == {ALL[0]: "exit code 3"}
    assert outcome.plan.count("done") == 5


def test_a_result_that_is_visible_late_delays_no_other_trial(planned, run):
    """NFS shows files of other machines after seconds."""
    times: list[float] = []

    def execute(queue: Queue, listener: Listener) -> None:
        job = begin(queue, listener)
        threading.Timer(1.5, write_result, [job]).start()
        began = time.monotonic()
        end_attempt(queue, listener, job, None)
        succeed(queue, listener)
        times.append(time.monotonic() - began)

    outcome, text = run(planned(), execute)
    assert times[0] < 1.4
    assert (outcome.exit_code, outcome.plan.count("done"), outcome.failed) == (0, 6, {})
    assert f"{ALL[0]} done in" in text


def test_a_result_that_never_becomes_visible_is_reported(planned, run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conductor, "VISIBLE_S", 1.0)

    def execute(queue: Queue, listener: Listener) -> None:
        end_attempt(queue, listener, begin(queue, listener), None)
        succeed(queue, listener)

    outcome, _ = run(planned(), execute)
    assert (outcome.exit_code, outcome.unfinished) == (1, ALL[:1])
    assert "there is no result in" in outcome.failed[ALL[0]]
    assert "must be one that all machines share" in outcome.failed[ALL[0]]


def test_trials_that_never_ran_are_no_success(planned, run):
    outcome, _ = run(planned(), lambda queue, listener: None)
    assert (outcome.exit_code, outcome.unfinished, outcome.failed) == (1, ALL, {})


def test_a_cluster_that_is_lost_midway_leaves_a_summary(planned, run):
    def execute(queue: Queue, listener: Listener) -> None:
        job = begin(queue, listener)
        write_result(job)
        end_attempt(queue, listener, job, None)
        begin(queue, listener)
        raise AblateError("Ray ended the sweep: no head")

    outcome, _ = run(planned(), execute)
    assert (outcome.exit_code, outcome.stopped) == (1, "Ray ended the sweep: no head")
    assert outcome.plan.count("done") == 1
    assert outcome.unfinished == ALL[1:]


def test_an_executor_that_does_not_start_is_an_error(planned, run):
    def execute(queue: Queue, listener: Listener) -> None:
        raise AblateError("Ray could not start")

    plan = planned()
    with pytest.raises(AblateError, match="Ray could not start"):
        run(plan, execute)
    assert latest_end(plan.paths).exit_code == 1


def test_code_and_data_that_change_while_trials_run_do_not_lose_the_summary(planned, run, tmp_path: Path):
    def execute(queue: Queue, listener: Listener) -> None:
        succeed(queue, listener)
        (tmp_path / "train.py").unlink()
        (tmp_path / "sizes.yaml").unlink()

    outcome, _ = run(planned(), execute)
    assert (outcome.exit_code, outcome.plan.count("done")) == (0, 6)
    assert [frame["mean"].tolist() for frame in outcome.rankings] == [[50.0] * 3] * 2


def test_a_driver_that_was_replaced_stops_and_writes_nothing(planned, run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "LEASE_S", 2.0)
    monkeypatch.setattr(driver, "RENEW_S", 0.2)
    plan = planned()

    def execute(queue: Queue, listener: Listener) -> None:
        begin(queue, listener)
        plan.paths.lock.unlink()
        plan.paths.lock.write_text("filelock/2\npid=4242\nhost=node17\nmode=lease\ntoken=abc\nduration=2.0\nstart=1\n")
        time.sleep(60)

    outcome, _ = run(plan, execute)
    assert (outcome.stopped, outcome.exit_code) == ("another driver has taken the study over", 1)
    (attempt,) = TrialFolder(plan.paths.trials / plan.missing[0].trial.key).attempts()
    assert attempt.failure() is None
    assert latest_end(plan.paths) is None
    assert "node17" in plan.paths.lock.read_text()
