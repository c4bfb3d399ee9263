"""`ablate trial --smoke`: runs a trial of the user's own trainer with a limit, and reports what the contract lacks.

Nothing is recorded in the study: the attempt's folder is a temporary one, which stays for a look at its files.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ablate.errors import UsageError
from ablate.record import AttemptFolder, TrialFolder
from ablate.run.agent import Agent, Ended, NodeRole, Patience, free_port
from ablate.run.job import Job, Program, Progress
from ablate.run.program import ProgressFile
from ablate.run.signals import Signals
from ablate.run.single import POLL_S, gpus_of, refuse_copies

LIMIT_S = 120.0
"""Longest time of a program if no limit is given, in seconds."""
DESIGN_PLACEHOLDERS = ("{config}", "{config_yaml}", "{flags}", "{flags_space}", "{dotlist}")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part of the contract."""

    name: str
    verdict: Literal["ok", "failed", "not checked"]
    text: str
    """What was observed and, if it is not as the contract wants it, what to write."""


@dataclass(frozen=True, kw_only=True)
class SmokeReport:
    """How a program keeps the contract."""

    attempt: AttemptFolder
    """Folder with all files: inputs/, out/, stdout.txt, stderr.txt, log.txt."""
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """1 if a check failed."""
        return int(any(check.verdict == "failed" for check in self.checks))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What was observed of a program."""

    ended: Ended | None
    """None if the limit ended it."""
    seconds: float
    stop_s: float
    """Seconds that it took to end after SIGTERM."""


def check_contract(job: Job, limit_s: float | None, progressed: Callable[[Progress], None]) -> SmokeReport:
    """Run a program until it ends or a limit is reached, and check what it did.

    Args:
        job: the trial.
        limit_s: longest time in seconds; `LIMIT_S` if omitted.
        progressed: called with the progress.

    Raises:
        UsageError: the trial is one of ablate's own trainer, or a launcher started several processes.
    """
    program = job.program
    if program is None:
        raise UsageError(
            "--smoke checks a training program of your own; this spec has no `trainer`: leave --smoke out, or run a "
            "trial with few samples"
        )
    refuse_copies(job)
    scratch = replace(job, folder=str(Path(tempfile.mkdtemp(prefix="ablate-smoke-")) / "trial"), trial_limit_s=None)
    attempt, patience = TrialFolder(Path(scratch.folder)).begin(), Patience()
    with Signals() as signals, signals.interruptible(), gpus_of(job):
        run = _run(scratch, attempt, patience, limit_s or LIMIT_S, progressed)
    file = ProgressFile(attempt)
    file.new(has_ended=True)
    checks = (
        _design(program),
        *_progress(file),
        *_end(run, program.metric),
        *_stop(run, patience),
    )
    return SmokeReport(attempt=attempt, checks=checks)


def _run(
    job: Job, attempt: AttemptFolder, patience: Patience, limit_s: float, progressed: Callable[[Progress], None]
) -> _Run:
    agent, started_at = Agent(patience), time.monotonic()
    try:
        agent.begin(job, attempt, NodeRole(master_port=free_port()))
        while time.monotonic() - started_at < limit_s:
            now = agent.poll(min(POLL_S, limit_s))
            if isinstance(now, Ended):
                return _Run(ended=now, seconds=time.monotonic() - started_at, stop_s=0.0)
            progressed(now)
        stopped_at = time.monotonic()
        agent.stop()
        return _Run(ended=None, seconds=stopped_at - started_at, stop_s=time.monotonic() - stopped_at)
    finally:
        agent.close()


def _design(program: Program) -> Check:
    """Whether the program can see its design; whether it reads it, nobody can see from outside."""
    arguments = [one for part in program.command for one in ((part,) if isinstance(part, str) else part)]
    used = [name for name in DESIGN_PLACEHOLDERS if any(name in argument for argument in arguments)]
    if used:
        return Check(name="design", verdict="ok", text=f"the command passes it on as {', '.join(used)}")
    return Check(
        name="design",
        verdict="not checked",
        text=f"the command has none of {', '.join(DESIGN_PLACEHOLDERS)}: all trials are the same, unless the program "
        "reads the file $ABLATE_CONFIG",
    )


def _progress(file: ProgressFile) -> Iterator[Check]:
    example = '{"step": 10, "steps": 100, "loss": 2.3}'
    if file.garbage:
        text = f"{_counted(file.garbage, 'line')} in {file.path} without progress; the first: {file.first_garbage}"
        yield Check(name="progress", verdict="failed", text=f"{text}. Write one object a line: {example}")
    elif not file.lines:
        text = f"no line in {file.path}: append {example}, or call reporter.report(step=10, steps=100, loss=2.3)"
        yield Check(
            name="progress", verdict="failed", text=f"{text}; without it no curve and no remaining time is shown"
        )
    elif not file.latest.steps:
        text = f"{_counted(file.lines, 'line')} without `steps`, from which the remaining time is estimated: {example}"
        yield Check(name="progress", verdict="failed", text=text)
    else:
        step = f"step {file.latest.step} of {file.latest.steps}"
        yield Check(name="progress", verdict="ok", text=f"{_counted(file.lines, 'line')}, the last at {step}")


def _counted(number: int, noun: str, ending: str = "s") -> str:
    return f"{number} {noun}{ending * (number != 1)}"


def _end(run: _Run, metric: str) -> Iterator[Check]:
    if run.ended is None:
        text = f"the program was ended after {run.seconds:.0f} s, before it had a result: raise --attempt-limit, or "
        text += "run a trial that is shorter, as by an axis for the number of steps"
        yield Check(name="result", verdict="not checked", text=text)
    elif run.ended.failure is None:
        yield Check(name="result", verdict="ok", text=f"result.json has {metric}; it took {run.seconds:.1f} s")
    else:
        failure = run.ended.failure
        yield Check(name="result", verdict="failed", text=f"{failure.message} (class {failure.kind})")


def _stop(run: _Run, patience: Patience) -> Iterator[Check]:
    """Whether it ends on SIGTERM; and what it left behind, if it ended by itself."""
    if run.ended is not None:
        left = run.ended.left_processes
        if left:
            text = f"{_counted(left, 'process', 'es')} that it had started outlived it and had to be ended: wait"
            yield Check(name="processes", verdict="failed", text=text)
        else:
            yield Check(name="processes", verdict="ok", text="none outlived it")
    elif run.stop_s < patience.grace_s:
        yield Check(name="SIGTERM", verdict="ok", text=f"it ended {run.stop_s:.1f} s after SIGTERM")
    else:
        text = f"it did not end within {patience.grace_s:g} s after SIGTERM and was killed: save and exit sooner"
        yield Check(name="SIGTERM", verdict="failed", text=text)
