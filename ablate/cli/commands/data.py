"""`ablate check`: the media of a data folder."""

from __future__ import annotations

from typing import Annotated

import typer

from ablate.cli import options


def check(
    data: Annotated[str, typer.Argument(help="A data folder, or a sweep spec whose data are checked.")],
    workers: Annotated[
        int | None, typer.Option(help="Media to read at the same time; one for each core if omitted.", min=1)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Read all media once: lists those that cannot be read, and records durations for plans."""
    from ablate.cli.views.data import check_and_show

    raise typer.Exit(check_and_show(data, workers=workers, as_json=as_json))
