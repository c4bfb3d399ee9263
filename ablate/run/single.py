"""One trial of a sweep in the foreground, on this machine and without Ray: `ablate trial`."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.environment import available
from ablate.errors import UsageError
from ablate.plan import Plan, Planned
from ablate.record import AttemptFolder, Failure, FailureClass, Result, TrialFolder, folder_of, remember
from ablate.run.agent import Agent, Ended, NodeRole, free_port
from ablate.run.job import Job, Progress
from ablate.run.planned import about, job_of, study_facts
from ablate.run.signals import Signals

if TYPE_CHECKING:
    from models.training import Ranks

POLL_S = 0.5
"""Most seconds between two looks at a program's progress."""
NAMED = 5
"""Most labels that a message lists."""


@dataclass(frozen=True, kw_only=True)
class SingleOutcome:
    """The end of a trial that ran in the foreground."""

    attempt: AttemptFolder | None
    """None if the trial was done before."""
    result: Result | None
    failure: Failure | None
    """Why there is no result; of class `interrupted` after `^C`, SIGTERM or SIGHUP."""
    rank: int = 0
    """Index of this process among those of the trial; the first one reports the outcome to people."""

    @property
    def exit_code(self) -> int:
        """0: done; 1: failed; 130: interrupted."""
        if self.failure is None:
            return 0
        return 130 if self.failure.kind == "interrupted" else 1


def find_trial(plan: Plan, label: str) -> Planned:
    """The trial of a plan with a label, or the only one whose label contains the text.

    Raises:
        UsageError: there is none, or there are several; the message names labels.
    """
    trials = {planned.trial.label: planned for planned in plan.planned}
    if label in trials:
        return trials[label]
    matches = [name for name in trials if label in name]
    if len(matches) == 1:
        return trials[matches[0]]
    if matches:
        more = f" and {len(matches) - NAMED} more" if len(matches) > NAMED else ""
        raise UsageError(f"{label!r} is part of several labels: {', '.join(matches[:NAMED])}{more}; give one of them")
    nearest = get_close_matches(label, trials, n=3, cutoff=0.0)
    raise UsageError(
        f"no trial of {plan.spec.source.path} has a label with {label!r}; the nearest are {', '.join(nearest)} "
        "(`ablate plan` lists all)"
    )


def refuse_copies(job: Job, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to run as one of several processes that are not those of the trial: each would run the whole trial.

    Raises:
        UsageError: a launcher started a wrong number of processes.
    """
    processes = job.processes * job.nodes if job.program is None else 1
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        number = environment.get(name, "")
        if not number.isdigit() or int(number) <= 1:
            continue
        if job.program is not None:
            raise UsageError(
                f"{name} is {number}, but `ablate trial` runs in one process: it starts the processes of your program "
                "itself; start it once, without torchrun or srun -n"
            )
        if int(number) != processes:
            raise UsageError(
                f"{name} is {number}, but {job.label} has {processes} process(es), one for each GPU: start it by "
                f"itself, with `torchrun` and as many, or set `resources: {{gpus: ..., nodes: ...}}`"
            )
        if not is_launched(environment):
            raise UsageError(
                f"{name} is {number}, but RANK is not set, by which the processes find each other: start it by itself, "
                "or with `torchrun` on each node"
            )


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, or what sets its variables, has started this process as one of several."""
    size = environment.get("WORLD_SIZE", "")
    return "RANK" in environment and size.isdigit() and int(size) > 1


def run_single(
    plan: Plan, planned: Planned, limit_s: float | None, started: Callable[[AttemptFolder], None],
    progressed: Callable[[Progress], None],
) -> SingleOutcome:  # fmt: skip
    """Run a trial and record it as a sweep does, in an attempt of its own: the same trial may run in a sweep.

    Args:
        plan: the sweep.
        planned: its trial.
        limit_s: longest time in seconds, instead of the spec's.
        started: called with the attempt's folder.
        progressed: called with the trial's progress.

    Raises:
        UsageError: a launcher started a wrong number of processes, or the trial needs one that starts them.
    """
    job = job_of(plan, planned)
    job = job if limit_s is None else replace(job, trial_limit_s=limit_s)
    refuse_copies(job)
    if job.program is None and is_launched():
        with gpus_of(job):
            return _run_as_rank(plan, planned, job, started, progressed)
    if job.program is None and job.nodes > 1:
        raise UsageError(f"{job.label} has {job.nodes} nodes: start it with `torchrun --nnodes {job.nodes}` on each")
    attempt = _begin(plan, planned, job)
    if attempt is None:
        return SingleOutcome(attempt=None, result=folder_of(plan.paths, job.key).result(), failure=None)
    started(attempt)
    is_here = job.program is None and job.processes == 1
    return _outcome(job, attempt, lambda: (_run_here if is_here else _run_processes)(job, attempt, progressed))


def _begin(plan: Plan, planned: Planned, job: Job) -> AttemptFolder | None:
    """Begin an attempt; None if the trial has a result."""
    folder = folder_of(plan.paths, job.key)
    if folder.result() is not None:
        return None
    remember(plan.paths, study_facts(plan))
    folder.describe(about(plan, planned.trial))
    return folder.begin()


def _outcome(job: Job, attempt: AttemptFolder, run: Callable[[], Failure | None], rank: int = 0) -> SingleOutcome:
    """Run an attempt until it ends or is interrupted, which the first process records."""
    folder, started_at = TrialFolder(Path(job.folder)), time.monotonic()
    try:
        with Signals() as signals, signals.interruptible(), gpus_of(job):
            failure = run()
    except KeyboardInterrupt:
        failure = None
        if folder.result() is None:  # else it was done at that moment
            failure = _failure(attempt, "interrupted", "interrupted in the foreground", started_at)
            if rank == 0:
                attempt.fail(failure)
    result = None if failure else folder.result()
    return SingleOutcome(attempt=attempt, result=result, failure=failure, rank=rank)


def _run_as_rank(
    plan: Plan, planned: Planned, job: Job, started: Callable[[AttemptFolder], None],
    progressed: Callable[[Progress], None],
) -> SingleOutcome:  # fmt: skip
    """Run as one of the trial's processes, which a launcher has started; the first one begins the attempt."""
    from ablate.run.worker import agreed_attempt, device_type
    from models.training import ranks

    with ranks(device_type(job)) as mine:
        attempt = agreed_attempt(_begin(plan, planned, job) if mine.rank == 0 else None)
        if attempt is None:
            result = folder_of(plan.paths, job.key).result()
            return SingleOutcome(attempt=None, result=result, failure=None, rank=mine.rank)
        if mine.rank == 0:
            started(attempt)
        report = progressed if mine.rank == 0 else (lambda _: None)
        return _outcome(job, attempt, lambda: _run_here(job, attempt, report, mine), mine.rank)


def _run_here(
    job: Job, attempt: AttemptFolder, progressed: Callable[[Progress], None], ranks: Ranks | None = None
) -> Failure | None:
    """Run a trial of ablate's own trainer in this very process; its limit holds between two steps of training."""
    from ablate.run.worker import run_trial

    started_at = time.monotonic()
    for progress in run_trial(job, attempt, ranks):
        progressed(progress)
        if progress.phase == "failed":
            return attempt.failure() or _failure(attempt, "node", progress.detail, started_at)
        is_late = job.trial_limit_s is not None and time.monotonic() - started_at > job.trial_limit_s
        if is_late and progress.phase != "done":
            failure = _failure(attempt, "timeout", f"it took longer than {job.trial_limit_s:g} s", started_at)
            attempt.fail(failure)
            return failure
    return None


def _run_processes(job: Job, attempt: AttemptFolder, progressed: Callable[[Progress], None]) -> Failure | None:
    """Run a trial in processes of its own on this machine: those of the user's trainer, or one for each GPU."""
    agent = Agent()
    try:
        agent.begin(job, attempt, NodeRole(master_port=free_port()))
        while not isinstance(now := agent.poll(POLL_S), Ended):
            progressed(now)
        return now.failure
    finally:
        agent.close()


def _failure(attempt: AttemptFolder, kind: FailureClass, message: str, started_at: float) -> Failure:
    return Failure(
        attempt=attempt.number,
        kind=kind,
        message=message,
        traceback="",
        seconds=time.monotonic() - started_at,
        ended_at=time.time(),
        node=platform.node(),
    )


@contextmanager
def gpus_of(job: Job) -> Iterator[None]:
    """Let a trial see as many GPUs as it asks for, as Ray does in a sweep: the first ones of this process."""
    name = "CUDA_VISIBLE_DEVICES"
    visible = os.environ.get(name)
    if job.gpus > 0:
        gpus = visible.split(",") if visible is not None else [str(n) for n in range(int(available()["GPU"]))]
        os.environ[name] = ",".join(gpus[: math.ceil(job.gpus)])
    try:
        yield
    finally:
        if visible is not None:
            os.environ[name] = visible
        else:
            os.environ.pop(name, None)
