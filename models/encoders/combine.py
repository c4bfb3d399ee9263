"""Several encoders on one clip: grids are resized to the largest, channels are joined (Apollo, section 4.2).

Shapes: B clip, N frame, T, H, W cell of the grid, D width of features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.encoders.base import VisionEncoder
from models.video import largest


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

    def features(self, index: int, clips_BNHWC: Tensor) -> Tensor:
        """One encoder's features (B, T, H, W, D) of clips of `takes(index)` frames."""
        encoder = self.encoders[index]
        if encoder.frames > 1:
            return encoder(clips_BNHWC)
        by_frame = encoder(clips_BNHWC.flatten(0, 1)[:, None])
        return by_frame[:, 0].unflatten(0, clips_BNHWC.shape[:2])

    def forward(self, clips: Sequence[Tensor]) -> Tensor:
        """Combined features (B, T, H, W, D) of the same clips, sampled for each encoder.

        Args:
            clips: for each encoder in turn, uint8 frames (B, N, height, width, 3) or stored features.
        """
        return combine([self._features(index, one) for index, one in enumerate(clips)])

    def of_images(self, indices: Sequence[int], images: Sequence[Tensor]) -> Tensor:
        """Combined features (B, 1, H, W, D) of images, by the image encoders of these indices alone."""
        return combine([self._features(index, image) for index, image in zip(indices, images, strict=True)])

    def _features(self, index: int, clips: Tensor) -> Tensor:
        return (self.features(index, clips) if clips.dtype == torch.uint8 else clips).float()


def combine(features: Sequence[Tensor]) -> Tensor:
    """Resize (B, T, H, W, D) grids to the largest by trilinear interpolation in fp32 and join their channels.

    Corners are not aligned; a grid of that size is left unchanged (Apollo's released code).
    """
    if len(features) == 1:
        return features[0]
    size = largest([(f.shape[1], f.shape[2], f.shape[3]) for f in features])
    return torch.cat([_resized(f, size) for f in features], dim=-1)


def _resized(features_BTHWD: Tensor, size: tuple[int, int, int]) -> Tensor:
    if features_BTHWD.shape[1:4] == size:
        return features_BTHWD
    channels_first = features_BTHWD.float().movedim(-1, 1)
    return interpolate(channels_first, size=size, mode="trilinear", align_corners=False).movedim(1, -1)
