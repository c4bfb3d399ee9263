"""Cards of the published vision encoders. No torch here."""

from __future__ import annotations

from typing import Any

from models.cards.own_towers import internvideo2_shape, languagebind_shape, vjepa_shape
from models.cards.tower_cards import EncoderCard, Origin, card_of
from models.cards.tower_shapes import TowerShape, shape_of_config
from models.families import FAMILIES
from models.weights import InternVideo2Sizes, LanguageBindSizes, VjepaSizes

_CHECKED = "config and published file; the facts and how each was checked are in docs/encoders.md"
_COMPUTED = "computed from transformers' configuration of this model"


def _on_hub(repo: str, file: str, licence: str, source: str, *, commercial: bool = True) -> Origin:
    return Origin(
        id=repo,
        file=file,
        published=f"https://huggingface.co/{repo}",
        licence=licence,
        commercial=commercial,
        source=source,
    )


def _at_meta(name: str) -> Origin:
    """V-JEPA's files are published by address, not on the hub."""
    address = f"https://dl.fbaipublicfiles.com/jepa/{name}/{name}.pth.tar"
    return Origin(
        id=address,
        file=f"{name}.pth.tar",
        published=address,
        licence="cc-by-nc-4.0",
        commercial=False,
        source=_CHECKED,
    )


def _sizes(depth: int, width: int, heads: int, mlp: int, **others: Any) -> dict[str, Any]:
    """Entries of a `config.json`, by the names of transformers."""
    blocks = {"num_hidden_layers": depth, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": mlp}
    return {**blocks, **others}


_SO400M = (27, 1152, 16, 4304)
_LARGE = (24, 1024, 16, 4096)

_OF_TRANSFORMERS: tuple[tuple[str, dict[str, Any], Origin], ...] = (
    (
        "siglip",
        _sizes(*_SO400M, image_size=384, patch_size=14),
        _on_hub("google/siglip-so400m-patch14-384", "model.safetensors", "apache-2.0", _CHECKED),
    ),
    (
        "siglip",
        _sizes(*_SO400M, image_size=384, patch_size=14),
        _on_hub("google/siglip2-so400m-patch14-384", "model.safetensors", "apache-2.0", _COMPUTED),
    ),
    (
        "siglip2",
        _sizes(12, 768, 12, 3072, num_patches=256, patch_size=16),
        _on_hub("google/siglip2-base-patch16-naflex", "model.safetensors", "apache-2.0", _COMPUTED),
    ),
    (
        "siglip2",
        _sizes(*_SO400M, num_patches=256, patch_size=16),
        _on_hub("google/siglip2-so400m-patch16-naflex", "model.safetensors", "apache-2.0", _COMPUTED),
    ),
    (
        "dinov2",
        _sizes(*_LARGE, image_size=518, patch_size=14),
        _on_hub("facebook/dinov2-large", "model.safetensors", "apache-2.0", _CHECKED),
    ),
    (
        "clip",
        _sizes(*_LARGE, image_size=224, patch_size=14),
        _on_hub(
            "openai/clip-vit-large-patch14",
            "model.safetensors",
            "mit (of the code repository; the model's page states none)",
            _COMPUTED,
        ),
    ),
    (
        "videomae",
        _sizes(*_LARGE, image_size=224, patch_size=16, tubelet_size=2, use_mean_pooling=False),
        _on_hub(
            "MCG-NJU/videomae-large",
            "model.safetensors or pytorch_model.bin",
            "cc-by-nc-4.0",
            _CHECKED,
            commercial=False,
        ),
    ),
    (
        "vjepa2",
        _sizes(*_LARGE, crop_size=256, patch_size=16, tubelet_size=2),
        _on_hub("facebook/vjepa2-vitl-fpc64-256", "model.safetensors", "mit", _COMPUTED),
    ),
)
"""Kind, entries of `config.json`, origin."""

_OWN: tuple[tuple[TowerShape, Origin], ...] = (
    (
        languagebind_shape("languagebind_image", LanguageBindSizes()),
        _on_hub("LanguageBind/LanguageBind_Image", "pytorch_model.bin", "mit", _CHECKED),
    ),
    (
        languagebind_shape("languagebind_image", LanguageBindSizes()),
        _on_hub(
            "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
            "pytorch_model.bin",
            "mit (of laion's sibling models; this one's page was not read)",
            "LanguageBind's authors state it to be their image encoder (their issue 34); keys are the same",
        ),
    ),
    (
        languagebind_shape("languagebind_video", LanguageBindSizes(frames=8, is_conv3d=True)),
        _on_hub("LanguageBind/LanguageBind_Video_V1.5_FT", "pytorch_model.bin", "mit", _CHECKED),
    ),
    (vjepa_shape(VjepaSizes()), _at_meta("vith16-384")),
    (vjepa_shape(VjepaSizes(image=224)), _at_meta("vith16")),
    (vjepa_shape(VjepaSizes(image=224, width=1024, depth=24, mlp=4096)), _at_meta("vitl16")),
    (
        internvideo2_shape(InternVideo2Sizes(), unused=36_530_560),
        _on_hub(
            "OpenGVLab/InternVideo2-Stage2_1B-224p-f4", "InternVideo2-stage2_1b-224p-f4.pt", "apache-2.0", _CHECKED
        ),
    ),
)


TOWERS: dict[str, tuple[TowerShape, Origin]] = {
    origin.id: (tower, origin)
    for tower, origin in (
        *((shape_of_config(FAMILIES[kind], sizes), origin) for kind, sizes, origin in _OF_TRANSFORMERS),
        *_OWN,
    )
}
"""Published id -> the tower's shape and where it comes from."""

ENCODERS: dict[str, EncoderCard] = {
    name: card_of(tower, origin, layer=tower.family.default_layer, frames=tower.family.default_frames)
    for name, (tower, origin) in TOWERS.items()
}
"""Published id -> its card with the clip length and the layer that the study takes."""
