"""Several encoders on one clip: grids brought to the largest, channels side by side (Apollo, section 4.2).

Shapes: B clip, N frame, T, H, W place of the grid, D width of features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.encoders.base import VisionEncoder
from models.video import largest


class CombinedEncoder(nn.Module):
    """Encoders that see the same clips. An encoder of images sees as many frames as the grid has instants."""

    def __init__(self, encoders: Sequence[VisionEncoder]) -> None:
        super().__init__()
        self.encoders: Sequence[VisionEncoder] = nn.ModuleList(encoders)  # type: ignore[assignment]
        self.grid = largest([encoder.grid for encoder in encoders])
        """T, H, W of the combined features."""
        self.width = sum(encoder.width for encoder in encoders)
        """Width of the combined features."""

    def takes(self, place: int) -> int:
        """How many frames of a clip the encoder at this place sees."""
        frames = self.encoders[place].frames
        return self.grid[0] if frames == 1 else frames

    def features(self, place: int, clips_BNHWC: Tensor) -> Tensor:
        """One encoder's features of clips of `takes(place)` frames: (B, T, H, W, D)."""
        encoder = self.encoders[place]
        if encoder.frames > 1:
            return encoder(clips_BNHWC)
        each = encoder(clips_BNHWC.flatten(0, 1)[:, None])
        return each[:, 0].unflatten(0, clips_BNHWC.shape[:2])

    def forward(self, clips: Sequence[Tensor]) -> Tensor:
        """Combined features (B, T, H, W, D) of the same clips as each encoder takes them.

        Args:
            clips: for each encoder in turn, uint8 frames (B, N, height, width, 3) or features computed before.
        """
        return combine([self._seen(place, one) for place, one in enumerate(clips)])

    def of_images(self, places: Sequence[int], images: Sequence[Tensor]) -> Tensor:
        """Combined features (B, 1, H, W, D) of images, by the encoders of images at these places alone."""
        return combine([self._seen(place, one) for place, one in zip(places, images, strict=True)])

    def _seen(self, place: int, clips: Tensor) -> Tensor:
        return (self.features(place, clips) if clips.dtype == torch.uint8 else clips).float()


def combine(features: Sequence[Tensor]) -> Tensor:
    """Bring (B, T, H, W, D) grids to the largest by trilinear interpolation in fp32 and join channels.

    Corners are not aligned; a grid that has the size already is left as it is (Apollo's released code).
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
