"""Rows grouped into micro-batches of similar length."""

from __future__ import annotations

from models.data.batch import Batch, Row, collate


def micro_batches(rows: list[Row], places: int) -> list[Batch]:
    """Rows of similar length together, as many as `places` hold with their padding; a longer row goes alone."""
    portions: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: row.length):
        if portions and (len(portions[-1]) + 1) * row.length <= places:
            portions[-1].append(row)
        else:
            portions.append([row])
    return [collate(portion) for portion in portions]
