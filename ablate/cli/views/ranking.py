"""Rankings of designs, and the list of studies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ablate.cli.views.out import ERR, OUT, print_json, table
from ablate.paths import runs_root

if TYPE_CHECKING:
    import pandas as pd


def show_ranking(study: str, *, metric: str | None, samples: int | None, as_json: bool) -> None:
    """Print the ranking of designs at each scale of a study."""
    from ablate.study import load_study, rankings

    scores = load_study(study, samples=samples)
    frames = rankings(scores.table, metric or scores.metric)
    ranked_by = scores.table.select(metric or scores.metric)
    if as_json:
        notes = {"notes": scores.notes_on_content} if scores.notes_on_content else {}
        return print_json({"study": study, "rankings": [ranking_rows(frame) for frame in frames], **notes})
    print_rankings(frames)
    OUT.print(f"\n{ranked_by.metric}, {'lower' if ranked_by.lower_is_better else 'higher'} is better")
    for note in scores.notes_on_content:
        ERR.print(f"note: {note}", style="yellow")


def print_rankings(frames: list[pd.DataFrame]) -> None:
    """Print one table per scale: mean and standard deviation over seeds, then each category."""
    for frame in frames:
        categories = [c for c in frame.columns if "/" in c]
        headers = [c.split("/", 1)[1] for c in categories]
        digits = {c: digits_for(frame[c]) for c in ("mean", *categories)}
        rows = table("", "design", "score", "+-", "seeds", *headers, right=("score", "+-", "seeds", *headers))
        for row in frame.to_dict("records"):
            deviation = f"{row['sd']:.{digits['mean']}f}" if row["sd"] == row["sd"] else ""
            cells = [f"{row[c]:.{digits[c]}f}" if row[c] == row[c] else "" for c in categories]
            mean = f"{row['mean']:.{digits['mean']}f}"
            rows.add_row(str(row["rank"]), row["design"], mean, deviation, str(row["seeds"]), *cells)
        OUT.print(Text(f"\n{frame['scale'].iloc[0]}", style="bold"))
        OUT.print(rows)


def digits_for(scores: pd.Series[float]) -> int:
    """Decimals of scores: one for percentages, and as many as show a tenth of their range for losses that are close."""
    extent = float(scores.max() - scores.min())
    return 1 if not extent > 0 else min(6, max(1, 1 - math.floor(math.log10(extent))))


def ranking_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a ranking for `--json`; NaN becomes None."""
    return [{str(k): None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]


def show_studies(*, as_json: bool) -> None:
    """Print the studies below runs/, and the built-in one."""
    from ablate.study import overview

    rows = overview()
    if as_json:
        return print_json({"runs": str(runs_root()), "studies": rows})
    studies = table("study", "designs", "scales", "done", "failed", right=("designs", "done", "failed"))
    for row in rows:
        numbers = (str(row[name]) for name in ("designs", "done", "failed"))
        designs, done, failed = numbers
        studies.add_row(row["study"], designs, ", ".join(row["scales"]), done, failed)
    OUT.print(studies)
    for message in (message for row in rows for message in row.get("damaged", [])):
        ERR.print(f"note: {message}; it is left out until then", style="yellow")
