"""Pixels before each tower against those of the reference's own code (tests/models/goldens/pixels.py)."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor

from models.families import FAMILIES
from tests.models.encoders.published import golden
from tests.models.encoders.test_pixels import bare
from tests.models.goldens.frames import SIZES, frame

SIDES = {"siglip": 384, "siglip2": 256, "dinov2": 256, "vjepa": 384, "vjepa2": 256}
"""Side of the square before a crop; 224 for the other kinds."""
RMS_IN_SHADES = {True: 0.25, False: 0.4}
"""Largest root mean square difference in shades of 255, by `antialias`. Measured: at most 0.23 where Pillow or
torchvision resizes (0.05 in most cases), at most 0.37 where cv2 does, whose weights have 11 bits."""
MOST_SHADES = 1.1
"""Largest single difference: one shade where a half is rounded the other way, and the golden's float16."""


def tower_pixels(kind: str, native: np.ndarray) -> Tensor:
    """What the tower of a kind takes of a frame: (3, S, S)."""
    module, _, name = FAMILIES[kind].encoder.partition(":")
    encoder, side = bare(getattr(import_module(module), name)), SIDES.get(kind, 224)
    pixels = encoder.pixels(torch.from_numpy(native)[None, None], side)[0, 0]
    return pixels[:, 16:240, 16:240] if kind == "dinov2" else pixels


def sampled(pixels: Tensor) -> Tensor:
    """The part of a frame that goldens hold: every 16th of a side, and the middle."""
    side = pixels.shape[-1]
    middle = slice(side // 2 - 8, side // 2 + 8)
    return torch.cat([pixels[:, 5 :: side // 16, 5 :: side // 16].flatten(1), pixels[:, middle, middle].flatten(1)], 1)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("kind", FAMILIES)
def test_pixels_are_those_of_the_references_code(kind: str, height: int, width: int):
    stored = golden("pixels")
    expected = torch.cat(
        [stored[f"{kind}.{height}x{width}.{part}"].float().flatten(1) for part in ("every", "middle")], 1
    )
    shades = 255 * torch.tensor(FAMILIES[kind].pixels.normalisation[1])[:, None]
    difference = (sampled(tower_pixels(kind, frame(height, width))) - expected) * shades
    assert difference.abs().max() < MOST_SHADES
    assert difference.square().mean().sqrt() < RMS_IN_SHADES[FAMILIES[kind].pixels.antialias]
