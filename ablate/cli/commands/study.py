"""`ablate consistency`, `ls` and `verify`: the scores of a study, and whether its files are intact."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli import options
from ablate.errors import UsageError


def consistency(
    study: Annotated[
        str | None, typer.Option(help="A study; if omitted, your own with these scales, or the built-in `apollo`.")
    ] = None,
    small: Annotated[str | None, typer.Option(help="Scale label; the study's smallest if omitted.")] = None,
    large: Annotated[str | None, typer.Option(help="Scale label; the study's largest if omitted.")] = None,
    metric: options.Metric = None,
    modality: options.Input = options.Modality.VIDEO,
    samples: options.Samples = None,
    without: Annotated[str | None, typer.Option(help="Designs to leave out: v07,v14")] = None,
    within: Annotated[str | None, typer.Option(help="An axis: R2 within each of its values.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Compare the values of an axis with this one: AXIS=VALUE.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Standard deviation between seeds in points, if the study does not show it.")
    ] = None,
    resolution: Annotated[float, typer.Option(help="Difference in points that seeds should resolve.")] = 1.0,
    half_width: Annotated[float, typer.Option(help="Half-width of R2's interval, for the designs needed.")] = 0.1,
    plot: options.Plot = None,
    tracking_uri: options.ReadUri = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one CSV row for each design on stdout.")] = False,
    as_json: options.Json = False,
) -> None:
    """Does the ranking of designs at a small scale predict the ranking at a large one?"""
    from ablate.cli.views.consistency import Output, show_report
    from ablate.study import checked_predictions, load_study, report_on, study_with_scales
    from analysis.consistency import Request

    options.refuse_empty(study=study, small=small, large=large, metric=metric, within=within, tracking_uri=tracking_uri)
    if as_csv and as_json:
        raise UsageError("--csv with --json: give one of them")
    for option, points in (("--noise", noise), ("--resolution", resolution)):
        if points is not None and not 1e-6 <= points <= 1e6:
            raise UsageError(f"{option} {points:g}: give points from 1e-6 to 1e6, e.g. {option} 1.5")
    if not 0 < half_width < 1:
        raise UsageError(f"--half-width {half_width:g}: R2 is between 0 and 1; give e.g. --half-width 0.1")
    request = Request(
        small=small or "",
        large=large or "",
        metric=metric,
        modality=modality.value,
        without=tuple(options.names("--without", without)),
        within=within,
        baselines=options.pairs("--baseline", baseline),
        noise=noise,
        resolution=resolution,
        half_width=half_width,
    )
    name = study or study_with_scales(small, large)
    scores = load_study(name, tracking_uri=tracking_uri, samples=samples)
    report = report_on(scores, request)
    show_report(report, checked_predictions(scores, report), Output(plot=plot, as_json=as_json, as_csv=as_csv))


def ls(
    study: Annotated[str | None, typer.Argument(help="Rank the designs of this study.")] = None,
    metric: options.Metric = None,
    samples: options.Samples = None,
    as_json: options.Json = False,
) -> None:
    """List the studies, or rank the designs of one."""
    from ablate.cli.views.ranking import show_ranking, show_studies

    if study is None and (metric is not None or samples is not None):
        raise UsageError("--metric and --samples rank the designs of one study: ablate ls STUDY --metric ...")
    if study is None:
        show_studies(as_json=as_json)
    else:
        show_ranking(study, metric=metric, samples=samples, as_json=as_json)


def verify(
    study: Annotated[str, typer.Argument(help="The study.")],
    as_json: options.Json = False,
) -> None:
    """Compare the files of a study's trials with their digests: after a crash, a copy or a restore."""
    from ablate.cli.views.verify import verify_and_show

    raise typer.Exit(verify_and_show(study, as_json=as_json))
