"""Several encoders on one clip: grids are resized to the largest, channels are joined (Apollo, section 4.2).

Shapes: B clip, U unit (a frame or a clip, models/encoders/inputs.py), M units of a clip, N frame, T, H, W cell of the
grid, D width of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.costs import FRAMES_PER_PORTION
from models.encoders.base import VisionEncoder, compute_dtype
from models.encoders.inputs import EncoderInput, Visual
from models.video import largest

SIDE = 32
"""Height and width in pixels of the black frames of a rank without media."""


class CombinedEncoder(nn.Module):
    """Encoders that take the same clips. An image encoder takes one frame for each instant of the grid."""

    def __init__(self, encoders: Sequence[VisionEncoder]) -> None:
        super().__init__()
        self.encoders: Sequence[VisionEncoder] = nn.ModuleList(encoders)  # type: ignore[assignment]
        self.grid = largest([encoder.grid for encoder in encoders])
        """T, H, W of the combined features."""
        self.width = sum(encoder.width for encoder in encoders)
        """Width of the combined features."""

    def takes(self, index: int) -> int:
        """Number of frames of a clip that an encoder takes."""
        frames = self.encoders[index].frames
        return self.grid[0] if frames == 1 else frames

    def forward(self, visual: Visual) -> Tensor:
        """Combined features (B, T, H, W, D) of the same clips, sampled for each encoder."""
        return self.of_images(self.all, visual)

    def of_images(self, indices: Sequence[int], visual: Visual) -> Tensor:
        """Combined features (B, T, H, W, D) by the encoders of these indices alone, whose inputs `visual` has."""
        pairs = zip(indices, visual.inputs, strict=True)
        return combine([self._features(self.encoders[index], one, visual.frames) for index, one in pairs])

    def encoded(self, indices: Sequence[int], visual: Visual) -> Visual:
        """The same clips with the features of these encoders in the place of frames, to be used several times."""
        pairs = zip(indices, visual.inputs, strict=True)
        features = [(one, self._by_unit(self.encoders[index], one, visual.frames)) for index, one in pairs]
        return Visual((), tuple(replace(one, frames_UN=(), features=by_unit) for one, by_unit in features))

    @property
    def all(self) -> Sequence[int]:
        """Indices of all encoders: those of the video path."""
        return range(len(self.encoders))

    def of_zeros(self, indices: Sequence[int], device: torch.device) -> Tensor:
        """Features (1, T, H, W, D) of zeros, for a rank without media.

        An encoder that learns runs on one unit of black frames, and its gradients are zeros.
        """
        chosen = [self.encoders[index] for index in indices]
        grid, width = largest([one.grid for one in chosen]), sum(one.width for one in chosen)
        features = torch.zeros(1, *grid, width, dtype=compute_dtype(chosen[0], device), device=device)
        for encoder in chosen:
            if torch.is_grad_enabled() and any(weight.requires_grad for weight in encoder.parameters()):
                black = torch.zeros(1, encoder.frames, SIDE, SIDE, 3, dtype=torch.uint8, device=device)
                features = features + 0 * encoder(black).sum().to(features.dtype)
        return features

    def _features(self, encoder: VisionEncoder, one: EncoderInput, frames: Sequence[Tensor]) -> Tensor:
        """One encoder's features (B, T, H, W, D): its units are encoded once, then gathered for each clip."""
        by_unit = self._by_unit(encoder, one, frames)
        in_clips = by_unit if one.is_plain else by_unit[one.units_CM.flatten()]
        return in_clips.unflatten(0, one.units_CM.shape).flatten(1, 2)

    def _by_unit(self, encoder: VisionEncoder, one: EncoderInput, frames: Sequence[Tensor]) -> Tensor:
        """One encoder's features of its units, (U, T, H, W, D)."""
        if one.features is not None:
            return one.features.to(compute_dtype(encoder, one.features.device))
        sizes = zip(frames, one.frames_UN, strict=True)
        portions = [part for same, units_UN in sizes for part in _encoded(encoder, same, units_UN)]
        return portions[0] if len(portions) == 1 else torch.cat(portions)


def _encoded(encoder: VisionEncoder, frames_FHWC: Tensor, units_UN: Tensor) -> list[Tensor]:
    """Features (U, T, H, W, D) of units of one size in portions, in the dtype in which the encoder computes.

    Under autocast a tower's residual stream stays in fp32; features of that size would fill twice the memory.
    An encoder that learns takes all at once. A frozen one keeps nothing for the backward pass, so that it needs memory
    for `FRAMES_PER_PORTION` frames only, however many a micro-batch has.
    """
    dtype = compute_dtype(encoder, frames_FHWC.device)
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in encoder.parameters()):
        return [encoder(frames_FHWC[units_UN]).to(dtype)] if len(units_UN) else []
    with torch.no_grad():
        portions = units_UN.split(max(1, FRAMES_PER_PORTION // encoder.frames))
        return [encoder(frames_FHWC[units]).to(dtype) for units in portions if len(units)]


def combine(features: Sequence[Tensor]) -> Tensor:
    """Resize (B, T, H, W, D) grids to the largest by trilinear interpolation in fp32 and join their channels.

    Corners are not aligned; a grid of that size is left unchanged (Apollo's released code). The result has the dtype of
    the features.
    """
    if len(features) == 1:
        return features[0]
    size = largest([(f.shape[1], f.shape[2], f.shape[3]) for f in features])
    return torch.cat([_resized(f, size) for f in features], dim=-1)


def _resized(features_BTHWD: Tensor, size: tuple[int, int, int]) -> Tensor:
    if features_BTHWD.shape[1:4] == size:
        return features_BTHWD
    channels_first = features_BTHWD.float().movedim(-1, 1)
    resized = interpolate(channels_first, size=size, mode="trilinear", align_corners=False)
    return resized.to(features_BTHWD.dtype).movedim(1, -1)
