"""`ablate import`: scores of trials that ran elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli import options
from ablate.cli.options import Many


class Wide(StrEnum):
    """What the headers of a wide table's score columns contain."""

    SCALE = "scale"
    METRIC = "metric"
    SEED = "seed"


def import_(
    file: Annotated[Path, typer.Argument(help="CSV or TSV with design, scale, score; optional seed, benchmark, ...")],
    study: Annotated[str, typer.Option(help="The study that receives the scores.")],
    column: Annotated[Many, typer.Option(metavar="OURS=THEIRS", help="Its name in the file: design=variant")] = None,
    axis: Annotated[Many, typer.Option(metavar="[AXIS=]THEIRS", help="An axis of the designs: mix=data_mix")] = None,
    constant: Annotated[Many, typer.Option(metavar="OURS=VALUE", help="The value in all rows: scale=7B")] = None,
    rename: Annotated[Many, typer.Option(metavar="OURS:THEIRS=VALUE", help="scale:Qwen2-7B-Instruct=7B")] = None,
    ignore: Annotated[Many, typer.Option(metavar="THEIRS", help="A column to leave out.")] = None,
    ignore_rest: Annotated[bool, typer.Option("--ignore-rest", help="Leave out columns that no option names.")] = False,
    wide: Annotated[Wide | None, typer.Option(help="Scores are in several columns; what their headers are.")] = None,
    columns: Annotated[Many, typer.Option(metavar="HEADER[=VALUE],...", help="The score columns: 1.5B,7B")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="The scores are losses.")] = False,
    designs: Annotated[str | None, typer.Option(help="A spec that declares the designs by these names.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite scores that were imported before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be imported; write nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Import the scores of trials that ran elsewhere from an unchanged table: docs/import.md."""
    from ablate.cli.views.imports import show_import, show_preview
    from ablate.imports import LayoutOptions, import_scores, preview

    layout = LayoutOptions(column, axis, constant, rename, ignore, columns, wide=wide, ignore_rest=ignore_rest).layout()
    if dry_run:
        incoming = preview(file, study, layout, lower_is_better=lower_is_better, designs=designs)
        return show_preview(incoming, as_json=as_json)
    imported = import_scores(file, study, layout, lower_is_better=lower_is_better, replace=replace, designs=designs)
    show_import(imported, study, as_json=as_json)
