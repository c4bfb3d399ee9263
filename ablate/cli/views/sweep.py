"""The output of `ablate sweep`: while it runs, and when it has ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ablate.cli.views.out import ERR, OUT, print_json
from ablate.cli.views.plan import counts
from ablate.cli.views.ranking import print_rankings, ranking_rows
from ablate.plan import Plan, refuse_assumed, refuse_infeasible, refuse_several_gpus

if TYPE_CHECKING:
    from ablate.run import Outcome


def run_and_show(
    plan: Plan, *, address: str | None, cpus: float | None, tracking_uri: str | None, as_json: bool
) -> int:
    """Run the missing trials, then print the ranking, where records are stored, and the next command.

    Returns:
        The exit code.
    """
    from ablate.cli.views.live import View
    from ablate.run import Board, Cluster, job_of, run_on_ray, run_sweep

    refuse_assumed(plan)
    if address is None:
        refuse_infeasible(plan)
    refuse_several_gpus(plan)
    ERR.print(counts(plan))
    for warning in plan.warnings:
        ERR.print(f"note: {warning}", style="yellow")
    execute = partial(
        run_on_ray, cluster=Cluster(address=address, num_cpus=cpus), check=partial(refuse_infeasible, plan)
    )

    def view_of(current: Plan) -> View:
        return View(Board([job_of(current, p) for p in current.missing]), current.spec.study, ERR)

    outcome = run_sweep(plan, execute, view_of, tracking_uri)
    show_outcome(outcome, as_json=as_json)
    return outcome.exit_code


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Print the result of a sweep: the ranking, failed trials, where records are stored, the next command."""
    plan = outcome.plan
    if as_json:
        rankings = [ranking_rows(frame) for frame in outcome.rankings]
        ended = {"interrupted": outcome.interrupted, "failures": outcome.failed, "problem": outcome.problem}
        stored = {"records": str(plan.paths.folder), "store": outcome.store}
        return print_json(plan.to_json() | ended | stored | {"rankings": rankings})
    print_rankings(outcome.rankings)
    OUT.print(f"\n{counts(plan)}; ranked by {plan.metric}")
    for label, message in outcome.failed.items():
        ERR.print(f"failed: {label}: {message}", style="red")
    if outcome.failed:
        ERR.print(f"logs and tracebacks: {plan.paths.trials}; run the same command to retry them")
    if outcome.interrupted:
        ERR.print("interrupted; run the same command to continue with the missing trials", style="yellow")
    if outcome.problem:
        ERR.print(outcome.problem, style="yellow")
    OUT.print(f"records: {plan.paths.folder}   MLflow: {outcome.store}")
    study = plan.spec.study
    scales = plan.spec.labels
    again = f"ablate consistency --study {study}" if len(scales) > 1 else f"ablate ls {study}"
    OUT.print(f"next: {again}   or: ablate ui {study}")
