"""`ablate sweep`, `attach`, `plan` and `schema`: commands on sweep specs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    address: options.Address = None,
    cpus: Annotated[float | None, typer.Option(help="Cores of this machine to use.", min=1)] = None,
    only: Annotated[
        options.Many, typer.Option(help="Run only this trial or design, or labels with *; may be repeated.")
    ] = None,
    priority: Annotated[options.Many, typer.Option(help="Run these trials first, as --only; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(help="Run at most this many missing trials.", min=1)] = None,
    max_running: Annotated[int | None, typer.Option(help="Most trials at a time.", min=1)] = None,
    nodes_may_come: options.NodesMayCome = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run without the terminal; see `ablate attach`.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Replace a driver of another machine that no longer runs.")
    ] = False,
    tracking_uri: options.TrackingUri = None,
    as_json: options.Json = False,
    detached: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the missing trials of a sweep: on Ray, with records in runs/ and metrics in MLflow."""
    from ablate.cli.views.driver import start_detached
    from ablate.cli.views.plan import show_plan
    from ablate.cli.views.sweep import run_and_show
    from ablate.plan import refuse_infeasible
    from ablate.run import Cluster, Options, Selection  # these load no Ray and no MLflow

    cluster = Cluster(address=address, num_cpus=cpus, nodes_may_come=nodes_may_come)
    selection = Selection(only=tuple(only or ()), priority=tuple(priority or ()), limit=limit)
    if detach and not dry_run:
        raise typer.Exit(start_detached(as_json=as_json))
    plan = _plan(spec, seeds, scales)
    if dry_run:
        selected = selection.within(plan)
        show_plan(selected, as_json=as_json)
        return refuse_infeasible(selected) if address is None else None
    run = Options(selection=selection, max_running=max_running, take_over=take_over, uri=tracking_uri)
    raise typer.Exit(run_and_show(plan, run, cluster, detached=detached, as_json=as_json))


def attach(
    study: Annotated[str | None, typer.Argument(help="A study below runs/; the one that runs if omitted.")] = None,
) -> None:
    """Follow a sweep that was started with --detach; `^C` leaves it running. Exits with the sweep's exit code."""
    from ablate.cli.views.driver import follow

    raise typer.Exit(follow(study))


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
    of: Annotated[
        Literal["spec", "trainer"],
        typer.Argument(help="`spec`: sweep specs. `trainer`: the files that a training program of your own writes."),
    ] = "spec",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
) -> None:
    """JSON Schema of a sweep spec, for completion in editors, or of the files of your own trainer."""
    if of == "spec":
        from ablate.spec import json_schema as schema_of
    else:
        from ablate.run import program_schema as schema_of

    text = json.dumps(schema_of(), indent=1)
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
