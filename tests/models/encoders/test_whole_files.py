"""Published files as a whole, by their lists of keys: what the loaders leave out of them, and that nothing else is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import SiglipVisionConfig, VideoMAEConfig

from models.design import Siglip, VideoMae
from models.encoders import build_encoder
from models.weights import OWN_LAYOUTS, Shape, tower_part
from tests.models.encoders.published import manifest
from tests.models.encoders.test_transformers_families import PREFIXED, VIDEOMAE, published


@pytest.mark.parametrize(
    ("kind", "whole", "tower", "prefix"),
    [
        ("languagebind_image", "languagebind-image.full_checkpoint", "languagebind-image", "vision_model."),
        (
            "languagebind_video",
            "languagebind-video-v1.5-ft.full_checkpoint",
            "languagebind-video-v1.5-ft",
            "vision_model.",
        ),
        ("vjepa", "vjepa-vith16-384.target_encoder_in_checkpoint", "vjepa-vith16-384", ""),
        (
            "internvideo2",
            "internvideo2-stage2-1b-224p-f4.vision_in_checkpoint",
            "internvideo2-stage2-1b-224p-f4.patch_features_only",
            "",
        ),
    ],
)
def test_of_a_whole_file_exactly_the_tower_remains(kind: str, whole: str, tower: str, prefix: str):
    file = {key: Shape(shape) for key, shape in manifest(whole).items()}
    part = tower_part(file, OWN_LAYOUTS[kind], Shape, Path("whole"))
    listed = {key: shape for key, shape in manifest(tower).items() if not key.endswith("position_ids")}
    assert {prefix + key: shape for key, shape in part.items()} == listed
    assert len(file) > len(part) or kind == "vjepa"


@pytest.mark.parametrize(
    ("whole", "params"),
    [
        ("siglip-so400m-patch14-384.full_checkpoint", 877_960_498),
        ("languagebind-image.full_checkpoint", 427_616_513),
        ("languagebind-video-v1.5-ft.full_checkpoint", 528_631_041),
    ],
)
def test_whole_files_are_as_large_as_published(whole: str, params: int):
    shapes = {key: shape for key, shape in manifest(whole).items() if not key.endswith("position_ids")}
    assert sum(math.prod(shape) for shape in shapes.values()) == params


SMALLER = {  # dimensions of the published files -> those of the same file with narrow blocks
    "siglip": {1152: 16, 4304: 24, 3456: 48, 729: 9, 32000: 5, 64: 6},
    "videomae": {1024: 16, 4096: 24, 512: 8, 2048: 12, 1536: 10},
}
NARROW = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
CASES: dict[str, tuple[str, tuple[str, ...], Any, Any, list[tuple[str, str]]]] = {
    "siglip": (
        "siglip-so400m-patch14-384",
        ("vision_model.head.", "vision_model.post_layernorm."),
        SiglipVisionConfig(**NARROW, num_hidden_layers=27, image_size=42, patch_size=14),
        lambda weights: Siglip(kind="siglip", weights=weights, layer=-1),
        PREFIXED,
    ),
    "videomae": (
        "videomae-large",
        ("videomae.layernorm.",),
        VideoMAEConfig(**NARROW, num_hidden_layers=24, image_size=32, patch_size=16, use_mean_pooling=False),
        lambda weights: VideoMae(kind="videomae", weights=weights, layer=-1),
        VIDEOMAE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_whole_file_of_transformers_loads_and_exactly_the_tower_remains(name: str, tmp_path: Path):
    """Every key of the published file, with narrow tensors; all blocks are run."""
    listed, unused, sizes, config, renames = CASES[name]
    sizes.save_pretrained(tmp_path)
    smaller = SMALLER[name]
    whole = {
        key: torch.ones([smaller.get(side, side) for side in shape])
        for key, shape in manifest(f"{listed}.full_checkpoint").items()
    }
    save_file(whole, tmp_path / "model.safetensors", metadata={"format": "pt"})
    encoder = build_encoder(config(str(tmp_path)))
    loaded = {published(key, renames) for key in encoder.tower.state_dict()}
    assert loaded == {key for key in manifest(listed) if not key.startswith(unused)}
    assert all(bool((tensor == 1).all()) for tensor in encoder.tower.parameters())
