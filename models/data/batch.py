"""Rows of token ids with visual tokens, collated into a padded batch with its attention mask.

Shapes: B row, L position in it, C clip of the whole batch, K target token.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN
from models.encoders import Visual
from models.video import Clip, Medium


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length; the resampler's output fills the positions of visual tokens in order."""

    ids_BL: Tensor
    """Token ids; 0 at visual tokens and padding."""
    is_video_BL: Tensor
    """True at visual tokens of the video path."""
    is_image_BL: Tensor
    """True at visual tokens of a separate image path."""
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
class Sampled:
    """A medium, and the clips that are sampled from it."""

    medium: Medium
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Branch:
    """Token ids behind a prefix, and the targets among them."""

    ids: tuple[int, ...]
    targets: tuple[tuple[int, int], ...]
    """(position, token): the output at this position of `ids` predicts this token."""


@dataclass(frozen=True)
class Row:
    """One row of a batch: a prefix, and branches that share it."""

    prefix: list[int]
    """Token ids, with `VIDEO_TOKEN` or `IMAGE_TOKEN` at visual tokens."""
    branches: list[Branch]
    visual: tuple[Sampled, ...] = ()
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


def collate(rows: list[Row], clips: Visual | None = None, images: Visual | None = None) -> Batch:
    """Pad rows to the longest and build their attention mask.

    Args:
        rows: the rows.
        clips: clips of all rows on the video path, in the order of their positions.
        images: images of all rows on a separate image path, in the order of their positions.

    A prefix is causal; a branch attends to the prefix and causally to itself. Every position attends to itself, padding
    too.
    """
    length = max(row.length for row in rows)
    shape = (len(rows), length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    segment = np.full(shape, -1)  # 0 prefix, 1... branches, -1 padding
    targets: list[tuple[int, int]] = []
    for b, row in enumerate(rows):
        start = len(row.prefix)
        ids[b, :start], segment[b, :start] = row.prefix, 0
        positions[b, :start] = np.arange(start)
        at = start
        for number, branch in enumerate(row.branches, 1):
            end = at + len(branch.ids)
            ids[b, at:end], segment[b, at:end] = branch.ids, number
            positions[b, at:end] = np.arange(start, start + end - at)
            targets += [(b * length + at + position, token) for position, token in branch.targets]
            at = end
    return Batch(
        ids_BL=torch.from_numpy(np.maximum(ids, 0)),
        is_video_BL=torch.from_numpy(ids == VIDEO_TOKEN),
        is_image_BL=torch.from_numpy(ids == IMAGE_TOKEN),
        positions_BL=torch.from_numpy(positions),
        attends_BLL=torch.from_numpy(_attends(segment)),
        clips=clips,
        images=images,
        target_at_K=torch.tensor([position for position, _ in targets]),
        targets_K=torch.tensor([token for _, token in targets]),
        padding=float((segment < 0).mean()),
    )


def _attends(segment_BL: np.ndarray) -> np.ndarray:
    length = segment_BL.shape[1]
    causal = np.tri(length, dtype=bool)
    queries, keys = segment_BL[:, :, None], segment_BL[:, None, :]
    attends: np.ndarray = causal & ((keys == 0) | (keys == queries)) & (queries >= 0) & (keys >= 0)
    return attends | np.eye(length, dtype=bool)
