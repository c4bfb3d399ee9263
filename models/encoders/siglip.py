"""SigLIP (Zhai et al., arXiv 2303.15343) and SigLIP 2 of fixed resolution, run frame by frame; transformers' model."""

from __future__ import annotations

from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from models.design import Siglip
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_block_output, read_config
from models.families import FAMILIES
from models.weights import blocks_read

FAMILY = FAMILIES["siglip"]


class SiglipEncoder(VisionEncoder):
    """uint8 RGB frames -> patches of one hidden state. The pooling head is not used."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: Siglip) -> None:
        super().__init__()
        sizes: SiglipVisionConfig = read_config(SiglipVisionModel, config.weights, FAMILY)
        blocks = blocks_read(config.layer, sizes.num_hidden_layers, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        sizes.vision_use_head = False
        self.tower = load_tower(
            SiglipVisionModel,
            sizes,
            config.weights,
            foreign=("text_model.", "logit_"),
            unused=("vision_model.head.", "head."),
            blocks=("vision_model.encoder.layers.", "encoder.layers."),
        )
        read_block_output(self.tower, self.tower.encoder.layers, blocks, norm="post_layernorm")
        side = sizes.image_size // sizes.patch_size  # a remainder at the right and bottom is ignored
        self.frames, self.grid, self.width, self.resolution = 1, (1, side, side), sizes.hidden_size, sizes.image_size

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        pixels = self.pixels(clips_BNHWC, self.resolution)[:, 0]
        states = self.tower(pixel_values=pixels).last_hidden_state
        return states.unflatten(1, self.grid[1:])[:, None]
