"""Cards of vision encoders (see models/cards): published ones, those of local folders, your own. No torch here."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from models.cards.from_file import OWN, tower_in
from models.cards.tower_shapes import (
    DINOV2_PIXELS,
    FAMILIES,
    LANGUAGEBIND_FRAMES,
    EncoderCard,
    TowerShape,
    card_of,
    resolution_of,
    siglip_head,
    tower_of,
)
from models.design import CustomEncoder, Encoder
from models.weights import UncountedError, find_local, local_config

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


# --- published ----------------------------------------------------------------------------------

_TABLE = "config and published file; the facts and how each was checked are in docs/encoders.md"
_COMPUTED = "computed from transformers' configuration of this model"
_SIGLIP_L = TowerShape(
    kind="siglip", depth=27, width=1152, mlp=4304, patch=14, positions=27**2, extra=siglip_head(1152, 4304)
)


def _vit_l(kind: str, patch: int, positions: int = 0, **more: Any) -> TowerShape:
    return TowerShape(kind=kind, depth=24, width=1024, mlp=4096, patch=patch, positions=positions, **more)


def _hub(repo: str, file: str, licence: str, source: str, commercial: bool = True) -> dict[str, Any]:
    published = f"https://huggingface.co/{repo}"
    return {
        "id": repo,
        "file": file,
        "published": published,
        "licence": licence,
        "commercial": commercial,
        "source": source,
    }


def _vjepa_h(side: int) -> TowerShape:
    return TowerShape(kind="vjepa", depth=32, width=1280, mlp=5120, patch=16, tubelet=2, positions=8 * side**2)


def _meta(name: str) -> dict[str, Any]:
    """V-JEPA's files are published by address, not on the hub."""
    address = f"https://dl.fbaipublicfiles.com/jepa/{name}/{name}.pth.tar"
    return {
        "id": address,
        "file": f"{name}.pth.tar",
        "published": address,
        "licence": "cc-by-nc-4.0",
        "commercial": False,
        "source": _TABLE,
    }


_INTERNVIDEO2 = TowerShape(
    kind="internvideo2",
    depth=40,
    width=1408,
    mlp=6144,
    patch=14,
    positions=4 * 16**2 + 1,
    final_norm=False,
    extra=(16**2 + 1) * 1408 + 36_530_560,  # positions of images; heads of training alone (clip_*)
)

ENCODERS: dict[str, EncoderCard] = {
    card.id: card
    for card in (
        card_of(
            _SIGLIP_L,
            layer=-2,
            heads=16,
            resolution=384,
            **_hub("google/siglip-so400m-patch14-384", "model.safetensors", "apache-2.0", _TABLE),
        ),
        card_of(
            _SIGLIP_L,
            layer=-2,
            heads=16,
            resolution=384,
            **_hub("google/siglip2-so400m-patch14-384", "model.safetensors", "apache-2.0", _COMPUTED),
        ),
        *(
            card_of(
                TowerShape(
                    kind="siglip2",
                    depth=depth,
                    width=width,
                    mlp=mlp,
                    patch=16,
                    positions=16**2,
                    extra=siglip_head(width, mlp),
                ),
                layer=-2,
                heads=heads,
                resolution=16 * 16,
                **_hub(f"google/siglip2-{name}-patch16-naflex", "model.safetensors", "apache-2.0", _COMPUTED),
            )
            for name, depth, width, heads, mlp in (("base", 12, 768, 12, 3072), ("so400m", 27, 1152, 16, 4304))
        ),
        card_of(
            _vit_l("dinov2", 14, 37**2 + 1, extra=1024),  # a mask token
            layer=-2,
            heads=16,
            resolution=DINOV2_PIXELS,
            **_hub("facebook/dinov2-large", "model.safetensors", "apache-2.0", _TABLE),
        ),
        card_of(
            _vit_l("languagebind_image", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            **_hub("LanguageBind/LanguageBind_Image", "pytorch_model.bin", "mit", _TABLE),
        ),
        card_of(
            _vit_l("languagebind_image", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            **_hub(
                "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
                "pytorch_model.bin",
                "mit (of laion's sibling models; this one's page was not read)",
                "LanguageBind's authors state it to be their image encoder (their issue 34); keys are the same",
            ),
        ),
        card_of(
            _vit_l("clip", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            **_hub(
                "openai/clip-vit-large-patch14",
                "model.safetensors",
                "mit (of the code repository; the model's page states none)",
                _COMPUTED,
            ),
        ),
        card_of(
            _vit_l("languagebind_video", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            frames=LANGUAGEBIND_FRAMES,
            **_hub("LanguageBind/LanguageBind_Video_V1.5_FT", "pytorch_model.bin", "mit", _TABLE),
        ),
        card_of(
            _vit_l("videomae", 16, tubelet=2),
            layer=-2,
            heads=16,
            resolution=224,
            frames=16,
            **_hub(
                "MCG-NJU/videomae-large",
                "model.safetensors or pytorch_model.bin",
                "cc-by-nc-4.0",
                _TABLE,
                commercial=False,
            ),
        ),
        card_of(
            _vjepa_h(24),
            layer=-1,
            heads=16,
            resolution=384,
            frames=16,
            **_meta("vith16-384"),
        ),
        card_of(
            _vjepa_h(14),
            layer=-1,
            heads=16,
            resolution=224,
            frames=16,
            **_meta("vith16"),
        ),
        card_of(
            _vit_l("vjepa", 16, 8 * 14**2, tubelet=2),
            layer=-1,
            heads=16,
            resolution=224,
            frames=16,
            **_meta("vitl16"),
        ),
        card_of(
            _vit_l("vjepa2", 16, tubelet=2),
            layer=-1,
            heads=16,
            resolution=256,
            frames=16,
            **_hub("facebook/vjepa2-vitl-fpc64-256", "model.safetensors", "mit", _COMPUTED),
        ),
        card_of(
            _INTERNVIDEO2,
            layer=-2,
            heads=16,
            resolution=224,
            frames=4,
            **_hub(
                "OpenGVLab/InternVideo2-Stage2_1B-224p-f4", "InternVideo2-stage2_1b-224p-f4.pt", "apache-2.0", _TABLE
            ),
        ),
    )
}
"""Published id -> its card with the clip length and the layer that the study takes."""


def encoder_card(config: Encoder) -> EncoderCard:
    """The card of an encoder with the layer and the clip length that a design gives it.

    Raises:
        ValueError: nothing is known of these weights, or they have no such layer or clip; says what is missing.
        FileNotFoundError: no such shipped part.
    """
    if isinstance(config, CustomEncoder):
        return _custom(config)
    known = ENCODERS.get(config.weights)
    if known is None:
        return _local_file(config) if config.kind in OWN else _local(config)
    if known.kind != config.kind and config.kind not in OWN and local_config(config.weights) is not None:
        return _local(config)  # says for itself what it is: laion's CLIP is a `clip` too
    if known.kind != config.kind or known.tower is None:
        raise ValueError(f"{config.weights} is of kind {known.kind!r}, not {config.kind!r}")
    return card_of(
        known.tower,
        layer=config.layer,
        heads=known.heads,
        resolution=known.resolution,
        frames=config.frames,
        id=known.id,
        file=known.file,
        published=known.published,
        licence=known.licence,
        commercial=known.commercial,
        source=known.source,
    )


def _custom(config: CustomEncoder) -> EncoderCard:
    times, height, width = config.grid
    return EncoderCard(
        kind="custom",
        id=config.path,
        file="",
        published="",
        params=config.params,
        params_run=config.params,
        depth=0,
        blocks_run=0,
        width=config.width,
        heads=0,
        mlp=0,
        patch=0,
        tubelet=max(1, config.frames // times),
        frames=config.frames,
        resolution=0,
        grid=config.grid,
        tokens_run=times * height * width,
        licence="unknown",
        commercial=False,
        source="declared in the design",
    )


# --- local files and folders --------------------------------------------------------------------


def _local_file(config: Any) -> EncoderCard:
    """The card of a file that one of our own towers reads, by the shapes that it tells.

    Raises:
        ValueError: there is no such file, or it holds no such tower.
    """
    weights, kind = config.weights, config.kind
    path = find_local(weights, OWN[kind])
    if path is None:
        raise _unknown(config, "the file itself: a path, or a copy below $ABLATE_WEIGHTS")
    told = tower_in(kind, path)
    if told is None:
        like = next(card for card in ENCODERS.values() if card.kind == kind)
        tower, heads, resolution = like.tower, like.heads, like.resolution
        source = f"assumed to be of the shape of {like.id}: {path} cannot be read without torch"
    else:
        tower, heads, resolution = told
        source = f"computed from the shapes in {path}"
    assert tower is not None  # published cards have theirs
    return card_of(
        tower,
        layer=config.layer,
        heads=heads,
        resolution=resolution,
        frames=config.frames,
        id=weights,
        file=path.name,
        published="",
        licence="unknown",
        commercial=False,
        source=source,
    )


def _unknown(config: Any, other: str) -> ValueError:
    """What to raise of weights without a card: a hub id may well run, a slip of a known one or a path will not."""
    weights = config.weights
    published = [card.id for card in ENCODERS.values() if card.kind == config.kind]
    near = get_close_matches(weights, published, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = f"a published name ({', '.join(published)})" if published else "a folder"
    told = f"unknown weights {weights!r} of kind {config.kind!r}; {hint}a plan needs {names}, or {other}"
    is_slip = any(len(weights) != len(one) for one in get_close_matches(weights, published, n=1, cutoff=0.95))
    return UncountedError(told) if HUB_ID.fullmatch(weights) and not is_slip else ValueError(told)


def _local(config: Any) -> EncoderCard:
    """The card of a folder in transformers' format.

    Raises:
        UncountedError: a hub id without a card.
        ValueError: there is no such folder, or it is of another family.
    """
    weights, kind = config.weights, config.kind
    found = local_config(weights)
    if found is None:
        raise _unknown(config, "a local config.json (a folder, or a copy below $ABLATE_WEIGHTS)")
    model_types, defaults = FAMILIES[kind]
    if found.get("model_type") not in model_types:
        told = " or ".join(model_types)
        raise ValueError(f"{weights} is of model type {found.get('model_type')!r}; kind {kind!r} takes {told}")
    sizes = {**defaults, **found, **found.get("vision_config", {})}
    return card_of(
        tower_of(kind, sizes),
        layer=config.layer,
        heads=sizes["num_attention_heads"],
        resolution=resolution_of(kind, sizes),
        frames=config.frames,
        id=weights,
        file="model.safetensors",
        published="",
        licence="unknown",
        commercial=False,
        source=f"computed from {weights}/config.json",
    )
