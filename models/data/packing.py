"""Packs: which rows share a micro-batch, planned from lengths and frames alone. No torch here.

There are two layouts. `rows`: each row is one of a padded batch, as a CPU computes it, where attention costs the square
of a row's length. `flat`: the rows of a micro-batch stand one behind the other in one line, and document numbers keep
them apart, as a GPU computes it, whose attention skips what no token sees.

Both are functions of the rows of a step alone, so that every rank and every worker plans the same packs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.costs import FRAMES_PER_MICRO_BATCH

if TYPE_CHECKING:
    from models.data.batch import Row

Layout = Literal["rows", "flat"]
"""How the rows of a micro-batch are laid out."""
BLOCK = 128
"""Positions of a block of FlexAttention's mask."""
RUNGS_PER_OCTAVE = 8
"""Number of padded lengths between a power of two and the next."""


@dataclass(frozen=True)
class RowSize:
    """What a row takes of a micro-batch."""

    length: int
    """Number of positions."""
    num_frames: int = 0
    """Number of frames, an image being one."""


def layout_on(device_type: str) -> Layout:
    """The layout of a device: `flat` on `cuda`, `rows` elsewhere."""
    return "flat" if device_type == "cuda" else "rows"


def padded_length(length: int) -> int:
    """The next of few lengths: multiples of 128, from 1,024 on eight for each power of two.

    With few lengths compiled kernels and the allocator meet the same shapes again; at most a ninth is padding.
    """
    octave = 1 << max(0, (length - 1).bit_length() - 1)
    step = max(BLOCK, octave // RUNGS_PER_OCTAVE)
    return max(1, -(-length // step)) * step


def micro_batches(
    rows: list[Row], max_positions: int, max_frames: int = FRAMES_PER_MICRO_BATCH, *, layout: Layout = "rows"
) -> list[list[Row]]:
    """The rows of each micro-batch.

    Args:
        rows: rows of a batch, in any order.
        max_positions: number of positions of a micro-batch, including padding; a longer row is a micro-batch of its
            own, with `flat` together with short rows that fit behind it in its padded length.
        max_frames: number of frames of a micro-batch; a row with more is in a micro-batch of its own.
        layout: how they will be laid out.
    """
    sizes = [RowSize(row.length, row.num_frames) for row in rows]
    return [[rows[i] for i in pack] for pack in packs(sizes, max_positions, max_frames, layout=layout)]


def packs(
    sizes: Sequence[RowSize], max_positions: int, max_frames: int = FRAMES_PER_MICRO_BATCH, *, layout: Layout
) -> list[list[int]]:
    """As `micro_batches`, from sizes to indices of rows."""
    plan = _flat_packs if layout == "flat" else _packs_of_rows
    return plan(sizes, max_positions, max_frames)


def computed_positions(sizes: Sequence[RowSize], pack: Sequence[int], layout: Layout) -> int:
    """Number of positions of a micro-batch, including padding."""
    lengths = [sizes[i].length for i in pack]
    return padded_length(sum(lengths)) if layout == "flat" else len(lengths) * max(lengths)


def _packs_of_rows(sizes: Sequence[RowSize], max_positions: int, max_frames: int) -> list[list[int]]:
    """Rows of similar length, from the shortest to the longest."""
    groups: list[list[int]] = []
    num_frames = 0
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i].length):
        num_frames += sizes[i].num_frames
        if groups and (len(groups[-1]) + 1) * sizes[i].length <= max_positions and num_frames <= max_frames:
            groups[-1].append(i)
        else:
            groups.append([i])
            num_frames = sizes[i].num_frames
    return groups


def _flat_packs(sizes: Sequence[RowSize], max_positions: int, max_frames: int) -> list[list[int]]:
    """Best fit decreasing: each row, from the longest on, goes where it leaves the least room.

    Packs of equal padded length and, among these, of similar numbers of frames are neighbours, so that ranks that take
    neighbours have equal work; those with the most work come first.
    """
    members: list[list[int]] = []
    frames: list[int] = []
    rooms: list[tuple[int, int]] = []  # positions that are left, number of the pack; rising
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i].length, -sizes[i].num_frames)):
        one = sizes[i]
        at = bisect_left(rooms, (one.length, -1))
        while at < len(rooms) and frames[rooms[at][1]] + one.num_frames > max_frames:
            at += 1
        if at == len(rooms):
            members.append([])
            frames.append(0)
            room = max_positions if one.length <= max_positions else padded_length(one.length)
            rooms.append((room, len(members) - 1))
        room, number = rooms.pop(at)
        members[number].append(i)
        frames[number] += one.num_frames
        insort(rooms, (room - one.length, number))

    def work(number: int) -> tuple[int, int]:
        return computed_positions(sizes, members[number], "flat"), frames[number]

    return [members[number] for number in sorted(range(len(members)), key=work, reverse=True)]
