"""The output of `ablate plan`: a table of trials, totals and notes."""

from __future__ import annotations

from rich.measure import Measurement
from rich.table import Table

from ablate.cli.views.out import ERR, OUT, PIPE_WIDTH, print_json, short_number, table, three_digits
from ablate.plan import Plan, Planned, Price
from ablate.spec import NEVER_RETRIED, OpenConfig, duration_text

SHARED_COLUMNS = {
    "samples": "training samples",
    "nodes": "nodes",
    "CPU": "CPU",
    "GPU": "GPU",
    "LLM lr": "peak learning rate of the LLM",
    "vision": "vision parameters",
    "connector": "connector parameters",
    "LLM": "LLM parameters",
    "adapters": "adapter parameters",
    "frames": "frames a video",
    "visual": "visual tokens a video",
    "text": "text tokens a video",
}
"""Columns that move below the table where all trials have one value -> its description there."""
NARROW = ("key", "vision", "LLM", "adapters", "connector", "text", "frames", "visual", "samples", "nodes", "CPU", "GPU")
"""Columns that a narrow terminal leaves out, in this order, until the table fits; `--json` has them."""


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the trials of a sweep with status and costs, then totals and notes."""
    if as_json:
        return print_json(plan.to_json())
    has_nodes = any(p.nodes > 1 for p in plan.planned)
    rows = [_plan_row(p, has_nodes=has_nodes) for p in plan.planned]
    names = list(dict.fromkeys(name for row in rows for name in row))
    shared = {name: rows[0].get(name, "") for name in names if name in SHARED_COLUMNS}
    shared = {name: value for name, value in shared.items() if all(row.get(name) == value for row in rows)}
    rates = _rates_by_scale(plan) if "LLM lr" in names and "LLM lr" not in shared else None
    columns = [name for name in names if name not in shared and not (name == "LLM lr" and rates)]
    left_out = _print_fitting(columns, rows)
    if shared:
        OUT.print(f"each: {', '.join(f'{value} {SHARED_COLUMNS[name]}' for name, value in shared.items())}")
    if rates:
        OUT.print(f"{SHARED_COLUMNS['LLM lr']}: {rates}")
    if left_out:
        OUT.print(f"left out of the table for its width: {', '.join(left_out)} (--json has all)")
    OUT.print(f"\n{counts(plan)}")
    for line in (*_layouts(plan), *_limits(plan)):
        OUT.print(line)
    if plan.is_priced:
        _print_totals(plan)
    for note in [*(plan.notes() if plan.pricing else []), *plan.warnings]:
        ERR.print(f"note: {note}", style="yellow")


def _print_fitting(columns: list[str], rows: list[dict[str, str]]) -> list[str]:
    """Print the table, on a narrow terminal without some columns; returns these."""
    left_out: list[str] = []
    wide = OUT.options.update(width=PIPE_WIDTH)
    trials = _plan_table(columns, rows)
    for name in NARROW:
        if Measurement.get(OUT, wide, trials).maximum <= OUT.width:
            break
        if name in columns:
            left_out.append(name)
            trials = _plan_table([name for name in columns if name not in left_out], rows)
    OUT.print(trials)
    return left_out


def _rates_by_scale(plan: Plan) -> str | None:
    """The LLM's learning rate at each scale; None if trials of one scale differ."""
    labels: dict[str, list[str]] = {}
    for scale, rate in dict.fromkeys((p.trial.config.scale, _rate(p)) for p in plan.planned):
        labels.setdefault(rate, []).append(scale)
    scales = [scale for same in labels.values() for scale in same]
    if len(scales) > len(set(scales)):
        return None
    return ", ".join(f"{rate} at {' and '.join(same)}" for rate, same in labels.items())


def _rate(p: Planned) -> str:
    return f"{p.llm_rate:.2g}" if p.llm_rate else "frozen"


def _plan_table(names: list[str], rows: list[dict[str, str]]) -> Table:
    result = table(*names, right=[name for name in names if name not in ("trial", "key", "state")])
    for row in rows:
        result.add_row(*(row.get(name, "-") for name in names))
    return result


def _plan_row(p: Planned, *, has_nodes: bool) -> dict[str, str]:
    state = "done" if not p.is_missing else "run" if p.status == "new" else f"run again ({p.status})"
    samples = p.trial.config.samples
    row = {
        "trial": p.trial.label,
        "key": p.trial.key,
        "state": state,
        **({"samples": f"{samples:,}"} if samples is not None else {}),
        **({"nodes": f"{p.nodes}"} if has_nodes else {}),
        "CPU": f"{p.cpus:g}",
        "GPU": f"{p.gpus:g}",
    }
    if isinstance(p.trial.config, OpenConfig):
        return row | ({"GPU-h": three_digits(p.open_price.gpu_hours)} if p.open_price else {})
    return row | {"LLM lr": _rate(p)} | (_price_columns(p.price) if p.price else {})


def _price_columns(price: Price) -> dict[str, str]:
    """What a trial of ablate's own trainer is made of and costs."""
    columns = {
        "vision": short_number(price.params["vision"]),
        "connector": short_number(price.params["connector"]),
        "LLM": short_number(price.params["llm"]),
        **({"adapters": short_number(price.params["adapters"])} if "adapters" in price.params else {}),
        "frames": f"{price.frames:.0f}",
        "visual": f"{price.visual_tokens:.0f}",
        "text": f"{price.text_tokens:.0f}",
        "PFLOPs": three_digits(price.flops / 1e15),
    }
    if on := price.on_gpu:
        columns["GiB/GPU"] = f"{on.memory.peak / 2**30:.1f}{'*' * on.checkpointing}"
        columns |= {"GPUs": str(on.gpus), "GPU-h": three_digits(on.hours)}
    return columns


def _layouts(plan: Plan) -> list[str]:
    """How LLMs lie on the GPUs that trials ask for, in a line: the scales, and the layout that they share."""
    scales: dict[str, dict[str, None]] = {}
    for p in plan.planned:
        if p.layout is not None:
            scales.setdefault(str(p.layout), {})[p.trial.config.scale] = None
    texts = [f"{', '.join(names)}: LLM {layout}" for layout, names in scales.items()]
    return [f"layout: {'; '.join(texts)}"] if texts else []


def _limits(plan: Plan) -> list[str]:
    """What ends a trial or the sweep, and which failures are retried."""
    limits, retries = plan.spec.limits, plan.spec.retries.model_dump()
    times = {name: getattr(limits, name) for name in ("trial", "silence", "sweep")}
    texts = [f"{name} {duration_text(seconds)}" for name, seconds in times.items() if seconds is not None]
    texts += [f"{limits.gpu_hours:g} GPU-hours"] if limits.gpu_hours is not None else []
    texts += [f"{limits.failures} failures in a row"] if limits.failures is not None else []
    retried = [f"{name} {_times(number)}" for name, number in retries.items() if number]
    never = [*NEVER_RETRIED, *(name for name, number in retries.items() if not number)]
    return [
        f"limits: {', '.join(texts) or 'none'}",
        f"retried: {', '.join(retried) or 'no failure'}; never: {', '.join(never)}",
    ]


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _print_totals(plan: Plan) -> None:
    """Print the totals of the missing trials, and the differences between designs that the sweep can detect."""
    power = plan.power()
    on_gpus = [p.price.on_gpu for p in plan.planned if p.price and p.price.on_gpu]
    if plan.missing:
        OUT.print(_totals(plan, list(dict.fromkeys(on.gpu for on in on_gpus))))
    if any(p.price for p in plan.planned):
        OUT.print(_empty_positions(plan))
    # The unit of scores of the user's own trainer is not known.
    noise = f"{power.noise:g}" if plan.spec.is_open else f"{power.noise:g} point{'s' * (power.noise != 1)}"
    unit = f"in {plan.metric}" if plan.spec.is_open else "points"
    seeds = f"{power.seeds} seed{'s' * (power.seeds > 1)} detect{'s' * (power.seeds == 1)}"
    paired = f" ({power.detectable_paired:.1f} if the noise is estimated from them)" if power.detectable_paired else ""
    any_of = f", {power.detectable_any:.1f} between any of {power.designs} and a baseline" if power.designs > 2 else ""
    OUT.print(
        f"with an assumed standard deviation of {noise} between seeds, {seeds} a difference of "
        f"{power.detectable:.1f} {unit} between two designs{paired}{any_of} (5% level, 80% power)"
    )
    if any(on.checkpointing for on in on_gpus):
        OUT.print("* with gradient checkpointing, without which it does not fit")


def _empty_positions(plan: Plan) -> str:
    """The expected share of padding on each kind of device, over the trials."""
    shares = [p.price.empty_positions for p in plan.planned if p.price]
    names = {"cuda": "a GPU", "cpu": "a CPU"}
    texts = []
    for device, name in names.items():
        low, high = (f"{bound(one[device] for one in shares):.1%}" for bound in (min, max))
        texts.append(f"{low if low == high else f'{low} to {high}'} on {name}")
    return f"empty positions in micro-batches, expected: {', '.join(texts)}"


def _totals(plan: Plan, gpus: list[str]) -> str:
    """The totals of the missing trials in a line."""
    totals = plan.totals()
    unpriced = sum(p.price is None and p.open_price is None for p in plan.missing)
    line = "missing" + (f", without {unpriced} trials that are not priced" if unpriced else "")
    if plan.spec.is_open:
        samples = totals["samples"]
        return (
            f"{line}: "
            + (f"{short_number(samples)} samples; " if samples else "")
            + (f"{three_digits(totals['gpu_hours'] or 0)} GPU-hours")
        )
    line += ": " + ", ".join(
        f"{short_number(totals[name] or 0)} {name.replace('_', ' ')}"
        for name in ("samples", "frames", "visual_tokens", "text_tokens")
    )
    line += f"; {totals['flops'] or 0:.3g} FLOPs"
    if totals["weights_gib"]:
        line += f"; weights of {totals['weights_gib']:.1f} GiB to download"
    if totals["gpu_hours"] is not None and plan.pricing:
        line += f"; {three_digits(totals['gpu_hours'])} GPU-hours on {' and '.join(gpus)} at "
        line += f"{plan.pricing.utilisation:.0%} of its peak"
    return line


def counts(plan: Plan) -> str:
    """The numbers of declared, excluded, duplicate, done and missing trials in a line."""
    return (
        f"study {plan.spec.study}: {plan.declared} declared, {plan.excluded} excluded, {plan.duplicate} duplicate, "
        f"{plan.count('done')} done, {len(plan.missing)} missing"
        + (f" ({plan.count('failed')} failed before)" if plan.count("failed") else "")
        + (f", {plan.count('damaged')} damaged" if plan.count("damaged") else "")
    )
