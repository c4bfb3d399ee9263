"""What people see of each command, and its --json twin. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ablate.errors import UsageError
from ablate.paths import runs_root, study_paths
from ablate.plan import Plan, Planned, refuse_assumed, refuse_infeasible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ablate.import_preview import Preview
    from ablate.imports import Imported
    from ablate.sweep import Outcome

TOLD_ONCE = {
    "samples": "samples",
    "CPU": "CPU",
    "GPU": "GPU",
    "vision": "parameters of vision",
    "connector": "of the connector",
    "LLM": "of the LLM",
    "frames": "frames a video",
    "visual": "visual tokens a video",
    "text": "text tokens beside them",
}
"""Columns of a plan that are left out where all trials agree, and how what they agree on is put."""
PIPE_WIDTH = 1000  # what is piped is not cut
OUT = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
ERR = Console(stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_json(data: Any) -> None:
    """One object on stdout."""
    print(json.dumps(data, indent=1, allow_nan=False))


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """A plain table in the house style."""
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    return result


def save_plot(draw: Callable[[], Figure], path: Path) -> None:
    """Draw and write a figure.

    Raises:
        UsageError: not a format that can be drawn, or the folder is missing.
    """
    from analysis.figures import save_figure

    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--plot {path}: use .png, .pdf or .svg")
    try:
        save_figure(draw(), path)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror}") from None


# --- plan ------------------------------------------------------------------------------------------


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """The trials of a sweep and what would be done with each."""
    if as_json:
        return print_json(plan.to_json())
    rows = [_plan_row(p) for p in plan.planned]
    names = list(dict.fromkeys(name for row in rows for name in row))
    once = {name: rows[0].get(name, "") for name in names if name in TOLD_ONCE}
    once = {name: told for name, told in once.items() if all(row.get(name) == told for row in rows)}
    shown = [name for name in names if name not in once]
    trials = _plan_table(shown, rows)
    needed = Measurement.get(OUT, OUT.options.update(width=PIPE_WIDTH), trials).maximum
    if needed > OUT.width:  # a narrow terminal: --json has the keys
        trials = _plan_table([name for name in shown if name != "key"], rows)
    OUT.print(trials)
    if once:
        OUT.print(f"each: {', '.join(f'{told} {TOLD_ONCE[name]}' for name, told in once.items())}")
    OUT.print(f"\n{counts(plan)}")
    if plan.is_priced:
        _print_sums(plan)
    for note in [*(plan.notes() if plan.pricing else []), *plan.warnings]:
        ERR.print(f"note: {note}", style="yellow")


def _plan_table(names: list[str], rows: list[dict[str, str]]) -> Table:
    result = table(*names, right=[name for name in names if name not in ("trial", "key", "state")])
    for row in rows:
        result.add_row(*(row.get(name, "-") for name in names))
    return result


def _plan_row(p: Planned) -> dict[str, str]:
    state = "done" if not p.to_run else "run" if p.status == "new" else f"run again ({p.status})"
    row = {
        "trial": p.trial.label,
        "key": p.trial.key,
        "state": state,
        "samples": f"{p.trial.config.samples:,}",
        "CPU": f"{p.cpus:g}",
        "GPU": f"{p.gpus:g}",
    }
    if p.budget is None:
        return row
    row |= {
        "vision": short_number(p.budget.params["vision"]),
        "connector": short_number(p.budget.params["connector"]),
        "LLM": short_number(p.budget.params["llm"]),
        "frames": f"{p.budget.frames:.0f}",
        "visual": f"{p.budget.visual_tokens:.0f}",
        "text": f"{p.budget.text_tokens:.0f}",
        "PFLOPs": three_digits(p.budget.flops / 1e15),
    }
    if on := p.budget.on_gpu:
        row["GiB/GPU"] = f"{on.memory.peak / 2**30:.1f}{'*' * on.checkpointing}"
        row |= {"GPUs": str(on.gpus), "GPU-h": three_digits(on.hours)}
    return row


def short_number(count: float) -> str:
    """1.23M, 4.5B: three digits."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{three_digits(count / size)}{unit}"
    return three_digits(count)


def three_digits(value: float) -> str:
    """Three digits, or all before the point, with commas: 0.00472, 49.4, 1,234."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _print_sums(plan: Plan) -> None:
    """What is missing in sum, what could be seen, what is assumed."""
    seen = plan.power()
    on_gpus = [p.budget.on_gpu for p in plan.planned if p.budget and p.budget.on_gpu]
    if plan.to_run:
        OUT.print(_sums(plan, list(dict.fromkeys(on.gpu for on in on_gpus))))
    seeds = f"{seen.seeds} seed{'s' * (seen.seeds > 1)} show{'s' * (seen.seeds == 1)}"
    found = f"; {seen.detectable_paired:.1f} if these seeds must tell it" if seen.detectable_paired else ""
    any_of = f", {seen.detectable_any:.1f} between any of {seen.designs} and a baseline" if seen.designs > 2 else ""
    OUT.print(
        f"with a seed noise of {seen.noise:g} points, taken for known, {seeds} a difference of {seen.detectable:.1f} "
        f"points between two designs{found}{any_of} (5% level, 80% power)"
    )
    if any(on.checkpointing for on in on_gpus):
        OUT.print("* with gradient checkpointing, without which it does not fit")


def _sums(plan: Plan, gpus: list[str]) -> str:
    totals = plan.totals()
    missing = sum(p.budget is None for p in plan.to_run)
    told = "to run" + (f", without {missing} trials that are not priced" if missing else "")
    told += ": " + ", ".join(
        f"{short_number(totals[name] or 0)} {name.replace('_', ' ')}"
        for name in ("samples", "frames", "visual_tokens", "text_tokens")
    )
    told += f"; {totals['flops'] or 0:.3g} FLOPs"
    if totals["weights_gib"]:
        told += f"; weights of {totals['weights_gib']:.1f} GiB to fetch"
    if totals["gpu_hours"] is not None and plan.pricing:
        told += f"; {three_digits(totals['gpu_hours'])} GPU-hours on {' and '.join(gpus)} at "
        told += f"{plan.pricing.utilisation:.0%} of its peak"
    return told


def counts(plan: Plan) -> str:
    """What was declared and what becomes of it, in a line."""
    return (
        f"study {plan.spec.study}: {plan.declared} declared, {plan.excluded} excluded, {plan.duplicate} duplicate, "
        f"{plan.count('done')} done, {len(plan.to_run)} to run"
        + (f" ({plan.count('failed')} failed before)" if plan.count("failed") else "")
    )


# --- ranking ---------------------------------------------------------------------------------------


def show_ranking(study: str, *, metric: str | None, samples: int | None, as_json: bool) -> None:
    """Designs ranked at each scale of a study."""
    from ablate.study import load_table, rankings

    frames = rankings(load_table(study, samples=samples), metric)
    if as_json:
        return print_json({"study": study, "rankings": [_records(frame) for frame in frames]})
    print_rankings(frames)


def print_rankings(frames: list[pd.DataFrame]) -> None:
    """A table a scale: mean and spread over seeds, then each category."""
    for frame in frames:
        categories = [c for c in frame.columns if "/" in c]
        shown = [c.split("/", 1)[1] for c in categories]
        rows = table("", "design", "score", "+-", "seeds", *shown, right=("score", "+-", "seeds", *shown))
        for row in frame.to_dict("records"):
            spread = f"{row['sd']:.1f}" if row["sd"] == row["sd"] else ""
            cells = [f"{row[c]:.1f}" if row[c] == row[c] else "" for c in categories]
            rows.add_row(str(row["rank"]), row["design"], f"{row['mean']:.1f}", spread, str(row["seeds"]), *cells)
        OUT.print(Text(f"\n{frame['scale'].iloc[0]}", style="bold"))
        OUT.print(rows)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]


def show_studies(*, as_json: bool) -> None:
    """The studies below runs/, and the built-in one."""
    from ablate.study import overview

    rows = overview()
    if as_json:
        return print_json({"runs": str(runs_root()), "studies": rows})
    shown = table("study", "designs", "scales", "done", "failed", right=("designs", "done", "failed"))
    for row in rows:
        numbers = (str(row[name]) for name in ("designs", "done", "failed"))
        designs, done, failed = numbers
        shown.add_row(row["study"], designs, ", ".join(row["scales"]), done, failed)
    OUT.print(shown)


# --- the sweep -------------------------------------------------------------------------------------


def show_import(done: Imported, study: str, *, as_json: bool) -> None:
    """What was taken in."""
    if as_json:
        return print_json({"study": study} | vars(done))
    known = f"{done.unchanged} of them known before, {done.skipped} rows without a score"
    OUT.print(f"study {study}: {done.trials} trials, {known}")
    OUT.print(f"next: ablate consistency --study {study}   or: ablate promote --study {study} --to SCALE")
    for note in done.notes:
        ERR.print(f"note: {note}", style="yellow")


def show_preview(seen: Preview, *, as_json: bool) -> None:
    """What an import would take in, with the first rows as a tidy file has them."""
    if as_json:
        return print_json(vars(seen))
    OUT.print("\n".join(seen.lines()) + "\n")
    names = list(dict.fromkeys(name for row in seen.rows for name in row))
    rows = table(*names, right=("seed", "samples", "score"))
    for row in seen.rows:
        rows.add_row(*("" if row.get(name) is None else str(row[name]) for name in names))
    OUT.print(rows)
    OUT.print("\nnothing was written; the same without --dry-run takes it in")
    for note in seen.notes:
        ERR.print(f"note: {note}", style="yellow")


def run_and_show(
    plan: Plan, *, address: str | None, cpus: float | None, tracking_uri: str | None, as_json: bool
) -> int:
    """Run what is missing, then show the ranking, where it is stored and what to type next; returns the exit code."""
    from ablate.launch import Cluster, run_on_ray
    from ablate.live import Board, View
    from ablate.plan import job_of
    from ablate.sweep import run_sweep

    refuse_assumed(plan)
    if address is None:
        refuse_infeasible(plan)
    ERR.print(counts(plan))
    for warning in plan.warnings:
        ERR.print(f"note: {warning}", style="yellow")
    execute = partial(
        run_on_ray, cluster=Cluster(address=address, num_cpus=cpus), check=partial(refuse_infeasible, plan)
    )

    def view_of(current: Plan) -> View:
        return View(Board([job_of(current, p) for p in current.to_run]), current.spec.study, ERR)

    outcome = run_sweep(plan, execute, view_of, tracking_uri)
    show_outcome(outcome, as_json=as_json)
    return outcome.exit_code


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """How a sweep ended: the ranking, what failed, where all is, the next command."""
    plan = outcome.plan
    if as_json:
        rankings = [_records(frame) for frame in outcome.rankings]
        ended = {"interrupted": outcome.interrupted, "failures": outcome.lost, "problem": outcome.problem}
        stored = {"records": str(plan.paths.folder), "store": outcome.store}
        return print_json(plan.to_json() | ended | stored | {"rankings": rankings})
    print_rankings(outcome.rankings)
    OUT.print(f"\n{counts(plan)}; ranked by {plan.metric}")
    for label, message in outcome.lost.items():
        ERR.print(f"failed: {label}: {message}", style="red")
    if outcome.lost:
        ERR.print(f"logs and tracebacks: {plan.paths.trials}; the same command tries them again")
    if outcome.interrupted:
        ERR.print("interrupted; the same command goes on with what is missing", style="yellow")
    if outcome.problem:
        ERR.print(outcome.problem, style="yellow")
    OUT.print(f"records: {plan.paths.folder}   MLflow: {outcome.store}")
    study = plan.spec.study
    scales = plan.spec.labels
    again = f"ablate consistency --study {study}" if len(scales) > 1 else f"ablate ls {study}"
    OUT.print(f"next: {again}   or: ablate ui {study}")


# --- MLflow ----------------------------------------------------------------------------------------


def sync_and_show(study: str, *, tracking_uri: str | None, as_json: bool) -> None:
    """Bring MLflow in step with the folders, and say what changed.

    Raises:
        UsageError: no such study.
    """
    from ablate.record import sole_driver
    from ablate.study import no_such_study
    from ablate.tracking import sync

    paths = study_paths(study)
    if not paths.trials.is_dir():
        raise UsageError(no_such_study(study))
    with sole_driver(paths):
        done = sync(paths, tracking_uri)
    if as_json:
        return print_json({"study": study} | asdict(done))
    OUT.print(f"study {study}: {done.created} runs created, {done.updated} updated, {done.unchanged} unchanged")
    if done.duplicates:
        ERR.print(f"note: MLflow holds more than one run of {', '.join(done.duplicates)}", style="yellow")


def serve_ui(study: str | None, *, port: int, browser: bool, tracking_uri: str | None) -> None:
    """Serve MLflow's pages until `^C`; print and open the study's links."""
    from ablate.study import own_metric
    from ablate.ui import pages, serving, wait

    if study is not None:
        pages(study, "", tracking_uri, own_metric(study))  # a study that does not exist is told before a server starts
    with serving(tracking_uri, port) as base:
        if study is None:
            OUT.print(f"MLflow: {base}")
        else:
            links = pages(study, base, tracking_uri, own_metric(study))
            OUT.print(f"compare: {links.compare or 'no trial has finished yet'}")
            OUT.print(f"runs:    {links.runs}")
            if links.note:
                ERR.print(f"note: {links.note}", style="yellow")
            if browser:
                links.open()
        ERR.print("^C stops the server")
        wait()
