"""V-JEPA 2 (Assran et al., arXiv 2506.09985); the encoder of transformers' model."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model

from models.design import Vjepa2
from models.encoders.base import VisionEncoder
from models.encoders.transformers_towers import load_tower, read_config
from models.families import FAMILIES
from models.weights import blocks_read, tubelets_read

FAMILY = FAMILIES["vjepa2"]


class Vjepa2Encoder(VisionEncoder):
    """uint8 RGB clips -> tubelets of one hidden state. Positions are rotary, so clips may have any length."""

    normalisation, interpolation, antialias, rounds = FAMILY.pixels

    def __init__(self, config: Vjepa2) -> None:
        super().__init__()
        sizes: VJEPA2Config = read_config(VJEPA2Model, config.weights, FAMILY)
        tubelets = tubelets_read(config.frames, sizes.tubelet_size, config.weights)
        depth = sizes.num_hidden_layers
        blocks = blocks_read(config.layer, depth, config.weights)
        sizes.num_hidden_layers = max(1, blocks)
        whole = load_tower(
            VJEPA2Model, sizes, config.weights, foreign=("classifier.", "pooler."), blocks=("encoder.layer.",)
        )
        self.tower = whole.encoder
        del self.tower.layer[blocks:]
        if blocks < depth:
            self.tower.layernorm = nn.Identity()  # only the last block's output goes through the final norm
        side = sizes.crop_size // sizes.patch_size
        self.frames, self.width, self.resolution = config.frames, sizes.hidden_size, sizes.crop_size
        self.grid = (tubelets, side, side)

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        states = self.tower.embeddings(self.pixels(clips_BNHWC, self.resolution))
        for block in self.tower.layer:
            states = block(states, None)[0]
        return self.tower.layernorm(states).unflatten(1, self.grid)
