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
    from ablate.plan import Plan, Pricing
    from analysis.promotion import Rule

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
    from ablate.cli.views import plan, sweep
    from ablate.plan import refuse_infeasible

    planned = _plan(spec, seeds, scales)
    if dry_run:
        plan.show_plan(planned, as_json=as_json)
        return refuse_infeasible(planned) if address is None else None
    code = sweep.run_and_show(planned, address=address, cpus=cpus, tracking_uri=tracking_uri, as_json=as_json)
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
    from ablate.cli.views import plan
    from ablate.plan import Pricing, refuse_infeasible
    from ablate.plan import gpu as gpu_named

    for name, value in (("--noise", noise), ("--utilisation", utilisation)):
        if not math.isfinite(value):
            raise UsageError(f"{name} {value}: give a number, e.g. {name} 0.5")
    pricing = Pricing(gpu=gpu_named(gpu) if gpu else None, utilisation=utilisation, max_gpus=max_gpus)
    planned = _plan(spec, seeds, scales, pricing, noise)
    plan.show_plan(planned, as_json=as_json)
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
    without: Annotated[str | None, typer.Option(help="Designs to leave out: v07,v14")] = None,
    within: Annotated[str | None, typer.Option(help="An axis: R2 within its values.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Compare an axis' values with this one: AXIS=VALUE.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Deviation of one run in points, if no seeds tell.")] = None,
    resolution: Annotated[float, typer.Option(help="Points that seeds should tell apart.")] = 1.0,
    half_width: Annotated[float, typer.Option(help="Of R2's interval, for the designs needed.")] = 0.1,
    plot: Annotated[Path | None, typer.Option(help="Draw scatter and R2 panels to this .png, .pdf or .svg.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Read from this MLflow store instead of runs/.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV row for each design on stdout.")] = False,
    as_json: Json = False,
) -> None:
    """Does the ranking of designs at a small scale foretell the ranking at a large one?"""
    from ablate.cli.views import consistency as consistency_view
    from ablate.study import load_study, predictions_held, report_on, study_with_scales
    from analysis.consistency import Request

    _refuse_empty(study=study, small=small, large=large, metric=metric, within=within, tracking_uri=tracking_uri)
    if as_csv and as_json:
        raise UsageError("--csv with --json: give one of them")
    for option, points in (("--noise", noise), ("--resolution", resolution)):
        if points is not None and not 1e-6 <= points <= 1e6:
            raise UsageError(f"{option} {points:g}: give points from 1e-6 to 1e6, e.g. {option} 1.5")
    if not 0 < half_width < 1:
        raise UsageError(f"--half-width {half_width:g}: R2 is between 0 and 1; give e.g. --half-width 0.1")
    asked = Request(
        small=small or "",
        large=large or "",
        metric=metric,
        modality=modality.value,
        without=tuple(_listed("--without", without)),
        within=within,
        baselines=_pairs("--baseline", baseline),
        noise=noise,
        resolution=resolution,
        half_width=half_width,
    )
    name = study or study_with_scales(small, large)
    scores = load_study(name, tracking_uri=tracking_uri, samples=samples)
    report = report_on(scores, asked)
    wish = consistency_view.Wish(plot=plot, as_json=as_json, as_csv=as_csv)
    consistency_view.show_report(report, predictions_held(scores, report), wish)


@app.command()
def promote(
    study: Annotated[str, typer.Option(help="The study whose designs are promoted.")],
    to: Annotated[str, typer.Option(help="The large scale: a label, or LABEL=HUB-ID-OR-FOLDER for one of your own.")],
    from_: Annotated[str | None, typer.Option("--from", help="Small scales: 0.5B,1.5B; else all smaller ones.")] = None,
    regret: Annotated[
        float | None, typer.Option(help="Smallest set of at most this expected regret, in points.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Smallest set that holds the winner with this chance.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="So many of the highest predicted scores.", min=1)] = None,
    budget: Annotated[float | None, typer.Option(help="What so many GPU-hours buy.")] = None,
    calibrate: Annotated[int | None, typer.Option(help="So many that tell most about the transfer.", min=1)] = None,
    next_: Annotated[bool, typer.Option("--next", help="The next training that is worth most for its cost.")] = False,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Replay policies where the large scale is known.")
    ] = False,
    blind: Annotated[bool, typer.Option("--blind", help="As if no score at the large scale were known.")] = False,
    launch: Annotated[bool, typer.Option("--launch", help="Run the sweep that is written.")] = False,
    designs: Annotated[
        str | None, typer.Option(help="A spec that declares designs whose scores were imported.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="benchmark/category; the study's own where left out.")] = None,
    modality: Annotated[Modality, typer.Option(help="What the model was shown.")] = Modality.VIDEO,
    samples: Samples = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the new trials: 0,1")] = "0",
    train: Annotated[
        int | None, typer.Option(help="Training samples of the new trials; else as before.", min=1)
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Price against this GPU: h100-80gb, rtx4090-24gb, ...")] = None,
    subsets: Annotated[int, typer.Option(help="Sub-studies that a backtest replays.", min=1)] = 200,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the choice, or with --backtest regret against cost, to this file.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The spec; else sweeps/STUDY.promoted-TO.yaml.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="Read from this MLflow store instead of runs/.")] = None,
    as_json: Json = False,
) -> None:
    """The designs worth their GPU-hours at a large scale, as the next sweep spec."""
    from ablate.cli.views import promotion as promotion_view
    from ablate.promotion import Ask

    _refuse_empty(study=study, metric=metric, designs=designs, gpu=gpu, tracking_uri=tracking_uri)
    wishes: dict[Rule, float | None]
    wishes = {"regret": regret, "confidence": confidence, "top-k": top_k, "budget": budget, "calibrate": calibrate}
    given: dict[str, object] = {"--backtest": backtest, "--launch": launch, "--json": as_json}
    given |= {"--output": output, "--plot": plot, "--designs": designs}
    given |= {f"--{rule}": value for rule, value in wishes.items()}
    promotion_view.refuse_unused(given, "--next" if next_ else "--backtest" if backtest else None)
    label, _, llm = to.partition("=")
    if "=" in to and not llm:
        raise UsageError(f"--to {to}: name a hub id or folder behind the =, or leave it out")
    ask = Ask(
        study=study,
        large=label,
        llm=llm or None,
        scales=tuple(_listed("--from", from_)),
        metric=metric,
        modality=modality.value,
        samples=samples,
        designs=designs,
        gpu=gpu,
        seeds=tuple(_seeds(seeds) or [0]),
        budget=train,
        blind=blind,
        tracking_uri=tracking_uri,
    )
    if backtest:
        return promotion_view.show_backtest(ask, subsets=subsets, plot=plot, as_json=as_json)
    policy = promotion_view.policy_of(wishes, is_next=next_)
    if next_:
        return promotion_view.show_next(ask, policy.value, as_json=as_json)
    wish = promotion_view.Wish(output=output, launch=launch, plot=plot, as_json=as_json)
    raise typer.Exit(promotion_view.promote_and_show(ask, policy, wish))


@app.command()
def ls(
    study: Annotated[str | None, typer.Argument(help="Rank the designs of this study.")] = None,
    metric: Annotated[str | None, typer.Option(help="benchmark/category; the study's own where left out.")] = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """List the studies, or rank the designs of one."""
    from ablate.cli.views import ranking

    if study is None:
        ranking.show_studies(as_json=as_json)
    else:
        ranking.show_ranking(study, metric=metric, samples=samples, as_json=as_json)


@app.command()
def ui(
    study: Annotated[str | None, typer.Argument(help="Show this study's compare link.")] = None,
    port: Annotated[int, typer.Option(help="The next free one is taken where it is busy.", min=1, max=65535)] = 5000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare runs in the MLflow UI, served on 127.0.0.1."""
    from ablate.cli.views import mlflow

    mlflow.serve_ui(study, port=port, browser=browser, tracking_uri=tracking_uri)


@app.command()
def sync(
    study: Annotated[str, typer.Argument(help="A study below runs/.")],
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Bring MLflow in step with the trial folders; rebuilds a store that was lost."""
    from ablate.cli.views import mlflow

    mlflow.sync_and_show(study, tracking_uri=tracking_uri, as_json=as_json)


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
    designs: Annotated[str | None, typer.Option(help="A spec that declares the designs by these names.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite scores imported before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is understood; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take in scores of trials that ran elsewhere, from a table as it is: docs/import.md."""
    from ablate.cli.views import imports
    from ablate.imports import LayoutOptions, import_scores, preview

    options = LayoutOptions(column, axis, constant, rename, ignore, columns, wide=wide, ignore_rest=ignore_rest)
    layout = options.layout()
    if dry_run:
        seen = preview(file, study, layout, lower_is_better=lower_is_better, designs=designs)
        return imports.show_preview(seen, as_json=as_json)
    done = import_scores(file, study, layout, lower_is_better=lower_is_better, replace=replace, designs=designs)
    imports.show_import(done, study, as_json=as_json)


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


def _seeds(text: str | None) -> list[int] | None:
    try:
        return [int(piece) for piece in text.split(",")] if text is not None else None
    except ValueError:
        raise UsageError(f"--seeds {text}: give whole numbers with commas between, e.g. 0,1,2") from None


def _listed(option: str, text: str | None) -> list[str]:
    """Names with commas between, each once."""
    names = [piece.strip() for piece in text.split(",") if piece.strip()] if text is not None else []
    if text is not None and not names:
        raise UsageError(f"{option} {text!r}: name one or more, with commas between, or leave it out")
    return list(dict.fromkeys(names))


def _refuse_empty(**options: str | None) -> None:
    """An empty name is most often a shell variable that is not set."""
    for name, value in options.items():
        if value is not None and not value.strip():
            raise UsageError(f"--{name.replace('_', '-')} {value!r} is empty: name one, or leave it out")


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """AXIS=VALUE, as often as the option is given."""
    for text in given or []:
        if "=" not in text:
            raise UsageError(f"{option} {text}: give AXIS=VALUE, e.g. {option} sampling=fps2")
    return dict(text.split("=", 1) for text in given or [])


def _plan(spec: str, seeds: str | None, scales: str | None, pricing: Pricing | None = None, noise: float = 1.0) -> Plan:
    from ablate.plan import make_plan
    from ablate.spec import find_spec, load_spec

    numbers = _seeds(seeds)
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
