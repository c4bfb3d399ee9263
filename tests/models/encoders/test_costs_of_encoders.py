"""FLOPs of the towers by formula against torch's own count, at their real sizes, on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.cards import EncoderCard
from models.cards.published import ENCODERS
from models.costs.flops import encoder_forward
from models.encoders.internvideo2 import InternVideo2Tower
from models.encoders.languagebind import LanguageBindTower
from models.encoders.vjepa import VjepaTower
from models.weights import InternVideo2Sizes, LanguageBindSizes, VjepaSizes

JEPA = "https://dl.fbaipublicfiles.com/jepa"
VIDEO = LanguageBindSizes(frames=8, is_conv3d=True)
LARGE = VjepaSizes(image=224, width=1024, depth=24, mlp=4096)
TOWERS: dict[str, Callable[[int], nn.Module]] = {  # published id -> its tower with so many blocks
    "LanguageBind/LanguageBind_Image": lambda depth: LanguageBindTower(LanguageBindSizes(depth=depth)),
    "LanguageBind/LanguageBind_Video_V1.5_FT": lambda depth: LanguageBindTower(replace(VIDEO, depth=depth)),
    "OpenGVLab/InternVideo2-Stage2_1B-224p-f4": lambda depth: InternVideo2Tower(InternVideo2Sizes(depth=depth)),
    f"{JEPA}/vith16-384/vith16-384.pth.tar": lambda depth: VjepaTower(VjepaSizes(depth=depth)),
    f"{JEPA}/vith16/vith16.pth.tar": lambda depth: VjepaTower(VjepaSizes(image=224, depth=depth)),
    f"{JEPA}/vitl16/vitl16.pth.tar": lambda depth: VjepaTower(replace(LARGE, depth=depth)),
}


def counted(card: EncoderCard, tower: nn.Module) -> int:
    """What torch counts for one clip."""
    side = card.resolution
    by_frame = card.arrangement != "clip"  # these take frames before colours
    shape = (1, card.frames, 3, side, side) if by_frame else (1, 3, card.frames, side, side)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        tower(torch.zeros(shape, device="meta"))
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_costs_what_torch_counts(name: str):
    card = ENCODERS[name]
    with torch.device("meta"):
        tower = TOWERS[name](card.blocks_run)
    assert encoder_forward(card).total == pytest.approx(counted(card, tower), rel=0.03)
