"""`ablate ui` and `sync`: MLflow, which mirrors the trial folders."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli import options


def ui(
    study: Annotated[str | None, typer.Argument(help="Open this study's comparison.")] = None,
    port: Annotated[int, typer.Option(help="The next free port is used if it is taken.", min=1, max=65535)] = 5000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    tracking_uri: options.TrackingUri = None,
) -> None:
    """Compare runs in the MLflow UI, served on 127.0.0.1."""
    from ablate.cli.views.mlflow import serve_ui

    serve_ui(study, port=port, browser=browser, tracking_uri=tracking_uri)


def sync(
    study: Annotated[str, typer.Argument(help="A study below runs/.")],
    tracking_uri: options.TrackingUri = None,
    as_json: options.Json = False,
) -> None:
    """Update MLflow from the trial folders; rebuilds a lost store."""
    from ablate.cli.views.mlflow import sync_and_show

    raise typer.Exit(sync_and_show(study, tracking_uri=tracking_uri, as_json=as_json))
