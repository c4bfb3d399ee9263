"""DINOv2 (Oquab et al., arXiv 2304.07193), run frame by frame at 224 pixels; transformers' model.

The published positions are those of a 37 x 37 grid. They are resized to 16 x 16 once, on loading, by the scale
(16 + 0.1) / 37 that transformers used when the study ran: newer versions pass the size 16 instead, which samples the
table at other points (12% apart on a smooth random one).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from models.design import Dinov2
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_block_output, read_config
from models.families import FAMILIES
from models.weights import blocks_read

FAMILY = FAMILIES["dinov2"]


class Dinov2Encoder(VisionEncoder):
    """uint8 RGB frames -> patches of one hidden state, without the class token."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: Dinov2) -> None:
        super().__init__()
        sizes: Dinov2Config = read_config(Dinov2Model, config.weights, FAMILY)
        blocks = blocks_read(config.layer, sizes.num_hidden_layers, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        self.tower = load_tower(
            Dinov2Model,
            sizes,
            config.weights,
            foreign=("classifier.",),
            blocks=("encoder.layer.", "dinov2.encoder.layer."),
        )
        read_block_output(self.tower, self.tower.encoder.layer, blocks, norm="layernorm")
        self.tower.embeddings.mask_token = None  # for training by masked patches only
        assert FAMILY.crop is not None
        self.resolution, self.size = FAMILY.crop
        side = self.size // sizes.patch_size
        table = self.tower.embeddings.position_embeddings
        self.tower.embeddings.position_embeddings = nn.Parameter(resized_positions(table.detach(), side))
        self.frames, self.grid, self.width = 1, (1, side, side), sizes.hidden_size

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        start = (self.resolution - self.size) // 2
        middle = slice(start, start + self.size)
        pixels = self.pixels(clips_BNHWC, self.resolution)[:, 0, :, middle, middle]
        states = self.tower(pixel_values=pixels).last_hidden_state
        return states[:, 1:].unflatten(1, self.grid[1:])[:, None]


def resized_positions(table_1ND: Tensor, side: int) -> Tensor:
    """Positions (1, 1 + side^2, D) from a table (1, 1 + n^2, D); the class token's is kept."""
    before = math.isqrt(table_1ND.shape[1] - 1)
    if before == side:
        return table_1ND
    grid = table_1ND[:, 1:].unflatten(1, (before, before)).movedim(-1, 1)
    scale = (side + 0.1) / before
    grid = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    return torch.cat([table_1ND[:, :1], grid.movedim(1, -1).flatten(1, 2)], dim=1)
