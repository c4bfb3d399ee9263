"""Rows of token ids with visual tokens, collated into a padded batch with its attention mask."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN

Visual = tuple[Tensor, ...]
"""The same clips as each encoder takes them: uint8 frames (C, N, height, width, 3), or features (C, T, H, W, V) of a
frozen encoder."""


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length; visual tokens are places that the resampler's output fills in order."""

    ids_BL: Tensor
    """Token ids; anything at the places of visual tokens and of padding."""
    is_video_BL: Tensor
    """True where a token of the video's path stands."""
    is_image_BL: Tensor
    """True where a token of the image's own path stands."""
    positions_BL: Tensor
    """Position of each token: branches that share a prefix all start behind it."""
    attends_BLL: Tensor
    """True where a token (middle) may attend to another (last)."""
    clips: Visual | None
    """What takes the video's path; None where nothing does."""
    images: Visual | None
    """What takes the image's own path, by the encoders of images alone; None where nothing does."""
    target_at_K: Tensor
    """Flat place (b * L + l) whose output predicts each target token."""
    targets_K: Tensor
    """Token ids to be predicted."""
    padding: float
    """Share of places that is padding."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value


Arrays = tuple[np.ndarray, ...]
"""The same clips for each encoder: features (C, T, H, W, V) or uint8 frames (C, N, height, width, 3)."""


@dataclass(frozen=True)
class Branch:
    """Token ids behind a prefix, and what is to be predicted where."""

    ids: tuple[int, ...]
    targets: tuple[tuple[int, int], ...]
    """(place, token): the output at this place of `ids` is to predict this token."""


@dataclass(frozen=True)
class Row:
    """One row of a batch."""

    prefix: list[int]
    branches: list[Branch]
    clips: Arrays | None
    """What takes the video's path, as each encoder takes it; None where nothing does."""
    images: Arrays | None = None
    """What takes the image's own path, as each encoder of images takes it; None where nothing does."""

    @property
    def length(self) -> int:
        """Places that it takes."""
        return len(self.prefix) + sum(len(branch.ids) for branch in self.branches)


def collate(sequences: list[Row]) -> Batch:
    """Pad sequences to the longest and lay out who sees whom. Every place sees itself, padding too."""
    length = max(s.length for s in sequences)
    shape = (len(sequences), length)
    ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    segment = np.full(shape, -1)  # 0 prefix, 1... branches, -1 padding
    targets: list[tuple[int, int]] = []
    for row, sequence in enumerate(sequences):
        start = len(sequence.prefix)
        ids[row, :start], segment[row, :start] = sequence.prefix, 0
        positions[row, :start] = np.arange(start)
        at = start
        for number, branch in enumerate(sequence.branches, 1):
            end = at + len(branch.ids)
            ids[row, at:end], segment[row, at:end] = branch.ids, number
            positions[row, at:end] = np.arange(start, start + end - at)
            targets += [(row * length + at + place, token) for place, token in branch.targets]
            at = end
    return Batch(
        ids_BL=torch.from_numpy(np.maximum(ids, 0)),
        is_video_BL=torch.from_numpy(ids == VIDEO_TOKEN),
        is_image_BL=torch.from_numpy(ids == IMAGE_TOKEN),
        positions_BL=torch.from_numpy(positions),
        attends_BLL=torch.from_numpy(_attends(segment)),
        clips=_stack([s.clips for s in sequences if s.clips is not None]),
        images=_stack([s.images for s in sequences if s.images is not None]),
        target_at_K=torch.tensor([place for place, _ in targets]),
        targets_K=torch.tensor([token for _, token in targets]),
        padding=float((segment < 0).mean()),
    )


def _attends(segment_BL: np.ndarray) -> np.ndarray:
    length = segment_BL.shape[1]
    earlier = np.tri(length, dtype=bool)
    asks, answers = segment_BL[:, :, None], segment_BL[:, None, :]
    sees: np.ndarray = earlier & ((answers == 0) | (answers == asks)) & (asks >= 0) & (answers >= 0)
    return sees | np.eye(length, dtype=bool)


def _stack(clips: list[Arrays]) -> tuple[torch.Tensor, ...] | None:
    return tuple(torch.from_numpy(np.concatenate(same)) for same in zip(*clips, strict=True)) or None
