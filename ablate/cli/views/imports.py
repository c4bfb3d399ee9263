"""The output of `ablate import`: what was imported, or a preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.cli.views.out import ERR, OUT, print_json, table

if TYPE_CHECKING:
    from ablate.imports import Imported, Preview


def show_import(imported: Imported, study: str, *, as_json: bool) -> None:
    """Print what was imported."""
    if as_json:
        return print_json({"study": study} | vars(imported))
    counts = f"{imported.unchanged} of them imported before, {imported.skipped} rows without a score"
    OUT.print(f"study {study}: {imported.trials} trials, {counts}")
    OUT.print(f"next: ablate consistency --study {study}   or: ablate promote --study {study} --to SCALE")
    for note in imported.notes:
        ERR.print(f"note: {note}", style="yellow")


def show_preview(preview: Preview, *, as_json: bool) -> None:
    """Print what would be imported, with the first rows in tidy form."""
    if as_json:
        return print_json(preview.as_json())
    OUT.print("\n".join(preview.lines()) + "\n")
    names = list(dict.fromkeys(name for row in preview.rows for name in row))
    rows = table(*names, right=("seed", "samples", "score"))
    for row in preview.rows:
        rows.add_row(*("" if row.get(name) is None else str(row[name]) for name in names))
    OUT.print(rows)
    OUT.print("\nnothing was written; run the command without --dry-run to import")
    for note in preview.notes:
        ERR.print(f"note: {note}", style="yellow")
