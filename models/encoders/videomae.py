"""VideoMAE (Tong et al., arXiv 2203.12602); transformers' model."""

from __future__ import annotations

from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEModel

from models.design import VideoMae
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_block_output, read_config
from models.families import FAMILIES
from models.weights import blocks_read, tubelets_read

FAMILY = FAMILIES["videomae"]


class VideoMaeEncoder(VisionEncoder):
    """uint8 RGB clips -> tubelets of one hidden state. Positions are computed, so clips may have any length."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: VideoMae) -> None:
        super().__init__()
        sizes: VideoMAEConfig = read_config(VideoMAEModel, config.weights, FAMILY)
        tubelets = tubelets_read(config.frames, sizes.tubelet_size, config.weights)
        sizes.num_frames = config.frames
        blocks = blocks_read(config.layer, sizes.num_hidden_layers, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        self.tower = load_tower(
            VideoMAEModel,
            sizes,
            config.weights,
            foreign=("decoder.", "encoder_to_decoder.", "mask_token", "classifier.", "fc_norm."),
            unused=("videomae.layernorm.", "layernorm."),
            blocks=("videomae.encoder.layer.", "encoder.layer."),
        )
        read_block_output(self.tower, self.tower.encoder.layer, blocks, norm="layernorm")
        side = sizes.image_size // sizes.patch_size
        self.frames, self.width, self.resolution = config.frames, sizes.hidden_size, sizes.image_size
        self.grid = (tubelets, side, side)

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        pixels = self.pixels(clips_BNHWC, self.resolution)
        states = self.tower(pixel_values=pixels).last_hidden_state
        return states.unflatten(1, self.grid)
