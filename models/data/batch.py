"""Rows of token ids with visual tokens, collated into a padded batch with its attention mask.

Shapes: B row, L position in it, C clip of the whole batch, K target token.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.integration import END_TOKEN, IMAGE_TOKEN, START_TOKEN, VIDEO_TOKEN
from models.encoders import Visual
from models.video import Clip, Medium

PADDING = -1
"""Segment of padding."""


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length; the resampler's output fills the positions of visual tokens in order."""

    ids_BL: Tensor
    """Token ids; 0 at visual tokens, separators and padding."""
    is_video_BL: Tensor
    """True at visual tokens of the video path."""
    is_image_BL: Tensor
    """True at visual tokens of a separate image path."""
    is_start_BL: Tensor
    """True at separators before a clip (`integration.separators`)."""
    is_end_BL: Tensor
    """True at separators after a clip."""
    positions_BL: Tensor
    """Position of each token for its embedding: branches that share a prefix all start behind it."""
    attends_BLL: Tensor
    """Attention mask: True where a token (second dimension) may attend to another (last dimension)."""
    clips: Visual | None
    """Clips on the video path; None without any."""
    images: Visual | None
    """Images on a separate image path, for each encoder of images; None without any."""
    target_at_K: Tensor
    """Flat position (b * L + l) whose output predicts each target token."""
    targets_K: Tensor
    """Ids of the target tokens."""
    padding: float
    """Share of positions that are padding."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor | Visual) else value


@dataclass(frozen=True)
class SampledMedium:
    """A medium, and the clips that are sampled from it."""

    medium: Medium
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Branch:
    """Token ids behind a prefix, or behind another branch, and the targets among them."""

    ids: tuple[int, ...]
    """May be empty for a branch that continues another one: then that one's last output predicts its only target."""
    targets: tuple[tuple[int, int], ...]
    """(position, token): the output at this position of `ids` predicts this token; position -1 is the last one of the
    branch that this one continues."""
    parent: int = 0
    """How many branches earlier in the row the branch stands that this one continues; 0 for the prefix. That branch
    itself continues the prefix."""


@dataclass(frozen=True)
class Row:
    """One row of a batch: a prefix, and branches that share it."""

    prefix: list[int]
    """Token ids, with placeholders (models/data/integration.py) at visual tokens and separators, as in branches."""
    branches: list[Branch]
    visual: tuple[SampledMedium, ...] = ()
    """Its media, in the order of their positions; they are read when the row is computed (models/data/visual.py)."""

    @property
    def length(self) -> int:
        """Number of positions."""
        return len(self.prefix) + sum(len(branch.ids) for branch in self.branches)

    @property
    def num_frames(self) -> int:
        """Number of frames of its media, an image being one."""
        return sum(len(set(clip.frames)) for one in self.visual for clip in one.clips)

    @property
    def num_targets(self) -> int:
        """Number of target tokens."""
        return sum(len(branch.targets) for branch in self.branches)

    def count(self, token: int) -> int:
        """How often a token, such as `VIDEO_TOKEN`, stands in the row."""
        return self.prefix.count(token) + sum(branch.ids.count(token) for branch in self.branches)


def collate(rows: list[Row], clips: Visual | None = None, images: Visual | None = None) -> Batch:
    """Pad rows to the longest and build their attention mask.

    Args:
        rows: the rows.
        clips: clips of all rows on the video path, in the order of their positions.
        images: images of all rows on a separate image path, in the order of their positions.

    A prefix is causal; a branch attends to the prefix, to the branch that it continues, and causally to itself. Every
    position attends to itself, padding too.
    """
    length = max(row.length for row in rows)
    layout = [_lay_out(row) for row in rows]
    ids, positions, segment, continued = (
        np.stack([np.pad(of_row[i], (0, length - len(of_row[i])), constant_values=fill) for of_row, _ in layout])
        for i, fill in enumerate((0, 0, PADDING, 0))
    )
    targets = [(b * length + position, token) for b, (_, of_row) in enumerate(layout) for position, token in of_row]
    return Batch(
        ids_BL=torch.from_numpy(np.maximum(ids, 0)),
        is_video_BL=torch.from_numpy(ids == VIDEO_TOKEN),
        is_image_BL=torch.from_numpy(ids == IMAGE_TOKEN),
        is_start_BL=torch.from_numpy(ids == START_TOKEN),
        is_end_BL=torch.from_numpy(ids == END_TOKEN),
        positions_BL=torch.from_numpy(positions),
        attends_BLL=torch.from_numpy(_attends(segment, continued)),
        clips=clips,
        images=images,
        target_at_K=torch.tensor([position for position, _ in targets], dtype=torch.int64),
        targets_K=torch.tensor([token for _, token in targets], dtype=torch.int64),
        padding=float((segment == PADDING).mean()),
    )


def _lay_out(row: Row) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """A row's positions, and its targets as (position in the row, token).

    Returns:
        Ids, positions for embeddings, segment (0 for the prefix, then one for each branch) and the segment that a
        position's segment continues: (4, L).
    """
    laid_out = np.zeros((4, row.length), np.int64)
    ids, positions, segment, continued = laid_out
    at = len(row.prefix)
    ids[:at], positions[:at] = row.prefix, np.arange(at)
    ends = [at]  # of each segment
    targets: list[tuple[int, int]] = []
    for number, branch in enumerate(row.branches, 1):
        end = at + len(branch.ids)
        parent = number - branch.parent if branch.parent else 0
        assert parent == 0 or row.branches[parent - 1].parent == 0, "a branch continues one that continues another"
        first = int(positions[ends[parent] - 1]) + 1 if parent else len(row.prefix)
        ids[at:end], segment[at:end], continued[at:end] = branch.ids, number, parent
        positions[at:end] = np.arange(first, first + end - at)
        targets += [(ends[parent] - 1 if i < 0 else at + i, token) for i, token in branch.targets]
        ends.append(end)
        at = end
    return laid_out, targets


def _attends(segment_BL: np.ndarray, continued_BL: np.ndarray) -> np.ndarray:
    """True where a position may attend: within its segment, to the one that this continues, and to the prefix."""
    length = segment_BL.shape[1]
    causal = np.tri(length, dtype=bool)
    queries, keys = segment_BL[:, :, None], segment_BL[:, None, :]
    same_path = (keys == 0) | (keys == queries) | (keys == continued_BL[:, :, None])
    attends: np.ndarray = causal & same_path & (queries != PADDING) & (keys != PADDING)
    return attends | np.eye(length, dtype=bool)
