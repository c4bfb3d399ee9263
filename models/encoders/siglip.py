"""The SigLIP image encoder (Zhai et al., arXiv 2303.15343), run frame by frame; architecture of transformers.

Shapes: B image, P patch (row by row), D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from models.design import Siglip
from models.encoders.base import VisionEncoder
from models.weights import locate


class SiglipEncoder(VisionEncoder):
    """uint8 RGB frames -> features of one hidden layer."""

    def __init__(self, config: Siglip) -> None:
        super().__init__()
        self.tower = SiglipVisionModel.from_pretrained(locate(config.weights), dtype=torch.float32)
        self.layer = config.layer
        sizes: SiglipVisionConfig = self.tower.config
        self.resolution = sizes.image_size
        self.width = sizes.hidden_size

    def forward(self, frames_BHWC: Tensor) -> Tensor:
        """Frames as read (uint8 RGB, any size) -> features (B, P, D)."""
        pixels = frames_BHWC.movedim(-1, 1).float()
        if pixels.shape[-2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            pixels = nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
        pixels = pixels / 127.5 - 1  # SigLIP's mean and deviation are 0.5
        states = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        return states[self.layer]
