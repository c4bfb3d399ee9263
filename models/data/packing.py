"""Rows grouped into micro-batches of similar length."""

from __future__ import annotations

from models.data.batch import Row


def micro_batches(rows: list[Row], max_positions: int) -> list[list[Row]]:
    """The rows of each micro-batch, of similar length.

    Args:
        rows: rows of a batch, in any order.
        max_positions: number of positions of a micro-batch, including padding; a longer row is a micro-batch of its
            own.
    """
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: row.length):
        if groups and (len(groups[-1]) + 1) * row.length <= max_positions:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
