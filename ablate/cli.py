"""The command line: parse, call one function, print. The only importer of typer; heavy imports are inside.

Exit codes: 0 all done, 1 something failed, 2 wrong usage or spec, 3 cannot be satisfied, 130 interrupted.
"""

from __future__ import annotations

import io
import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.errors import AblateError, UsageError

if TYPE_CHECKING:
    from ablate.budget import Pricing
    from ablate.plan import Plan

app = typer.Typer(
    name="ablate",
    help="Choose video-LMM designs at small scale, train large once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Modality(StrEnum):
    """What the model was shown: the video, its centre frame, or the question alone."""

    VIDEO = "video"
    FRAME = "frame"
    TEXT = "text"


class Wide(StrEnum):
    """What the headers of a wide file's columns of scores hold."""

    SCALE = "scale"
    METRIC = "metric"
    SEED = "seed"


Spec = Annotated[str, typer.Argument(help="A sweep spec: a path, or the bare name of a shipped one.")]
Many = list[str] | None
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds instead of the spec's: 0,1,2")]
Scales = Annotated[str | None, typer.Option(help="Scales instead of the spec's: 0.15M,0.7M")]
Samples = Annotated[int | None, typer.Option(help="Training budget, where a study has several.", min=1)]
TrackingUri = Annotated[str | None, typer.Option(help="MLflow store; else $MLFLOW_TRACKING_URI, else runs/mlflow.db.")]


@app.command()
def sweep(
    spec: Spec,
    seeds: Seeds = None,
    scales: Scales = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials that would run; run none.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster (`auto`, ray://HOST); else this machine.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores of this machine to use.", min=1)] = None,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Run what is missing of a sweep: trials on Ray, records in runs/, metrics in MLflow."""
    from ablate import console
    from ablate.plan import refuse_infeasible

    planned = _plan(spec, seeds, scales)
    if dry_run:
        console.show_plan(planned, as_json=as_json)
        return refuse_infeasible(planned) if address is None else None
    code = console.run_and_show(planned, address=address, cpus=cpus, tracking_uri=tracking_uri, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def plan(
    spec: Spec,
    seeds: Seeds = None,
    scales: Scales = None,
    gpu: Annotated[str | None, typer.Option(help="Price against this GPU: h100-80gb, rtx4090-24gb, ...")] = None,
    utilisation: Annotated[float, typer.Option(help="Share of its peak that training reaches.", min=0.01, max=1)] = 0.4,
    max_gpus: Annotated[int, typer.Option(help="Most GPUs of one trial.", min=1)] = 64,
    noise: Annotated[float, typer.Option(help="Deviation between seeds, in points.", min=0.001)] = 1.0,
    as_json: Json = False,
) -> None:
    """Show what a sweep would run, what it is made of and takes. Starts nothing, writes nothing."""
    from ablate import console
    from ablate.budget import Pricing
    from ablate.gpus import gpu as gpu_named
    from ablate.plan import refuse_infeasible

    for name, value in (("--noise", noise), ("--utilisation", utilisation)):
        if not math.isfinite(value):
            raise UsageError(f"{name} {value}: give a number, e.g. {name} 0.5")
    pricing = Pricing(gpu=gpu_named(gpu) if gpu else None, utilisation=utilisation, max_gpus=max_gpus)
    planned = _plan(spec, seeds, scales, pricing, noise)
    console.show_plan(planned, as_json=as_json)
    if gpu is None:  # with one named the plan is for other machines than this
        refuse_infeasible(planned)


@app.command()
def consistency(
    study: Annotated[
        str | None, typer.Option(help="A study; else one of your own with these scales, else `apollo`.")
    ] = None,
    small: Annotated[str | None, typer.Option(help="Scale label; the study's smallest where left out.")] = None,
    large: Annotated[str | None, typer.Option(help="Scale label; the study's largest where left out.")] = None,
    metric: Annotated[str | None, typer.Option(help="benchmark/category; the study's own where left out.")] = None,
    modality: Annotated[Modality, typer.Option(help="What the model was shown.")] = Modality.VIDEO,
    samples: Samples = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the scatter to this .png, .pdf or .svg.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Read from this MLflow store instead of runs/.")] = None,
    as_json: Json = False,
) -> None:
    """Does the ranking of designs at a small scale foretell the ranking at a large one?"""
    from ablate import console
    from ablate.study import compare_scales, load_table, study_with_scales

    scores = load_table(study or study_with_scales(small, large), tracking_uri=tracking_uri, samples=samples)
    result = compare_scales(scores, small, large, metric=metric, modality=modality.value)
    console.show_consistency(result, plot=plot, as_json=as_json)


@app.command()
def ls(
    study: Annotated[str | None, typer.Argument(help="Rank the designs of this study.")] = None,
    metric: Annotated[str | None, typer.Option(help="benchmark/category; the study's own where left out.")] = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """List the studies, or rank the designs of one."""
    from ablate import console

    if study is None:
        console.show_studies(as_json=as_json)
    else:
        console.show_ranking(study, metric=metric, samples=samples, as_json=as_json)


@app.command()
def ui(
    study: Annotated[str | None, typer.Argument(help="Show this study's compare link.")] = None,
    port: Annotated[int, typer.Option(help="The next free one is taken where it is busy.", min=1, max=65535)] = 5000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare runs in the MLflow UI, served on 127.0.0.1."""
    from ablate import console

    console.serve_ui(study, port=port, browser=browser, tracking_uri=tracking_uri)


@app.command()
def sync(
    study: Annotated[str, typer.Argument(help="A study below runs/.")],
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Bring MLflow in step with the trial folders; rebuilds a store that was lost."""
    from ablate import console

    console.sync_and_show(study, tracking_uri=tracking_uri, as_json=as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV or TSV with design, scale, score; optional seed, benchmark, ...")],
    study: Annotated[str, typer.Option(help="The study that takes the scores.")],
    column: Annotated[Many, typer.Option(metavar="OURS=THEIRS", help="Its name there: design=variant")] = None,
    axis: Annotated[Many, typer.Option(metavar="[AXIS=]THEIRS", help="An axis of the designs: mix=data_mix")] = None,
    constant: Annotated[Many, typer.Option(metavar="OURS=VALUE", help="Of all rows: scale=7B")] = None,
    rename: Annotated[Many, typer.Option(metavar="OURS:THEIRS=VALUE", help="scale:Qwen2-7B-Instruct=7B")] = None,
    ignore: Annotated[Many, typer.Option(metavar="THEIRS", help="A column to leave out.")] = None,
    ignore_rest: Annotated[bool, typer.Option("--ignore-rest", help="Leave out what no option names.")] = False,
    wide: Annotated[Wide | None, typer.Option(help="Scores stand in several columns, whose headers are this.")] = None,
    columns: Annotated[Many, typer.Option(metavar="HEADER[=VALUE],...", help="Those columns: 1.5B,7B")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="The scores are losses.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite scores imported before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is understood; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take in scores of trials that ran elsewhere, from a table as it is: docs/import.md."""
    from ablate import console
    from ablate.import_preview import preview
    from ablate.imports import import_scores
    from ablate.score_layout import LayoutOptions

    options = LayoutOptions(column, axis, constant, rename, ignore, columns, wide=wide, ignore_rest=ignore_rest)
    layout = options.layout()
    if dry_run:
        seen = preview(file, study, layout, lower_is_better=lower_is_better)
        return console.show_preview(seen, as_json=as_json)
    done = import_scores(file, study, layout, lower_is_better=lower_is_better, replace=replace)
    console.show_import(done, study, as_json=as_json)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
) -> None:
    """JSON Schema of a sweep spec, for editors to complete it."""
    from ablate.spec import json_schema

    text = json.dumps(json_schema(), indent=1)
    if output is None:
        print(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def _plan(spec: str, seeds: str | None, scales: str | None, pricing: Pricing | None = None, noise: float = 1.0) -> Plan:
    from ablate.paths import find_spec
    from ablate.plan import make_plan
    from ablate.spec import load_spec

    try:
        numbers = [int(piece) for piece in seeds.split(",")] if seeds is not None else None
    except ValueError:
        raise UsageError(f"--seeds {seeds}: give whole numbers with commas between, e.g. 0,1,2") from None
    labels = [piece.strip() for piece in scales.split(",")] if scales is not None else None
    return make_plan(load_spec(find_spec(spec), seeds=numbers, scales=labels), pricing, noise)


def main() -> None:
    """Entry point: an error that is meant for users is one line on stderr, and an exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without a sign shows its code instead of failing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except AblateError as error:
        print(f"ablate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `ablate ... | head`
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"ablate: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
