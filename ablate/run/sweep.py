"""Run a plan: launch what is missing, mirror each trial to MLflow, say what came out."""

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
from ablate.run.job import Job, about, job_of
from ablate.run.queue import Listener
from ablate.run.signals import _terminable
from ablate.study import load_table, rankings
from ablate.tracking import Mirror, SweepSummary, sync

if TYPE_CHECKING:
    import pandas as pd


Executor = Callable[[list[Job], Listener], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended."""

    plan: Plan
    """As it stands afterwards."""
    failed: dict[str, str]
    """Label -> message of each trial that failed for good."""
    interrupted: bool
    rankings: list[pd.DataFrame]
    """Designs ranked at each scale; empty while nothing has finished."""
    store: str
    """MLflow's tracking URI."""
    problem: str | None
    """Why something could not be written to MLflow."""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 something failed, 130 interrupted."""
        return 130 if self.interrupted else int(bool(self.failed))


def run_sweep(plan: Plan, execute: Executor, view_of: Callable[[Plan], LiveView], uri: str | None) -> Outcome:
    """Run what is missing of a plan and keep MLflow in step. `^C` and SIGTERM stop it cleanly.

    Args:
        plan: what is declared; what is done is looked up again once the study is ours.
        execute: runs jobs and tells a listener.
        view_of: makes the view of a plan.
        uri: MLflow's tracking URI; `paths.store_uri()` where left out.

    Raises:
        AblateError: another sweep runs in the study, or the store cannot be used.
    """
    began, interrupted = time.time(), False
    with sole_driver(plan.paths):
        plan = make_plan(plan.spec)
        known = replace(facts(plan.paths), metric=plan.metric, samples=plan.spec.trial_samples)
        sync(plan.paths, uri)  # what an earlier driver finished but did not mirror
        mirror = Mirror.open(plan.paths, uri, known)
        remember(plan.paths, known)
        for planned in plan.planned:
            if not planned.is_missing:
                mirror.adopt(about(plan, planned.trial))
        for planned in plan.missing:
            folder_of(plan.paths, planned.trial.key).describe(about(plan, planned.trial))
        conductor = Conductor(plan, mirror, view_of(plan))
        try:
            if plan.missing:
                with _terminable(), conductor.view:
                    execute([job_of(plan, planned) for planned in plan.missing], conductor)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            conductor.interrupt()  # nothing runs any more, however it ended
            mirror.close()
        after = make_plan(plan.spec)
        ranked, problem = [], None
        try:
            ranked = rankings(load_table(plan.spec.study), plan.metric) if after.count("done") else []
        except UsageError as error:  # the trials are done whatever the table says
            problem = str(error)
        _summarise(after, mirror, ranked, began)
    return Outcome(
        plan=after,
        failed=conductor.failed_labels,
        interrupted=interrupted,
        rankings=ranked,
        store=mirror.uri,
        problem=problem or mirror.problem,
    )


def _summarise(plan: Plan, mirror: Mirror, ranked: list[pd.DataFrame], began: float) -> None:
    """Leave the spec, the counts, the ranking and its figure in the sweep's own run."""
    import pandas as pd

    from analysis.figures import ranking_figure

    mirror.sweep_summary(
        SweepSummary(
            sweep=sweep_name(plan.spec),
            spec=f"{plan.spec.source.text}\n# ran with seeds {plan.spec.seeds} and scales {plan.spec.labels}\n",
            counts={name: value for name, value in plan.to_json().items() if isinstance(value, int)},
            started_at=began,
            ranking=pd.concat(ranked) if ranked else None,
            figures={"ranking": ranking_figure(pd.concat(ranked), plan.metric)} if ranked else {},
        )
    )
