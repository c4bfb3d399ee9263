"""Rows laid out in lines of positions, with the table that says which position attends to which.

Branches of a row form a tree, whose root is the prefix. Numbered depth first, the branches that continue a branch have
the numbers from its own to an end, so that two numbers a position describe the mask: a query attends to a key of the
same document if the key's interval contains the query's branch, and the key is not later. TRL uses the same intervals
(huggingface/trl#7328).

Shapes: L position in a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.data.batch import Branch, Row

PADDING = -1
"""Document of padding."""

Targets = list[tuple[int, int]]
"""(position, token): the output at this position predicts this token."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Rows one behind the other: ids, and the table of attention."""

    ids_L: NDArray[np.int64]
    document_L: NDArray[np.int32]
    branch_L: NDArray[np.int32]
    branch_end_L: NDArray[np.int32]
    positions_L: NDArray[np.int64]
    targets: Targets


def line_of(rows: list[Row], length: int) -> Line:
    """Lay out rows, each as a document, and padding up to a length; a position of padding attends to itself alone."""
    ids, document, branch, branch_end, positions = np.zeros((5, length), np.int64)
    document[:], branch[:], branch_end[:] = PADDING, np.arange(length), np.arange(1, length + 1)
    targets: Targets = []
    start = 0
    for number, row in enumerate(rows):
        end = start + row.length
        document[start:end] = number
        of_row = (ids[start:end], branch[start:end], branch_end[start:end], positions[start:end])
        targets += [(start + at, token) for at, token in _lay_out(row, *of_row)]
        start = end
    return Line(
        ids_L=ids,
        document_L=document.astype(np.int32),
        branch_L=branch.astype(np.int32),
        branch_end_L=branch_end.astype(np.int32),
        positions_L=positions,
        targets=targets,
    )


def _lay_out(
    row: Row,
    ids: NDArray[np.int64],
    branch: NDArray[np.int64],
    branch_end: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> Targets:
    """Write a row into its part of a line; its targets, by position in the row."""
    intervals = _intervals(row.branches)
    at = len(row.prefix)
    ids[:at], positions[:at] = row.prefix, np.arange(at)
    branch[:at], branch_end[:at] = intervals[0]
    ends = [at]  # of the prefix and each branch
    targets: Targets = []
    for number, one in enumerate(row.branches, 1):
        end = at + len(one.ids)
        parent = number - one.parent if one.parent else 0
        first = int(positions[ends[parent] - 1]) + 1 if parent else len(row.prefix)
        ids[at:end], positions[at:end] = one.ids, np.arange(first, first + end - at)
        branch[at:end], branch_end[at:end] = intervals[number]
        targets += [(ends[parent] - 1 if i < 0 else at + i, token) for i, token in one.targets]
        ends.append(end)
        at = end
    return targets


def _intervals(branches: list[Branch]) -> list[tuple[int, int]]:
    """Number of the prefix and of each branch, depth first, and the number behind the last that continues it."""
    children: dict[int, list[int]] = {}
    for number, branch in enumerate(branches, 1):
        parent = number - branch.parent if branch.parent else 0
        assert parent == 0 or branches[parent - 1].parent == 0, "a branch continues one that continues another"
        children.setdefault(parent, []).append(number)
    intervals = [(0, len(branches) + 1)] * (len(branches) + 1)
    at = 1
    for number in children.get(0, []):
        continuing = children.get(number, [])
        intervals[number] = (at, at + 1 + len(continuing))
        for i, child in enumerate(continuing, at + 1):
            intervals[child] = (i, i + 1)
        at += 1 + len(continuing)
    return intervals
