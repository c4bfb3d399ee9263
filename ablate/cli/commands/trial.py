"""`ablate trial`: one trial of a sweep in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli import options


def trial(
    spec: options.Spec,
    label: Annotated[str, typer.Argument(help="Label of the trial, or a part of it that no other label has.")],
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Run your own trainer up to two minutes, record nothing, report what is missing."),
    ] = False,
    attempt_limit: Annotated[
        str | None, typer.Option(help="End the trial after this time, as 90s or 2h; the spec's limit if omitted.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run one trial of a sweep here, in the foreground and without Ray; it is recorded as a sweep's."""
    from ablate.cli.views.trial import run_one_and_show, smoke_and_show

    run = smoke_and_show if smoke else run_one_and_show
    raise typer.Exit(run(spec, label, limit_s=options.duration("--attempt-limit", attempt_limit), as_json=as_json))
