"""The plan of a sweep as a table, its sums and its notes."""

from __future__ import annotations

from rich.measure import Measurement
from rich.table import Table

from ablate.cli.views.out import ERR, OUT, PIPE_WIDTH, print_json, short_number, table, three_digits
from ablate.plan import Plan, Planned

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
    state = "done" if not p.is_missing else "run" if p.status == "new" else f"run again ({p.status})"
    row = {
        "trial": p.trial.label,
        "key": p.trial.key,
        "state": state,
        "samples": f"{p.trial.config.samples:,}",
        "CPU": f"{p.cpus:g}",
        "GPU": f"{p.gpus:g}",
    }
    if p.price is None:
        return row
    row |= {
        "vision": short_number(p.price.params["vision"]),
        "connector": short_number(p.price.params["connector"]),
        "LLM": short_number(p.price.params["llm"]),
        "frames": f"{p.price.frames:.0f}",
        "visual": f"{p.price.visual_tokens:.0f}",
        "text": f"{p.price.text_tokens:.0f}",
        "PFLOPs": three_digits(p.price.flops / 1e15),
    }
    if on := p.price.on_gpu:
        row["GiB/GPU"] = f"{on.memory.peak / 2**30:.1f}{'*' * on.checkpointing}"
        row |= {"GPUs": str(on.gpus), "GPU-h": three_digits(on.hours)}
    return row


def _print_sums(plan: Plan) -> None:
    """What is missing in sum, what could be seen, what is assumed."""
    seen = plan.power()
    on_gpus = [p.price.on_gpu for p in plan.planned if p.price and p.price.on_gpu]
    if plan.missing:
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
    missing = sum(p.price is None for p in plan.missing)
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
        f"{plan.count('done')} done, {len(plan.missing)} to run"
        + (f" ({plan.count('failed')} failed before)" if plan.count("failed") else "")
    )
