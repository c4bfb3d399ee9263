"""Config -> vision encoder."""

from __future__ import annotations

import importlib

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
