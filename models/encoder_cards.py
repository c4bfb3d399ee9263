"""Cards of vision encoders (see models/cards.py): published ones, those of local folders, your own. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from models.design import CustomEncoder, Encoder
from models.encoder_counts import (
    DINOV2_PIXELS,
    FAMILIES,
    LANGUAGEBIND_FRAMES,
    Tower,
    resolution_of,
    siglip_head,
    tower_of,
)
from models.weights import local_config

IMAGE_KINDS = ("siglip", "siglip2", "clip", "dinov2", "languagebind_image")
"""These see one frame at a time."""

Arrangement = Literal["clip", "frame", "frame and time"]


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """A vision encoder as it is run: some blocks of a tower, on one clip."""

    kind: str
    id: str
    """Hub id, address, folder, `tiny/NAME@VERSION`, or a custom encoder's import path."""
    file: str
    """Published file or files."""
    published: str
    """Where to fetch it."""
    params: int
    """Of the tower in the file."""
    params_run: int
    """Of what is run."""
    depth: int
    """Blocks of the tower; 0 where they are not known (custom encoders)."""
    blocks_run: int
    """Blocks before the hidden state that is the feature."""
    width: int
    heads: int
    mlp: int
    """Hidden width of a block's MLP."""
    patch: int
    """Side of a patch in pixels."""
    tubelet: int
    """Frames of a patch."""
    frames: int
    """Frames of one clip."""
    resolution: int
    """Side in pixels of what the tower sees."""
    grid: tuple[int, int, int]
    """Features of one clip in time, height and width."""
    tokens_run: int
    """Places of one sequence that attention sees, class token included; `arrangement` says what a sequence is."""
    arrangement: Arrangement = "clip"
    """`clip`: one sequence is the whole clip; `frame`: one is a frame; `frame and time`: besides, in each block, each
    place of the frame attends over the clip's `frames` (LanguageBind's video tower)."""
    gated_mlp: bool = False
    """Whether a block's MLP has three matrices."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    source: str
    tower: Tower | None = field(default=None, repr=False)
    """What the counts follow from; None for custom encoders."""

    @property
    def sequences(self) -> int:
        """Sequences of `tokens_run` places that one clip makes."""
        return 1 if self.arrangement == "clip" else self.frames


def _card(
    tower: Tower,
    *,
    layer: int,
    heads: int,
    resolution: int,
    frames: int = 1,
    id: str,
    file: str,
    published: str,
    licence: str,
    commercial: bool,
    source: str,
) -> EncoderCard:
    """A card with all that follows from a tower's shape.

    Raises:
        ValueError: the tower has no such layer, or takes no clip of so many frames.
    """
    blocks = layer if layer >= 0 else tower.depth + 1 + layer
    if not 0 <= blocks <= tower.depth:
        depth = tower.depth
        raise ValueError(f"{id} has hidden states 0 to {depth} (or -{depth + 1} to -1); layer is {layer}")
    if frames % tower.tubelet:
        raise ValueError(
            f"{id} takes tubelets of {tower.tubelet} frames, which do not divide a clip of {frames}; "
            "set the encoder's `frames` to a multiple"
        )
    if tower.kind == "languagebind_video" and frames != LANGUAGEBIND_FRAMES:
        raise ValueError(f"{id} takes clips of {LANGUAGEBIND_FRAMES} frames, not {frames}")
    side = resolution // tower.patch
    by_frame: Arrangement = "frame and time" if tower.kind == "languagebind_video" else "frame"
    arrangement: Arrangement = by_frame if tower.kind in IMAGE_KINDS or tower.kind == "languagebind_video" else "clip"
    times = frames // tower.tubelet
    places = side * side * (times if arrangement == "clip" else 1)
    return EncoderCard(
        kind=tower.kind,
        id=id,
        file=file,
        published=published,
        params=tower.params,
        params_run=tower.params_run(blocks),
        depth=tower.depth,
        blocks_run=blocks,
        width=tower.width,
        heads=heads,
        mlp=tower.mlp,
        patch=tower.patch,
        tubelet=tower.tubelet,
        frames=frames,
        resolution=resolution,
        grid=(times, side, side),
        tokens_run=places + tower.has_class_token,
        arrangement=arrangement,
        gated_mlp=tower.gated_mlp,
        licence=licence,
        commercial=commercial,
        source=source,
        tower=tower,
    )


# --- published ----------------------------------------------------------------------------------

_TABLE = "config and published file; the facts and how each was checked are in docs/encoders.md"
_COMPUTED = "computed from transformers' configuration of this model"
_SIGLIP_L = Tower(
    kind="siglip", depth=27, width=1152, mlp=4304, patch=14, positions=27**2, extra=siglip_head(1152, 4304)
)


def _vit_l(kind: str, patch: int, positions: int = 0, **more: Any) -> Tower:
    return Tower(kind=kind, depth=24, width=1024, mlp=4096, patch=patch, positions=positions, **more)


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


_INTERNVIDEO2 = Tower(
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
        _card(
            _SIGLIP_L,
            layer=-2,
            heads=16,
            resolution=384,
            **_hub("google/siglip-so400m-patch14-384", "model.safetensors", "apache-2.0", _TABLE),
        ),
        _card(
            _SIGLIP_L,
            layer=-2,
            heads=16,
            resolution=384,
            **_hub("google/siglip2-so400m-patch14-384", "model.safetensors", "apache-2.0", _COMPUTED),
        ),
        _card(
            _vit_l("dinov2", 14, 37**2 + 1, extra=1024),  # a mask token
            layer=-2,
            heads=16,
            resolution=DINOV2_PIXELS,
            **_hub("facebook/dinov2-large", "model.safetensors", "apache-2.0", _TABLE),
        ),
        _card(
            _vit_l("languagebind_image", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            **_hub("LanguageBind/LanguageBind_Image", "pytorch_model.bin", "mit", _TABLE),
        ),
        _card(
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
        _card(
            _vit_l("languagebind_video", 14, 16**2 + 1),
            layer=-2,
            heads=16,
            resolution=224,
            frames=LANGUAGEBIND_FRAMES,
            **_hub("LanguageBind/LanguageBind_Video_V1.5_FT", "pytorch_model.bin", "mit", _TABLE),
        ),
        _card(
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
        _card(
            Tower(kind="vjepa", depth=32, width=1280, mlp=5120, patch=16, tubelet=2, positions=8 * 24**2),
            layer=-1,
            heads=16,
            resolution=384,
            frames=16,
            id="https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar",
            file="vith16-384.pth.tar",
            published="https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar",
            licence="cc-by-nc-4.0",
            commercial=False,
            source=_TABLE,
        ),
        _card(
            _vit_l("vjepa2", 16, tubelet=2),
            layer=-1,
            heads=16,
            resolution=256,
            frames=16,
            **_hub("facebook/vjepa2-vitl-fpc64-256", "model.safetensors", "mit", _COMPUTED),
        ),
        _card(
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
        return _local(config)
    if known.kind != config.kind or known.tower is None:
        raise ValueError(f"{config.weights} is of kind {known.kind!r}, not {config.kind!r}")
    return _card(
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


# --- local folders ------------------------------------------------------------------------------


def _local(config: Any) -> EncoderCard:
    """The card of a folder in transformers' format."""
    weights, kind = config.weights, config.kind
    published = [card.id for card in ENCODERS.values() if card.kind == kind]
    near = get_close_matches(weights, published, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = f"a published name ({', '.join(published)})" if published else "a folder"
    if kind not in FAMILIES:
        raise ValueError(
            f"unknown weights {weights!r} of kind {kind!r}; {hint}a plan needs {names}, with the file itself below "
            "$ABLATE_WEIGHTS; or describe the encoder by kind: custom"
        )
    found = local_config(weights)
    if found is None:
        raise ValueError(
            f"unknown weights {weights!r} of kind {kind!r}; {hint}a plan needs {names}, or a local config.json "
            "(a folder, or a copy below $ABLATE_WEIGHTS)"
        )
    model_types, defaults = FAMILIES[kind]
    if found.get("model_type") not in model_types:
        told = " or ".join(model_types)
        raise ValueError(f"{weights} is of model type {found.get('model_type')!r}; kind {kind!r} takes {told}")
    sizes = {**defaults, **found, **found.get("vision_config", {})}
    return _card(
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
