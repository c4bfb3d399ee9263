"""What every vision encoder offers to the rest of the model."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class VisionEncoder(nn.Module):
    """Frames -> features. Normalisation is the encoder's own affair."""

    resolution: int
    """Height and width of the frames that it looks at, in pixels."""
    width: int
    """Width of its features."""

    @abstractmethod
    def forward(self, frames_BHWC: Tensor) -> Tensor:
        """uint8 RGB frames of any size -> features (B, P, D)."""
