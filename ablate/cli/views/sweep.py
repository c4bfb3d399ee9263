"""The output of `ablate sweep`: while it runs, and when it has ended."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ablate.cli.views.driver import write_to_log
from ablate.cli.views.out import ERR, OUT, print_json
from ablate.cli.views.plan import counts
from ablate.cli.views.ranking import print_rankings, ranking_rows
from ablate.plan import Plan, refuse_assumed, refuse_infeasible
from ablate.record import LEASE_S, silence_s

if TYPE_CHECKING:
    from ablate.cli.views.live import View
    from ablate.run import Cluster, Job, Options, Outcome

MOST_NAMES = 10
"""Most labels in a message."""


def run_and_show(
    plan: Plan, options: Options, cluster: Cluster, *, detached: int | None = None, as_json: bool = False
) -> int:
    """Run the missing trials, then print the ranking, where records are stored, and the next command.

    Args:
        plan: the sweep.
        options: which trials run, and how.
        cluster: where it runs.
        detached: the pipe of `start_detached`, if it has started this process.
        as_json: print one JSON object instead of tables.

    Returns:
        The exit code.
    """
    from ablate.run import run_on_ray, run_sweep

    _refuse(selected := options.selection.within(plan), cluster.address)
    if detached is not None:
        os.set_inheritable(detached, False)
        options = replace(options, claimed=partial(write_to_log, paths=plan.paths, ready=detached))
    execute = partial(run_on_ray, cluster=cluster, check=partial(refuse_infeasible, selected))
    if options.take_over and (silence_s(plan.paths) or 0.0) >= LEASE_S:
        ERR.print(f"--take-over: watching for {LEASE_S:.0f} s whether the other driver still runs")
    outcome = run_sweep(plan, execute, partial(_view, plan, options), options)
    try:
        show_outcome(outcome, as_json=as_json)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
    return outcome.exit_code  # also with `| head` and after the terminal was closed: it is that of the sweep


def _refuse(plan: Plan, address: str | None) -> None:
    """Refuse what cannot run, before anything is written.

    Raises:
        AblateError: the data are only assumed, a trial needs more than there is, or no cluster has the address.
    """
    refuse_assumed(plan)
    if address is None:
        refuse_infeasible(plan)
    if address is not None and plan.missing:
        from ablate.run import check_address

        check_address(address)


def _view(plan: Plan, options: Options, jobs: list[Job]) -> View:
    """Print what is going to run, and make the view of it."""
    from ablate.cli.views.live import View
    from ablate.run import Board

    ERR.print(counts(plan))
    if len(jobs) < len(plan.missing):
        ERR.print(f"{len(jobs)} of the missing trials are selected")
    for warning in plan.warnings:
        ERR.print(f"note: {warning}", style="yellow")
    return View(Board(jobs, max_running=options.max_running), plan.spec.study, ERR)


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Print the result of a sweep: the ranking, failed trials, where records are stored, the next command."""
    plan = outcome.plan
    if as_json:
        rankings = [ranking_rows(frame) for frame in outcome.rankings]
        ended = {
            "selected": outcome.selected,
            "unfinished": outcome.unfinished,
            "interrupted": outcome.interrupted,
            "stopped": outcome.stopped,
            "failures": outcome.failed,
            "notes": outcome.notes,
            "problem": outcome.problem or outcome.mirror.problem,
        }
        stored = {"records": str(plan.paths.folder), "store": outcome.mirror.uri, "missed": outcome.mirror.missed}
        return print_json(plan.to_json() | ended | stored | {"rankings": rankings})
    print_rankings(outcome.rankings)
    OUT.print(f"\n{counts(plan)}; ranked by {plan.metric}")
    _show_problems(outcome)
    OUT.print(f"records: {plan.paths.folder}   MLflow: {outcome.mirror.uri}")
    study = plan.spec.study
    scales = plan.spec.labels
    again = f"ablate consistency --study {study}" if len(scales) > 1 else f"ablate ls {study}"
    OUT.print(f"next: {again}   or: ablate ui {study}")


def _show_problems(outcome: Outcome) -> None:
    """Print what is missing, and why."""
    for label, message in outcome.failed.items():
        ERR.print(f"failed: {label}: {message}", style="red")
    if outcome.failed:
        ERR.print(f"logs and tracebacks: {outcome.plan.paths.trials}; run the same command to retry them")
    if outcome.interrupted:
        ERR.print("interrupted; run the same command to continue with the missing trials", style="yellow")
    if outcome.stopped:
        ERR.print(f"stopped: {outcome.stopped}", style="red")
    never_ran = [label for label in outcome.unfinished if label not in outcome.failed]
    if never_ran and not outcome.interrupted:
        more = f" and {len(never_ran) - MOST_NAMES} more" if len(never_ran) > MOST_NAMES else ""
        ERR.print(f"not done: {', '.join(never_ran[:MOST_NAMES])}{more}", style="yellow")
    for label, error in outcome.notes.items():
        ERR.print(f"note: {label}: {error}; its training was not affected", style="yellow")
    for problem in (outcome.problem, outcome.mirror.problem):
        if problem:
            ERR.print(problem, style="yellow")
