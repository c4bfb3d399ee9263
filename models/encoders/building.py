"""Config -> vision encoder."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from models.cards import encoder_card
from models.design import CustomEncoder, Encoder
from models.encoders.base import VisionEncoder
from models.encoders.custom import load_custom
from models.families import FAMILIES


def build_encoder(config: Encoder) -> VisionEncoder:
    """The encoder with its weights: the class that its family's record names, or a custom one.

    Raises:
        CheckpointError: its files are missing, damaged, unsafe, or do not fit the config.
        ValueError: a custom encoder cannot be imported, or is not what the config declares.
    """
    if isinstance(config, CustomEncoder):
        return load_custom(config)
    module, _, name = FAMILIES[config.kind].encoder.partition(":")
    encoder: VisionEncoder = getattr(importlib.import_module(module), name)(config)
    return encoder


class StoredEncoder(VisionEncoder):
    """The geometry of an encoder whose features are all stored. It has no weights, and encodes nothing."""

    def __init__(self, frames: int, grid: tuple[int, int, int], width: int, resolution: int) -> None:
        super().__init__()
        self.frames, self.grid, self.width, self.resolution = frames, grid, width, resolution
        self.register_buffer("mark", torch.empty(0), persistent=False)  # device and dtype of its features

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            f"{len(clips_BNHWC)} clips have no stored features, and the encoder was built without its weights"
        )


def encoder_geometry(config: Encoder) -> VisionEncoder:
    """What `build_encoder` returns, without its weights: for an encoder whose features are all stored.

    Raises:
        ValueError: the encoder's sizes are unknown.
        FileNotFoundError: no such shipped part.
    """
    card = encoder_card(config)
    crop = None if isinstance(config, CustomEncoder) else FAMILIES[config.kind].crop
    return StoredEncoder(card.frames, card.grid, card.width, crop.resized if crop else card.resolution)
