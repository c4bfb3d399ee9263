"""`ablate promote`, `next` and `backtest`: decisions about the large scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli import options
from ablate.errors import UsageError

if TYPE_CHECKING:
    from analysis.promotion import Rule


def promote(
    study: options.Study,
    to: options.To,
    from_: options.From = None,
    regret: Annotated[
        float | None, typer.Option(help="Smallest set with at most this expected regret, in points.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Smallest set that contains the best design with this probability.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="This many of the highest predicted scores.", min=1)] = None,
    gpu_hours: Annotated[float | None, typer.Option(help="The best set within this many GPU-hours.")] = None,
    calibrate: Annotated[
        int | None, typer.Option(help="This many that are most informative about the transfer.", min=1)
    ] = None,
    blind: options.Blind = False,
    launch: Annotated[bool, typer.Option("--launch", help="Run the written sweep.")] = False,
    designs: options.Declared = None,
    metric: options.Metric = None,
    modality: options.Input = options.Modality.VIDEO,
    samples: options.Samples = None,
    seeds: options.NewSeeds = "0",
    train_samples: options.TrainSamples = None,
    gpu: options.GpuName = None,
    plot: options.Plot = None,
    output: Annotated[Path | None, typer.Option(help="The spec; sweeps/STUDY.promoted-TO.yaml if omitted.")] = None,
    tracking_uri: options.ReadUri = None,
    as_json: options.Json = False,
) -> None:
    """Choose the designs to train at a large scale, and write them as a sweep spec."""
    from ablate.cli.views.promotion import Output, policy_of, promote_and_show
    from ablate.promotion import Request

    options.refuse_empty(study=study, metric=metric, designs=designs, gpu=gpu, tracking_uri=tracking_uri)
    if launch and as_json:
        raise UsageError(
            "--launch with --json would print two objects: promote with --json, then `ablate sweep SPEC --json`"
        )
    rules: dict[Rule, float | None]
    rules = {"regret": regret, "confidence": confidence, "top-k": top_k}
    rules |= {"gpu-hours": gpu_hours, "calibrate": calibrate}
    large, llm = options.labelled_scale(to)
    request = Request(
        study=study,
        large=large,
        llm=llm,
        scales=tuple(options.names("--from", from_)),
        metric=metric,
        modality=modality.value,
        samples=samples,
        designs=designs,
        gpu=gpu,
        seeds=tuple(options.numbers("--seeds", seeds) or [0]),
        train_samples=train_samples,
        blind=blind,
        tracking_uri=tracking_uri,
    )
    destination = Output(path=output, launch=launch, plot=plot, as_json=as_json)
    raise typer.Exit(promote_and_show(request, policy_of(rules), destination))


def next_(
    study: options.Study,
    to: options.To,
    from_: options.From = None,
    regret: Annotated[float, typer.Option(help="Stop at this expected regret, in points.")] = 0.25,
    blind: options.Blind = False,
    designs: options.Declared = None,
    metric: options.Metric = None,
    modality: options.Input = options.Modality.VIDEO,
    samples: options.Samples = None,
    seeds: options.NewSeeds = "0",
    train_samples: options.TrainSamples = None,
    gpu: options.GpuName = None,
    tracking_uri: options.ReadUri = None,
    as_json: options.Json = False,
) -> None:
    """Recommend the training that is worth most for its cost, or to stop."""
    from ablate.cli.views.promotion import policy_of, show_next
    from ablate.promotion import Request

    options.refuse_empty(study=study, metric=metric, designs=designs, gpu=gpu, tracking_uri=tracking_uri)
    large, llm = options.labelled_scale(to)
    request = Request(
        study=study,
        large=large,
        llm=llm,
        scales=tuple(options.names("--from", from_)),
        metric=metric,
        modality=modality.value,
        samples=samples,
        designs=designs,
        gpu=gpu,
        seeds=tuple(options.numbers("--seeds", seeds) or [0]),
        train_samples=train_samples,
        blind=blind,
        tracking_uri=tracking_uri,
    )
    show_next(request, policy_of({"regret": regret}).value, as_json=as_json)


def backtest(
    study: options.Study,
    to: options.To,
    from_: options.From = None,
    subsets: Annotated[int, typer.Option(help="Random subsets of the designs that are replayed.", min=1)] = 200,
    metric: options.Metric = None,
    modality: options.Input = options.Modality.VIDEO,
    samples: options.Samples = None,
    plot: options.Plot = None,
    tracking_uri: options.ReadUri = None,
    as_json: options.Json = False,
) -> None:
    """Replay promotion policies where the scores at the large scale are known."""
    from ablate.cli.views.promotion import show_backtest
    from ablate.promotion import Request

    options.refuse_empty(study=study, metric=metric, tracking_uri=tracking_uri)
    large, llm = options.labelled_scale(to)
    if llm is not None:
        raise UsageError(f"--to {to}: a backtest trains nothing, so give the label alone: --to {large}")
    request = Request(
        study=study,
        large=large,
        scales=tuple(options.names("--from", from_)),
        metric=metric,
        modality=modality.value,
        samples=samples,
        tracking_uri=tracking_uri,
    )
    show_backtest(request, subsets=subsets, plot=plot, as_json=as_json)
