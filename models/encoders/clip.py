"""CLIP's image tower (Radford et al., arXiv 2103.00020), run frame by frame; transformers' model."""

from __future__ import annotations

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from models.design import ClipTower
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_block_output, read_config
from models.families import FAMILIES
from models.weights import blocks_read

FAMILY = FAMILIES["clip"]


class ClipEncoder(VisionEncoder):
    """uint8 RGB frames -> patches of one hidden state, without the class token."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: ClipTower) -> None:
        super().__init__()
        sizes: CLIPVisionConfig = read_config(CLIPVisionModel, config.weights, FAMILY)
        blocks = blocks_read(config.layer, sizes.num_hidden_layers, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        self.tower = load_tower(
            CLIPVisionModel,
            sizes,
            config.weights,
            foreign=("text_model.", "logit_scale", "text_projection.", "visual_projection."),
            blocks=("vision_model.encoder.layers.", "encoder.layers."),
        )
        read_block_output(self.tower, self.tower.encoder.layers, blocks, norm="post_layernorm")
        side = sizes.image_size // sizes.patch_size
        self.frames, self.grid, self.width, self.resolution = 1, (1, side, side), sizes.hidden_size, sizes.image_size

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        pixels = self.pixels(clips_BNHWC, self.resolution)[:, 0]
        states = self.tower(pixel_values=pixels).last_hidden_state
        return states[:, 1:].unflatten(1, self.grid[1:])[:, None]
