"""`ablate sweep`, `plan` and `schema`: commands on sweep specs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli import options
from ablate.errors import UsageError

if TYPE_CHECKING:
    from ablate.plan import Plan, Pricing


def sweep(
    spec: options.Spec,
    seeds: options.Seeds = None,
    scales: options.Scales = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials that would run; run none.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster: `auto` or HOST:PORT; this machine if omitted.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores of this machine to use.", min=1)] = None,
    tracking_uri: options.TrackingUri = None,
    as_json: options.Json = False,
) -> None:
    """Run the missing trials of a sweep: on Ray, with records in runs/ and metrics in MLflow."""
    from ablate.cli.views.plan import show_plan
    from ablate.cli.views.sweep import run_and_show
    from ablate.plan import refuse_infeasible

    plan = _plan(spec, seeds, scales)
    if dry_run:
        show_plan(plan, as_json=as_json)
        return refuse_infeasible(plan) if address is None else None
    raise typer.Exit(run_and_show(plan, address=address, cpus=cpus, tracking_uri=tracking_uri, as_json=as_json))


def plan(
    spec: options.Spec,
    seeds: options.Seeds = None,
    scales: options.Scales = None,
    gpu: options.GpuName = None,
    utilisation: Annotated[float, typer.Option(help="Share of peak that training reaches.", min=0.01, max=1)] = 0.4,
    max_gpus: Annotated[int, typer.Option(help="Most GPUs of one trial.", min=1)] = 64,
    noise: Annotated[float, typer.Option(help="Standard deviation between seeds, in points.", min=0.001)] = 1.0,
    as_json: options.Json = False,
) -> None:
    """Show the trials of a sweep and their costs. Starts nothing, writes nothing."""
    from ablate.cli.views.plan import show_plan
    from ablate.plan import Pricing, refuse_infeasible
    from ablate.plan import gpu as gpu_named

    for name, value in (("--noise", noise), ("--utilisation", utilisation)):
        if not math.isfinite(value):
            raise UsageError(f"{name} {value}: give a number, e.g. {name} 0.5")
    pricing = Pricing(gpu=gpu_named(gpu) if gpu else None, utilisation=utilisation, max_gpus=max_gpus)
    planned = _plan(spec, seeds, scales, pricing, noise)
    show_plan(planned, as_json=as_json)
    if gpu is None:  # a named GPU means a plan for other machines
        refuse_infeasible(planned)


def schema(
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
) -> None:
    """JSON Schema of a sweep spec, for completion in editors."""
    from ablate.spec import json_schema

    text = json.dumps(json_schema(), indent=1)
    if output is None:
        print(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def _plan(spec: str, seeds: str | None, scales: str | None, pricing: Pricing | None = None, noise: float = 1.0) -> Plan:
    from ablate.cli.views.data import show_indexing
    from ablate.plan import make_plan
    from ablate.spec import data_folders, find_spec, load_spec

    labels = [piece.strip() for piece in scales.split(",")] if scales is not None else None
    spec_of_sweep = load_spec(find_spec(spec), seeds=options.numbers("--seeds", seeds), scales=labels)
    show_indexing(data_folders(spec_of_sweep))
    return make_plan(spec_of_sweep, pricing, noise)
