"""SigLIP 2 in its NaFlex form (Tschannen et al., arXiv 2502.14786), on square frames; transformers' model."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Siglip2VisionConfig, Siglip2VisionModel

from models.design import Siglip2
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_block_output, read_config
from models.families import FAMILIES
from models.weights import blocks_read

FAMILY = FAMILIES["siglip2"]


class Siglip2Encoder(VisionEncoder):
    """uint8 RGB frames -> patches of one hidden state, on the square grid that the positions were learned for."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: Siglip2) -> None:
        super().__init__()
        sizes: Siglip2VisionConfig = read_config(Siglip2VisionModel, config.weights, FAMILY)
        blocks = blocks_read(config.layer, sizes.num_hidden_layers, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        sizes.vision_use_head = False
        self.tower = load_tower(
            Siglip2VisionModel,
            sizes,
            config.weights,
            foreign=("text_model.", "logit_"),
            unused=("vision_model.head.", "head."),
            blocks=("vision_model.encoder.layers.", "encoder.layers."),
        )
        read_block_output(self.tower, self.tower.encoder.layers, blocks, norm="post_layernorm")
        side = FAMILY.stored_side(sizes.to_dict())
        self.patch = sizes.patch_size
        self.frames, self.grid, self.width = 1, (1, side, side), sizes.hidden_size
        self.resolution = side * self.patch

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        pixels = self.pixels(clips_BNHWC, self.resolution)[:, 0]
        _, height, width = self.grid
        # The published processor flattens each patch to a row of its pixels, colours last.
        patches = pixels.unflatten(3, (width, self.patch)).unflatten(2, (height, self.patch)).permute(0, 2, 4, 3, 5, 1)
        rows = patches.reshape(len(pixels), height * width, -1)
        shapes = torch.tensor([[height, width]], device=rows.device).expand(len(rows), 2)
        mask = torch.ones(rows.shape[:2], dtype=torch.int64, device=rows.device)
        output = self.tower(pixel_values=rows, pixel_attention_mask=mask, spatial_shapes=shapes)
        return output.last_hidden_state.unflatten(1, (height, width))[:, None]
