"""Warnings of a comparison: how far to trust its numbers, and which designs are left out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.tables import OUTLIER_SDS

if TYPE_CHECKING:
    import pandas as pd

    from analysis.consistency.comparison import Comparison, Point
    from analysis.numbers import Interval
    from analysis.tables import ScoreTable

MIN_FOR_VERDICT = 5
"""Designs below which there is no verdict and no interval."""
FEW_DESIGNS = 10
"""Designs below which a warning is given."""
NUM_NAMES = 6
"""Names that a message lists before it abbreviates."""


def on_values(
    comparison: Comparison,
    points: tuple[Point, ...],
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval | None],
    *,
    has_line: bool,
) -> list[str]:
    """How far to trust the numbers, and why some are undefined."""
    n, notes = len(points), []
    if n < MIN_FOR_VERDICT:
        notes.append(f"{n} designs are too few for a verdict: read the scores themselves")
    elif n < FEW_DESIGNS:
        notes.append(f"only {n} designs: a single one can change the result, and the intervals are approximate")
    undefined = [name for name, value in values.items() if value is None]
    for scale, scores in ((comparison.small, {p.x for p in points}), (comparison.large, {p.y for p in points})):
        if len(scores) == 1:
            notes.append(f"undefined: {', '.join(undefined)} (all designs score {scores.pop():g} at {scale})")
    if (values["spearman"] or 0.0) < 0:
        notes.append(
            f"the large scale reverses the order of the small one (Spearman {values['spearman']:.2f}); "
            "R2 does not show this"
        )
    undefined += [] if has_line else ["slope", "intercept", "rmse"]
    without = [name for name, interval in intervals.items() if interval is None and name not in undefined]
    if n >= MIN_FOR_VERDICT and without:
        notes.append(
            f"no interval for {', '.join(without)}: all points lie on a line, or the value depends on a single design"
        )
    return notes


def on_collapse(designs: tuple[str, ...], r2_learned: float | None) -> list[str]:
    """Which designs failed to learn, and R^2 without them."""
    if not designs:
        return []
    rest = "undefined" if r2_learned is None else f"{r2_learned:.3f}"
    rule = f"more than {OUTLIER_SDS:g} robust standard deviations worse than the median"
    return [f"failed to learn ({rule}): {abbreviated(designs)}; R2 without them is {rest}"]


def on_missing(missing: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Which designs have a score at one scale only, by the scale where it is missing."""
    return [
        f"left out, no score at {scale}: {abbreviated(designs)}; if they were not run there because of low scores, "
        "the correlations are underestimated"
        for scale, designs in missing.items()
        if designs
    ]


def on_scores(table: ScoreTable, scores: Mapping[str, pd.DataFrame], shared: list[str]) -> list[str]:
    """Scores that are NaN, and designs whose means are of unequal numbers of seeds or training samples."""
    notes = []
    for scale, frame in scores.items():
        lost = table.dropped[table.dropped["scale"] == scale]
        if len(lost):
            trials = [f"{design} seed {seed}" for design, seed in zip(lost["design"], lost["seed"], strict=True)]
            notes.append(f"left out, score at {scale} is NaN: {abbreviated(trials)}")
        for column, quantity in (("seeds", "number of seeds"), ("samples", "number of training samples")):
            values = sorted(frame.loc[shared, column].dropna().unique().tolist())
            if len(values) > 1:
                notes.append(f"designs differ at {scale} in their {quantity}: {abbreviated(values)}")
    return notes


def abbreviated(names: Sequence[object]) -> str:
    """The first `NUM_NAMES` of a list, comma separated; the fields of the report hold all of them."""
    more = f" and {len(names) - NUM_NAMES} more" if len(names) > NUM_NAMES else ""
    return ", ".join(map(str, names[:NUM_NAMES])) + more
