"""How the ranks of a trial share micro-batches."""

from __future__ import annotations

from models.data.batch import Row

IDLE = Row([0], [])
"""The row of a rank that has nothing to compute while others have: one position, no target."""


def share_of(micro_batches: list[list[Row]], rank: int, size: int) -> list[list[Row]]:
    """The micro-batches that a rank computes, as many for each rank; `[]` where there is none left for it.

    All in their order for one rank. For several they are sorted by their work, frames first, and assigned in turn, so
    that the ranks have nearly equal work at the same time: each waits for the slowest.

    Args:
        micro_batches: those of a step, the same on each rank.
        rank: the rank.
        size: number of ranks.
    """
    if size == 1:
        return micro_batches
    ordered = sorted(micro_batches, key=_work, reverse=True)
    ordered += [[] for _ in range(-len(ordered) % size)]
    return ordered[rank::size]


def _work(rows: list[Row]) -> tuple[int, int]:
    return sum(row.num_frames for row in rows), len(rows) * max(row.length for row in rows)
