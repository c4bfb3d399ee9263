"""What `ablate import` shows: what was taken in, or a preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.cli.views.out import ERR, OUT, print_json, table

if TYPE_CHECKING:
    from ablate.imports import Imported, Preview


# --- the sweep -------------------------------------------------------------------------------------


def show_import(done: Imported, study: str, *, as_json: bool) -> None:
    """What was taken in."""
    if as_json:
        return print_json({"study": study} | vars(done))
    known = f"{done.unchanged} of them known before, {done.skipped} rows without a score"
    OUT.print(f"study {study}: {done.trials} trials, {known}")
    OUT.print(f"next: ablate consistency --study {study}   or: ablate promote --study {study} --to SCALE")
    for note in done.notes:
        ERR.print(f"note: {note}", style="yellow")


def show_preview(seen: Preview, *, as_json: bool) -> None:
    """What an import would take in, with the first rows as a tidy file has them."""
    if as_json:
        return print_json(vars(seen))
    OUT.print("\n".join(seen.lines()) + "\n")
    names = list(dict.fromkeys(name for row in seen.rows for name in row))
    rows = table(*names, right=("seed", "samples", "score"))
    for row in seen.rows:
        rows.add_row(*("" if row.get(name) is None else str(row[name]) for name in names))
    OUT.print(rows)
    OUT.print("\nnothing was written; the same without --dry-run takes it in")
    for note in seen.notes:
        ERR.print(f"note: {note}", style="yellow")
