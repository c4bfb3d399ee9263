"""Sizes of our own towers, derived from the shapes of their tensors; blocks and tubelets of any. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.families import FAMILIES
from models.weights.errors import CheckpointError
from models.weights.layouts import config_beside

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor -> its shape."""


# --- all towers ---------------------------------------------------------------------------------


def blocks_read(layer: int, depth: int, weights: str) -> int:
    """Number of blocks before hidden state `layer`, counted as transformers does (0 is what enters the first block).

    Args:
        layer: index of the hidden state, negative from the end.
        depth: blocks of the tower.
        weights: for the message.

    Raises:
        CheckpointError: the tower has no such state.
    """
    index = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= index <= depth:
        raise CheckpointError(f"{weights} has hidden states 0 to {depth} (or -{depth + 1} to -1); layer is {layer}")
    return index


def tubelets_read(frames: int, tubelet: int, weights: str) -> int:
    """Number of tubelets of `tubelet` frames that a clip of `frames` frames has in time.

    Raises:
        CheckpointError: the clip does not consist of whole tubelets; the message names the fix.
    """
    if frames % tubelet:
        raise CheckpointError(
            f"{weights} takes tubelets of {tubelet} frames, which do not divide a clip of {frames}; set the encoder's "
            "`frames` to a multiple"
        )
    return frames // tubelet


# --- V-JEPA -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VjepaSizes:
    """Sizes of a tower; the defaults are those of the published ViT-H/16 at 384 pixels."""

    image: int = 384
    patch: int = 16
    frames: int = 16
    tubelet: int = 2
    width: int = 1280
    depth: int = 32
    heads: int = 16
    mlp: int = 5120

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tubelets in time, height and width that the positions are stored for."""
        side = self.image // self.patch
        return self.frames // self.tubelet, side, side


def heads_of(width: int, published: Mapping[int, int], weights: str) -> int:
    """Number of heads of a tower, which its file does not give; 64 wide each in narrow towers, which are the user's.

    Args:
        width: of the tower.
        published: width -> heads of the published towers.
        weights: for the message.

    Raises:
        CheckpointError: the tower is about as wide as published ones but none of them: any number of heads would load,
            and all but one would compute wrong features.
    """
    if width in published:
        return published[width]
    if width >= min(published) // 2:
        examples = ", ".join(f"{width_of_one} has {heads}" for width_of_one, heads in published.items())
        raise CheckpointError(f"{weights}: the number of heads of a tower of width {width} is not known ({examples})")
    return max(1, width // 64)


def vjepa_sizes(shapes: Shapes, weights: str) -> VjepaSizes:
    """Sizes of a tower for clips of 16 frames, as published.

    Raises:
        CheckpointError: the tensors are not those of such a tower.
    """
    try:
        width, _, tubelet, patch, _ = shapes["patch_embed.proj.weight"]
        positions = shapes["pos_embed"][1]
        mlp = shapes["blocks.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError, IndexError):
        raise CheckpointError(
            f"{weights} is no checkpoint of V-JEPA: it has no pos_embed, patch_embed and blocks"
        ) from None
    frames = VjepaSizes.frames
    side = math.isqrt(positions * tubelet // frames)
    if side * side * frames != positions * tubelet:
        raise CheckpointError(
            f"{weights} has {positions} positions, which are no square grid of clips of {frames} frames"
        )
    return VjepaSizes(
        image=side * patch,
        patch=patch,
        frames=frames,
        tubelet=tubelet,
        width=width,
        depth=_depth(shapes, "blocks."),
        heads=heads_of(width, FAMILIES["vjepa"].heads_by_width, weights),
        mlp=mlp,
    )


# --- InternVideo2 -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InternVideo2Sizes:
    """Sizes of a tower; the defaults are those of the published 1B tower."""

    image: int = 224
    patch: int = 14
    frames: int = 4
    """Frames that the positions are stored for."""
    width: int = 1408
    depth: int = 40
    heads: int = 16
    mlp: int = 6144
    gelu: Literal["exact", "tanh"] = "exact"

    @property
    def side(self) -> int:
        """Patches along a frame's side."""
        return self.image // self.patch


def internvideo2_sizes(shapes: Shapes, weights: str) -> InternVideo2Sizes:
    """Sizes of a tower.

    Raises:
        CheckpointError: the tensors are not those of such a tower.
    """
    try:
        width, _, _, patch, _ = shapes["patch_embed.proj.weight"]
        in_image = shapes["img_pos_embed"][1] - 1
        in_clip = shapes["pos_embed"][1] - 1
        mlp = shapes["blocks.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError, IndexError):
        raise CheckpointError(
            f"{weights} is no checkpoint of InternVideo2: it has no pos_embed, img_pos_embed, patch_embed and blocks"
        ) from None
    return InternVideo2Sizes(
        image=math.isqrt(in_image) * patch,
        patch=patch,
        frames=in_clip // in_image,
        width=width,
        depth=_depth(shapes, "blocks."),
        heads=heads_of(width, FAMILIES["internvideo2"].heads_by_width, weights),
        mlp=mlp,
    )


# --- LanguageBind -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LanguageBindSizes:
    """Sizes of a tower; the defaults are those of the published image tower."""

    image: int = 224
    patch: int = 14
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp: int = 4096
    frames: int = 1
    """Frames of a clip; 1 for an image tower, which has no attention over time."""
    is_conv3d: bool = False
    """Whether a convolution over time too cuts the patches and each frame has a class token of its own (V1.5)."""
    is_quick: bool = False
    """Whether GELU is approximated by x * sigmoid(1.702 x), which the published towers do not."""


def languagebind_sizes(shapes: Shapes, path: Path) -> LanguageBindSizes:
    """Sizes of a tower; heads and activation come from the config beside the file.

    Raises:
        CheckpointError: the tensors are not those of such a tower.
    """
    try:
        patches = shapes["embeddings.patch_embedding.weight"]
        positions = shapes["embeddings.position_embedding.weight"][0]
        mlp = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{path} is no checkpoint of LanguageBind: it lacks {error}") from None
    config = config_beside(path)
    vision = config.get("vision_config") or config.get("vision_config_dict") or config
    width, patch = patches[0], patches[-1]
    temporal = shapes.get("encoder.layers.0.temporal_embedding")
    return LanguageBindSizes(
        image=math.isqrt(positions - 1) * patch,
        patch=patch,
        width=width,
        depth=_depth(shapes, "encoder.layers."),
        heads=int(vision.get("num_attention_heads", max(1, width // 64))),
        mlp=mlp,
        frames=1 if temporal is None else temporal[1],
        is_conv3d=len(patches) == 5,
        is_quick=vision.get("hidden_act", "gelu") == "quick_gelu",
    )


def _depth(shapes: Shapes, blocks: str) -> int:
    return len({key.removeprefix(blocks).split(".", 1)[0] for key in shapes if key.startswith(blocks)})
