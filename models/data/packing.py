"""Rows grouped into micro-batches of similar length."""

from __future__ import annotations

from models.costs import FRAMES_PER_MICRO_BATCH
from models.data.batch import Row


def micro_batches(rows: list[Row], max_positions: int, max_frames: int = FRAMES_PER_MICRO_BATCH) -> list[list[Row]]:
    """The rows of each micro-batch, of similar length.

    Args:
        rows: rows of a batch, in any order.
        max_positions: number of positions of a micro-batch, including padding; a longer row is a micro-batch of its
            own.
        max_frames: number of frames of a micro-batch, likewise.
    """
    groups: list[list[Row]] = []
    num_frames = 0
    for row in sorted(rows, key=lambda row: row.length):
        num_frames += row.num_frames
        if groups and (len(groups[-1]) + 1) * row.length <= max_positions and num_frames <= max_frames:
            groups[-1].append(row)
        else:
            groups.append([row])
            num_frames = row.num_frames
    return groups
