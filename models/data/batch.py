"""Rows of token ids with visual tokens, collated into a padded batch with the table of its attention.

Shapes: B row of the batch, L position in it, C clip of the whole batch, K target token.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.integration import END_TOKEN, IMAGE_TOKEN, START_TOKEN, VIDEO_TOKEN
from models.data.layouts import PADDING, line_of
from models.data.packing import Layout, padded_length
from models.encoders import Visual
from models.video import Clip, Medium


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length; the resampler's output fills the positions of visual tokens in order.

    Which position attends to which follows from three numbers of each, see models/data/layouts.py.
    """

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
    document_BL: Tensor
    """Number of the document, such as a row of a flat batch; -1 for padding. int32, as the next two."""
    branch_BL: Tensor
    """Number of the prefix or branch in its document, depth first."""
    branch_end_BL: Tensor
    """The number behind the last of the branches that continue this one."""
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

    def attends(self) -> Tensor:
        """Attention mask, on the device of the table: True where a token may attend to another, (B, L, L) of (query,
        key)."""
        index_L = torch.arange(self.document_BL.shape[1], device=self.document_BL.device)
        branch_BL1 = self.branch_BL[:, :, None]
        attends_BLL = self.document_BL[:, :, None] == self.document_BL[:, None]
        attends_BLL &= self.branch_BL[:, None] <= branch_BL1
        attends_BLL &= branch_BL1 < self.branch_end_BL[:, None]
        attends_BLL &= index_L <= index_L[:, None]
        return attends_BLL

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
    lost_clips: int = 0
    """Clips of its media that `max_length` of the design left out."""
    lost_turns: int = 0
    """Turns that it left out."""

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


def collate(
    rows: list[Row], clips: Visual | None = None, images: Visual | None = None, *, layout: Layout = "rows"
) -> Batch:
    """Lay out rows with padding, and describe which positions attend to which.

    Args:
        rows: the rows.
        clips: clips of all rows on the video path, in the order of their positions.
        images: images of all rows on a separate image path, in the order of their positions.
        layout: `rows` pads each to the longest; `flat` puts all into one row of a padded length, as documents that do
            not attend to each other.

    A prefix is causal; a branch attends to the prefix, to the branch that it continues, and causally to itself. Every
    position attends to itself, padding too.
    """
    if layout == "flat":
        lines = [line_of(rows, padded_length(sum(row.length for row in rows)))]
    else:
        length = max(row.length for row in rows)
        lines = [line_of([row], length) for row in rows]
    ids_BL = np.stack([line.ids_L for line in lines])
    document_BL = np.stack([line.document_L for line in lines])
    length = ids_BL.shape[1]
    targets = [(b * length + position, token) for b, line in enumerate(lines) for position, token in line.targets]
    return Batch(
        ids_BL=torch.from_numpy(np.maximum(ids_BL, 0)),
        is_video_BL=torch.from_numpy(ids_BL == VIDEO_TOKEN),
        is_image_BL=torch.from_numpy(ids_BL == IMAGE_TOKEN),
        is_start_BL=torch.from_numpy(ids_BL == START_TOKEN),
        is_end_BL=torch.from_numpy(ids_BL == END_TOKEN),
        positions_BL=torch.from_numpy(np.stack([line.positions_L for line in lines])),
        document_BL=torch.from_numpy(document_BL),
        branch_BL=torch.from_numpy(np.stack([line.branch_L for line in lines])),
        branch_end_BL=torch.from_numpy(np.stack([line.branch_end_L for line in lines])),
        clips=clips,
        images=images,
        target_at_K=torch.tensor([position for position, _ in targets], dtype=torch.int64),
        targets_K=torch.tensor([token for _, token in targets], dtype=torch.int64),
        padding=float((document_BL == PADDING).mean()),
    )
