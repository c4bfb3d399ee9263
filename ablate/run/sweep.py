"""Run a plan: execute the missing trials, mirror them to MLflow, and rank the designs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ablate.errors import AblateError, first_line
from ablate.plan import Plan, Planned, sweep_name
from ablate.record import Claim, RecordError, folder_of, remember, sole_driver
from ablate.run.board import LiveView
from ablate.run.conductor import Conductor
from ablate.run.job import Job
from ablate.run.limits import Breaker, watched
from ablate.run.planned import about, job_of, study_facts
from ablate.run.queue import Listener, Queue
from ablate.run.selection import Options
from ablate.run.signals import Signals
from ablate.study import load_table, rankings
from ablate.tracking import BackgroundMirror, MirrorReport, SweepSummary, location

if TYPE_CHECKING:
    import pandas as pd


Executor = Callable[[Queue, Listener], None]

MIRROR_WAIT_S = 30.0
"""Longest wait for MLflow at the end of a sweep, in seconds."""
INTERRUPTED_WAIT_S = 5.0
"""The same after an interruption."""
QUIET_WAIT_S = 2.0
"""Seconds of that wait before the view shows it."""
_LOST = "another driver has taken the study over"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a sweep."""

    plan: Plan
    """The plan after the sweep."""
    selected: int
    """Number of missing trials that were to run."""
    unfinished: list[str]
    """Labels of those that are still missing: they failed, were interrupted, or never ran."""
    failed: dict[str, str]
    """Label -> message of each trial whose last attempt failed."""
    interrupted: bool
    """Whether a signal ended the sweep."""
    stopped: str | None
    """Why the sweep ended early, if no signal did: a limit, failures in a row, another driver, a lost cluster."""
    notes: dict[str, str]
    """Label -> error while a trial's events were recorded or shown; its training was not affected."""
    rankings: list[pd.DataFrame]
    """Ranking of the designs at each scale; empty if no trial has finished."""
    problem: str | None
    """Why there is no ranking."""
    mirror: MirrorReport
    """What MLflow does not have yet."""

    @property
    def exit_code(self) -> int:
        """0: all selected trials are done; 1: some are not, or a record is damaged; 130: interrupted."""
        return 130 if self.interrupted else int(bool(self.unfinished) or self.plan.count("damaged") > 0)


def run_sweep(
    plan: Plan, execute: Executor, view_of: Callable[[list[Job]], LiveView], options: Options | None = None
) -> Outcome:
    """Run the missing trials of a plan and mirror them to MLflow. `^C`, SIGTERM and SIGHUP stop the sweep cleanly.

    Args:
        plan: the sweep. What has finished since it was made is not run.
        execute: runs the jobs of a queue and reports their events to a listener.
        view_of: makes the view of jobs.
        options: which trials run, and how.

    Raises:
        UsageError: the selection names no trial.
        AblateError: another process writes to the study, or the executor does not start.
    """
    options = options or Options()
    options.selection.missing(plan)  # these raise before anything is written
    location.absolute_uri(options.uri)
    signals, exit_code = Signals(), 1
    with sole_driver(plan.paths, take_over=options.take_over, on_lost=partial(signals.stop, _LOST)) as claim:
        signals.at_once = partial(claim.end, 130)
        try:
            with signals:
                outcome = _run(plan, execute, view_of, options, claim, signals)
            exit_code = outcome.exit_code
        except AblateError as error:
            exit_code = error.exit_code
            raise
        except KeyboardInterrupt:
            exit_code = 130
            raise
        finally:
            with suppress(OSError):  # a full disk; what happened is in the trials' folders
                claim.end(exit_code)
    return outcome


def _run(
    plan: Plan,
    execute: Executor,
    view_of: Callable[[list[Job]], LiveView],
    options: Options,
    claim: Claim,
    signals: Signals,
) -> Outcome:
    """Run a study's missing trials, as its only driver."""
    with signals.interruptible():  # while nothing runs yet
        (options.claimed or Claim.begin)(claim)
        plan = _as_recorded(plan)
        selected = options.selection.missing(plan)
        jobs = [job_of(plan, planned) for planned in selected]
        queue = Queue(jobs, plan.spec.retries.model_dump(), options.max_running)
        mirror = _prepare(plan, selected, options.uri)
        conductor = Conductor(queue, mirror, view_of(jobs), plan.metric, Breaker(plan.spec.limits.failures))
    is_interrupted = bool(jobs) and _execute(plan, execute, queue, conductor, signals)
    if claim.is_lost:
        conductor.abandon()
    else:
        conductor.interrupt(signals.reason or "the sweep was interrupted")
    plan = _as_recorded(plan)
    ranked, problem = _rankings(plan)
    if not claim.is_lost:
        problem = _summarise(plan, mirror, ranked, claim.driver.started_at) or problem
    wait_s = 0.0 if claim.is_lost else INTERRUPTED_WAIT_S if signals.is_received else MIRROR_WAIT_S
    unfinished = _unfinished(plan, selected)
    return Outcome(
        plan=plan,
        selected=len(selected),
        unfinished=unfinished,
        failed={label: conductor.failed_labels[label] for label in unfinished if label in conductor.failed_labels},
        interrupted=is_interrupted and signals.reason is None,
        stopped=signals.reason or conductor.stopped,
        notes=conductor.notes,
        rankings=ranked,
        problem=problem,
        mirror=_close(mirror, conductor, signals, wait_s),
    )


def _unfinished(plan: Plan, selected: list[Planned]) -> list[str]:
    """Labels of the selected trials that are not done."""
    done = {planned.trial.key for planned in plan.planned if not planned.is_missing}
    return [planned.trial.label for planned in selected if planned.trial.key not in done]


def _as_recorded(plan: Plan) -> Plan:
    """The plan with the trials' present states. The spec and its data, which may have changed, are not read again."""

    def update(planned: Planned) -> Planned:
        try:
            record = folder_of(plan.paths, planned.trial.key).read()
        except RecordError:  # readers of the study report it; the trial keeps the state that it had
            return planned
        return replace(planned, status=record.status if record else "new")

    return replace(plan, planned=[update(planned) for planned in plan.planned])


def _prepare(plan: Plan, selected: list[Planned], uri: str | None) -> BackgroundMirror:
    """Write the study's facts and the descriptions of the trials that are to run; begin to mirror the study.

    Returns:
        The mirror of the study.
    """
    new_facts = study_facts(plan)
    remember(plan.paths, new_facts)
    mirror = BackgroundMirror(plan.paths, uri, new_facts)
    for planned in plan.planned:
        if not planned.is_missing:
            mirror.adopt(about(plan, planned.trial))
    for planned in selected:
        folder_of(plan.paths, planned.trial.key).describe(about(plan, planned.trial))
    return mirror


def _execute(plan: Plan, execute: Executor, queue: Queue, conductor: Conductor, signals: Signals) -> bool:
    """Run the jobs of the queue; returns whether this was interrupted."""

    def exceed(message: str) -> None:
        queue.stop()
        signals.stop(message)

    try:
        with (
            signals.interruptible(),
            watched(plan.spec.limits, conductor.gpu_seconds, exceed),
            conductor.view,
        ):
            execute(queue, conductor)
            conductor.await_results()
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray's own handler of SIGTERM, while it starts
        return True
    except AblateError as error:
        if not conductor.has_started:
            raise
        conductor.stopped = conductor.stopped or str(error)  # the cluster is lost; what is done is summarised
    return False


def _rankings(plan: Plan) -> tuple[list[pd.DataFrame], str | None]:
    """The rankings of the study's designs, and why there are none."""
    if not plan.count("done"):
        return [], None
    try:
        return rankings(load_table(plan.spec.study), plan.metric), None
    except AblateError as error:  # the trials are done even if the table cannot be used
        return [], str(error)


def _summarise(plan: Plan, mirror: BackgroundMirror, ranked: list[pd.DataFrame], started_at: float) -> str | None:
    """Write the spec, the counts, the ranking and its figure to the sweep's own run; returns why this failed."""
    try:
        mirror.summarise(_summary(plan, ranked, started_at))
    except Exception as error:  # noqa: BLE001 - a full disk, a font that matplotlib lacks: the trials are done
        return f"the sweep's own run in MLflow has no summary: {first_line(error)}"
    return None


def _summary(plan: Plan, ranked: list[pd.DataFrame], started_at: float) -> SweepSummary:
    import pandas as pd

    from analysis.figures import ranking_figure

    return SweepSummary(
        sweep=sweep_name(plan.spec),
        spec=f"{plan.spec.source.public_text()}\n# ran with seeds {plan.spec.seeds} and scales {plan.spec.labels}\n",
        counts={name: value for name, value in plan.to_json().items() if type(value) is int},
        started_at=started_at,
        ranking=pd.concat(ranked) if ranked else None,
        figures={"ranking": ranking_figure(pd.concat(ranked), plan.metric)} if ranked else {},
    )


def _close(mirror: BackgroundMirror, conductor: Conductor, signals: Signals, wait_s: float) -> MirrorReport:
    """Wait for MLflow, but not long; the view shows a wait that people notice, and `^C` ends it."""
    message = f"waiting up to {wait_s:.0f} s for MLflow; ^C skips this, and `ablate sync` catches up"
    timer = threading.Timer(QUIET_WAIT_S, conductor.note, [message])
    timer.daemon = True
    timer.start()
    try:
        if signals.is_received:
            return mirror.close(wait_s)
        with signals.interruptible():
            return mirror.close(wait_s)
    except KeyboardInterrupt:
        return mirror.close(0.0)
    finally:
        timer.cancel()
