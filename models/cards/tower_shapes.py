"""Vision towers by their shape: parameters by closed formula, cards, what `config.json` files give. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

CLIP_LIKE = ("clip", "languagebind_image", "languagebind_video")
LANGUAGEBIND_FRAMES = 8
"""The published tables of time of LanguageBind have so many entries, so a clip has so many frames."""
DINOV2_PIXELS = 224
"""DINOv2 is run at this side whatever its table of positions (models/design)."""
IMAGE_KINDS = ("siglip", "siglip2", "clip", "dinov2", "languagebind_image")
"""These see one frame at a time."""

Arrangement = Literal["clip", "frame", "frame and time"]


@dataclass(frozen=True, kw_only=True)
class TowerShape:
    """What the parameters of a tower depend on."""

    kind: str
    depth: int
    width: int
    mlp: int
    patch: int
    tubelet: int = 1
    positions: int
    """Entries of the learned or stored table of positions; 0 where positions are computed."""
    gated_mlp: bool = False
    qkv_bias: bool = True
    final_norm: bool = True
    clip: int = LANGUAGEBIND_FRAMES
    """Entries of the tables of time of LanguageBind's tower for videos."""
    is_conv3d: bool = True
    """Whether that tower has a class token for each frame (V1.5) or one for all."""
    extra: int = 0
    """Parameters of the tower's file that no feature needs: pooling heads, mask tokens."""

    @property
    def stem(self) -> int:
        """Before the first block: patches, class tokens, positions, CLIP's norm."""
        clip_like = self.kind in CLIP_LIKE
        patches = 3 * self.tubelet * self.patch**2 + (0 if clip_like else 1)
        by_frame = self.kind == "languagebind_video" and self.is_conv3d
        classes = self.clip if by_frame else int(self.has_class_token)
        return self.width * (patches + classes + self.positions + 2 * clip_like)

    @property
    def has_class_token(self) -> bool:
        """Whether each sequence starts with a class token."""
        return self.kind in (*CLIP_LIKE, "dinov2", "internvideo2")

    @property
    def block(self) -> int:
        """One block."""
        w, m = self.width, self.mlp
        attention = 4 * w * w
        mlp = 3 * w * m + 2 * m + w if self.gated_mlp else 2 * w * m + m + w
        if self.kind == "internvideo2":  # one bias in attention, norms without bias, of queries and keys too, 2 scales
            return attention + mlp + (1 + 2 + 2 + 2) * w
        biases = {"videomae": 2}.get(self.kind, 3) * self.qkv_bias + 1  # VideoMAE's keys have none
        block = attention + mlp + (biases + 4) * w
        if self.kind == "dinov2":
            block += 2 * w  # scales
        if self.kind == "languagebind_video":
            block += self.clip * w + 4 * w * w + 4 * w + 2 * w  # positions in time, attention, its norm
        return block

    @property
    def params(self) -> int:
        """The whole tower as its file holds it."""
        return self.stem + self.depth * self.block + 2 * self.width * self.final_norm + self.extra

    def params_run(self, blocks: int) -> int:
        """What is run for the output of so many blocks: V-JEPA's last one goes through the final norm."""
        normed = self.kind in ("vjepa", "vjepa2") and blocks == self.depth
        return self.stem + blocks * self.block + 2 * self.width * normed


def siglip_head(width: int, mlp: int) -> int:
    """SigLIP's attention pooling: probe, attention, norm, MLP."""
    return width + 4 * width * (width + 1) + 2 * width + 2 * width * mlp + mlp + width


# --- cards --------------------------------------------------------------------------------------


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
    tower: TowerShape | None = field(default=None, repr=False)
    """What the counts follow from; None for custom encoders."""

    @property
    def sequences(self) -> int:
        """Sequences of `tokens_run` places that one clip makes."""
        return 1 if self.arrangement == "clip" else self.frames


def card_of(
    tower: TowerShape,
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
    if tower.kind == "languagebind_video" and frames != tower.clip:
        raise ValueError(f"{id} takes clips of {tower.clip} frames, not {frames}; set its `frames` to {tower.clip}")
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


# --- local folders ------------------------------------------------------------------------------

_B16 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
FAMILIES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "siglip": (("siglip", "siglip_vision_model"), {**_B16, "image_size": 224, "patch_size": 16}),
    "siglip2": (("siglip2", "siglip2_vision_model"), {**_B16, "num_patches": 256, "patch_size": 16}),
    "clip": (("clip", "clip_vision_model"), {**_B16, "image_size": 224, "patch_size": 32}),
    "dinov2": (("dinov2",), {**_B16, "image_size": 224, "patch_size": 14, "mlp_ratio": 4}),
    "videomae": (("videomae",), {**_B16, "image_size": 224, "patch_size": 16, "tubelet_size": 2}),
    "vjepa2": (
        ("vjepa2",),
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "mlp_ratio": 4.0,
            "crop_size": 256,
            "patch_size": 16,
            "tubelet_size": 2,
        },
    ),
}
"""Kind -> model types of its `config.json`, and transformers' defaults for what that leaves out."""


def resolution_of(kind: str, sizes: dict[str, Any]) -> int:
    """Side in pixels of what a tower sees."""
    if kind == "siglip2":
        return math.isqrt(sizes["num_patches"]) * int(sizes["patch_size"])
    return DINOV2_PIXELS if kind == "dinov2" else int(sizes["crop_size" if kind == "vjepa2" else "image_size"])


def tower_of(kind: str, sizes: dict[str, Any]) -> TowerShape:
    """A tower's shape from transformers' names."""
    width, patch = int(sizes["hidden_size"]), int(sizes["patch_size"])
    mlp = int(width * sizes["mlp_ratio"]) if kind in ("dinov2", "vjepa2") else int(sizes["intermediate_size"])
    gated = kind == "dinov2" and bool(sizes.get("use_swiglu_ffn", False))
    if gated:
        mlp = (int(mlp * 2 / 3) + 7) // 8 * 8  # as DINOv2 rounds it
    extra = 0
    if kind in ("siglip", "siglip2") and sizes.get("vision_use_head", True):
        extra = siglip_head(width, mlp)
    if kind == "dinov2" and sizes.get("use_mask_token", True):
        extra = width
    positions = {"siglip2": sizes.get("num_patches"), "videomae": 0, "vjepa2": 0}.get(kind)
    if positions is None:
        positions = (int(sizes["image_size"]) // patch) ** 2 + (kind in ("clip", "dinov2"))
    return TowerShape(
        kind=kind,
        depth=int(sizes["num_hidden_layers"]),
        width=width,
        mlp=mlp,
        patch=patch,
        tubelet=int(sizes.get("tubelet_size", 1)),
        positions=positions,
        gated_mlp=gated,
        qkv_bias=kind in CLIP_LIKE or bool(sizes.get("qv_bias", sizes.get("qkv_bias", True))),
        final_norm=kind != "videomae" or not sizes.get("use_mean_pooling", True),
        extra=extra,
    )
