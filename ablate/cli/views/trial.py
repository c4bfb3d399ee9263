"""The output of `ablate trial`: progress, the scores or the failure, and what a program lacks of the contract."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ablate.cli.views.data import show_indexing
from ablate.cli.views.out import ERR, OUT, print_json, table

if TYPE_CHECKING:
    from ablate.plan import Plan, Planned
    from ablate.record import AttemptFolder, Score
    from ablate.run import Progress, SingleOutcome, SmokeReport

LINE_S = 2.0
"""Seconds between two lines of progress in the same phase."""
STYLES = {"ok": "green", "failed": "red", "not checked": "yellow"}


def run_one_and_show(spec: str, label: str, *, limit_s: float | None, as_json: bool) -> int:
    """Run one trial of a sweep and print its scores, or why it failed.

    Returns:
        The exit code.
    """
    from ablate.run import run_single

    plan, planned = _planned(spec, label)
    outcome = run_single(plan, planned, limit_s, _show_start, ProgressLines())
    if outcome.rank:
        return outcome.exit_code  # the first process reports to people
    if as_json:
        print_json(_as_json(plan, planned, outcome))
    else:
        _show_outcome(plan, planned, outcome)
    return outcome.exit_code


def smoke_and_show(spec: str, label: str, *, limit_s: float | None, as_json: bool) -> int:
    """Run a trial with a limit, without a record in the study, and print what is missing of the contract.

    Returns:
        The exit code: 1 if something is missing.
    """
    from ablate.run import check_contract, job_of

    plan, planned = _planned(spec, label)
    try:
        report = check_contract(job_of(plan, planned), limit_s, ProgressLines())
    except KeyboardInterrupt:
        ERR.print("interrupted; the program was ended", style="yellow")
        return 130
    if as_json:
        checks = [asdict(check) for check in report.checks]
        print_json({"trial": planned.trial.label, "files": str(report.attempt.path), "checks": checks})
    else:
        _show_smoke(planned, report)
    return report.exit_code


def _planned(spec: str, label: str) -> tuple[Plan, Planned]:
    """The plan of a spec and the trial with a label, after the refusals of `ablate sweep` for this trial."""
    from ablate.environment import available
    from ablate.plan import make_plan, refuse_assumed, refuse_infeasible
    from ablate.run import find_trial
    from ablate.spec import data_folders, find_spec, load_spec

    spec_of_sweep = load_spec(find_spec(spec))
    show_indexing(data_folders(spec_of_sweep))
    plan = make_plan(spec_of_sweep)
    planned = find_trial(plan, label)
    alone = replace(plan, planned=[planned])
    refuse_assumed(alone)
    # Started as one of several processes, this one knows nothing of the other nodes.
    refuse_infeasible(alone, [available()] * (planned.nodes if "RANK" in os.environ and not plan.spec.is_open else 1))
    return plan, planned


class ProgressLines:
    """Prints progress as lines on stderr: one for each phase, and one each `LINE_S` seconds."""

    def __init__(self) -> None:
        self._latest: Progress | None = None
        self._printed_at = 0.0

    def __call__(self, progress: Progress) -> None:
        is_new_phase = self._latest is None or progress.phase != self._latest.phase
        is_due = time.monotonic() - self._printed_at >= LINE_S and progress != self._latest
        if progress.phase in ("done", "failed") or not (is_new_phase or is_due):
            return
        self._latest, self._printed_at = progress, time.monotonic()
        step = f" {progress.step}/{progress.steps}" if progress.steps else f" {progress.step}" if progress.step else ""
        loss = f"  loss {progress.loss:.3f}" if progress.loss is not None else ""
        rate = f"  {progress.samples_per_s:.0f} samples/s" if progress.samples_per_s else ""
        detail = f": {progress.detail}" if progress.detail else ""
        ERR.print(f"{time.strftime('%H:%M:%S')} {progress.phase}{detail}{step}{loss}{rate}")


def _show_start(attempt: AttemptFolder) -> None:
    ERR.print(f"log and output: {attempt.path}")


def _as_json(plan: Plan, planned: Planned, outcome: SingleOutcome) -> dict[str, object]:
    return {
        "study": plan.spec.study,
        "trial": planned.trial.label,
        "key": planned.trial.key,
        "ran": outcome.attempt is not None,
        "scores": [asdict(score) for score in outcome.result.scores] if outcome.result else [],
        "failure": {"class": outcome.failure.kind, "message": outcome.failure.message} if outcome.failure else None,
        "records": str(plan.paths.trials / planned.trial.key),
    }


def _show_outcome(plan: Plan, planned: Planned, outcome: SingleOutcome) -> None:
    label = planned.trial.label
    if outcome.attempt is None:
        ERR.print(f"{label} was done before; a finished trial never runs again")
    if outcome.result is not None:
        print_scores(outcome.result.scores)
        OUT.print(f"{label}: done in {outcome.result.seconds:.1f} s; records: {plan.paths.trials / planned.trial.key}")
        OUT.print(f"next: ablate ls {plan.spec.study}   or, for MLflow: ablate sync {plan.spec.study}")
    elif outcome.failure is not None and outcome.failure.kind == "interrupted":
        ERR.print(f"{label}: interrupted; run the same command to start it again", style="yellow")
    elif outcome.failure is not None:
        ERR.print(f"failed ({outcome.failure.kind}): {label}: {outcome.failure.message}", style="red")


def print_scores(scores: Iterable[Score]) -> None:
    """Print a table of scores."""
    rows = table("benchmark", "category", "input", "score", right=("score",))
    for score in scores:
        rows.add_row(score.benchmark, score.category, score.modality, f"{score.score:.2f}")
    OUT.print(rows)


def _show_smoke(planned: Planned, report: SmokeReport) -> None:
    for check in report.checks:
        OUT.print(f"{check.verdict:11} {check.name}: {check.text}", style=STYLES[check.verdict])
    OUT.print(f"{planned.trial.label}: nothing is recorded in the study; files of this run: {report.attempt.path}")
