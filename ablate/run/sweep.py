"""Run a plan: execute the missing trials, mirror them to MLflow, and rank the designs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ablate.errors import UsageError
from ablate.plan import Plan, make_plan, sweep_name
from ablate.record import facts, folder_of, remember, sole_driver
from ablate.run.board import LiveView
from ablate.run.conductor import Conductor
from ablate.run.job import Job
from ablate.run.planned import about, job_of
from ablate.run.queue import Listener
from ablate.run.signals import sigterm_as_interrupt
from ablate.study import load_table, rankings
from ablate.tracking import Mirror, SweepSummary, sync

if TYPE_CHECKING:
    import pandas as pd


Executor = Callable[[list[Job], Listener], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a sweep."""

    plan: Plan
    """The plan after the sweep."""
    failed: dict[str, str]
    """Label -> message of each trial that failed and is not retried."""
    interrupted: bool
    rankings: list[pd.DataFrame]
    """Ranking of the designs at each scale; empty if no trial has finished."""
    store: str
    """MLflow's tracking URI."""
    problem: str | None
    """Why the ranking or a write to MLflow failed."""

    @property
    def exit_code(self) -> int:
        """0: all trials done; 1: a trial failed; 130: interrupted."""
        return 130 if self.interrupted else int(bool(self.failed))


def run_sweep(plan: Plan, execute: Executor, view_of: Callable[[Plan], LiveView], uri: str | None) -> Outcome:
    """Run the missing trials of a plan and mirror them to MLflow. `^C` and SIGTERM stop the sweep cleanly.

    Args:
        plan: the sweep; it is made again once the study is locked, since trials may have finished meanwhile.
        execute: runs jobs and reports their events to a listener.
        view_of: makes the view of a plan.
        uri: MLflow's tracking URI; by default `paths.store_uri()`.

    Raises:
        AblateError: another sweep runs in the study, or the store cannot be used.
    """
    started_at = time.time()
    with sole_driver(plan.paths):
        plan = make_plan(plan.spec)
        mirror = _prepare(plan, uri)
        conductor = Conductor(plan, mirror, view_of(plan))
        is_interrupted = _execute(plan, execute, conductor, mirror)
        plan = make_plan(plan.spec)
        ranked, problem = _rankings(plan)
        _summarise(plan, mirror, ranked, started_at)
    return Outcome(
        plan=plan,
        failed=conductor.failed_labels,
        interrupted=is_interrupted,
        rankings=ranked,
        store=mirror.uri,
        problem=problem or mirror.problem,
    )


def _prepare(plan: Plan, uri: str | None) -> Mirror:
    """Write the study's facts and descriptions of the missing trials; update MLflow after earlier sweeps.

    Returns:
        The mirror of the study.
    """
    study_facts = replace(facts(plan.paths), metric=plan.metric, samples=plan.spec.trial_samples)
    sync(plan.paths, uri)
    mirror = Mirror.open(plan.paths, uri, study_facts)
    remember(plan.paths, study_facts)
    for planned in plan.planned:
        if not planned.is_missing:
            mirror.adopt(about(plan, planned.trial))
    for planned in plan.missing:
        folder_of(plan.paths, planned.trial.key).describe(about(plan, planned.trial))
    return mirror


def _execute(plan: Plan, execute: Executor, conductor: Conductor, mirror: Mirror) -> bool:
    """Run the missing trials; returns whether the sweep was interrupted."""
    try:
        if plan.missing:
            with sigterm_as_interrupt(), conductor.view:
                execute([job_of(plan, planned) for planned in plan.missing], conductor)
    except KeyboardInterrupt:
        return True
    finally:
        conductor.interrupt()  # no trial runs any more, whether the executor finished, failed or was interrupted
        mirror.close()
    return False


def _rankings(plan: Plan) -> tuple[list[pd.DataFrame], str | None]:
    """The rankings of the study's designs, and why there are none."""
    if not plan.count("done"):
        return [], None
    try:
        return rankings(load_table(plan.spec.study), plan.metric), None
    except UsageError as error:  # the trials are done even if the table cannot be used
        return [], str(error)


def _summarise(plan: Plan, mirror: Mirror, ranked: list[pd.DataFrame], started_at: float) -> None:
    """Write the spec, the counts, the ranking and its figure to the sweep's own run."""
    import pandas as pd

    from analysis.figures import ranking_figure

    mirror.sweep_summary(
        SweepSummary(
            sweep=sweep_name(plan.spec),
            spec=f"{plan.spec.source.text}\n# ran with seeds {plan.spec.seeds} and scales {plan.spec.labels}\n",
            counts={name: value for name, value in plan.to_json().items() if isinstance(value, int)},
            started_at=started_at,
            ranking=pd.concat(ranked) if ranked else None,
            figures={"ranking": ranking_figure(pd.concat(ranked), plan.metric)} if ranked else {},
        )
    )
