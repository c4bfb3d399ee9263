"""Shapes of our own towers, told by the shapes of their tensors. No torch here: plans ask too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.weights.errors import CheckpointError
from models.weights.layouts import config_beside

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor -> its shape."""


# --- V-JEPA -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VjepaSizes:
    """Shape of a tower; the defaults are those of the published ViT-H/16 at 384 pixels."""

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


VJEPA_HEADS = {1024: 16, 1280: 16}
"""Heads of ViT-L and ViT-H by their width; a file does not tell them."""


def heads_of(width: int, published: dict[int, int], weights: str) -> int:
    """Heads of a tower by its width. Small ones of one's own are taken to have 64 a head.

    Raises:
        CheckpointError: as wide as published ones, but none of them: any number of heads would load, and compute wrong
            features.
    """
    if width in published:
        return published[width]
    if width >= min(published) // 2:
        known = ", ".join(f"{one} has {heads}" for one, heads in published.items())
        raise CheckpointError(f"{weights}: how many heads a tower of width {width} has is not known ({known})")
    return max(1, width // 64)


def vjepa_sizes(shapes: Shapes, weights: str) -> VjepaSizes:
    """A tower's shape; clips of 16 frames, as published.

    Raises:
        CheckpointError: the tensors are none of such a tower.
    """
    try:
        width, _, tubelet, patch, _ = shapes["patch_embed.proj.weight"]
        places = shapes["pos_embed"][1]
        mlp = shapes["blocks.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError, IndexError):
        raise CheckpointError(
            f"{weights} is no checkpoint of V-JEPA: no pos_embed, patch_embed and blocks in it"
        ) from None
    frames = VjepaSizes.frames
    side = math.isqrt(places * tubelet // frames)
    if side * side * frames != places * tubelet:
        raise CheckpointError(f"{weights} has {places} positions, which are no square grid of clips of {frames} frames")
    return VjepaSizes(
        image=side * patch,
        patch=patch,
        frames=frames,
        tubelet=tubelet,
        width=width,
        depth=_depth(shapes, "blocks."),
        heads=heads_of(width, VJEPA_HEADS, weights),
        mlp=mlp,
    )


# --- InternVideo2 -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InternVideo2Sizes:
    """Shape of a tower; the defaults are those of the published 1B one."""

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


INTERNVIDEO2_HEADS = {1408: 16}
"""Heads of the 1B tower by its width; a file does not tell them."""


def internvideo2_sizes(shapes: Shapes, weights: str) -> InternVideo2Sizes:
    """A tower's shape.

    Raises:
        CheckpointError: the tensors are none of such a tower.
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
        heads=heads_of(width, INTERNVIDEO2_HEADS, weights),
        mlp=mlp,
    )


# --- LanguageBind -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LanguageBindSizes:
    """Shape of a tower; the defaults are those of both published ones."""

    image: int = 224
    patch: int = 14
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp: int = 4096
    frames: int = 1
    """Frames of a clip; 1 for a tower of images, which has no attention over time."""
    is_conv3d: bool = False
    """Whether patches are cut by a convolution over time too and each frame has a class token of its own (V1.5)."""
    is_quick: bool = False
    """Whether GELU is approximated by x * sigmoid(1.702 x); not so in the published towers."""


def languagebind_sizes(shapes: Shapes, path: Path) -> LanguageBindSizes:
    """A tower's shape, and what its tensors do not tell from the config beside them.

    Raises:
        CheckpointError: the tensors are none of such a tower.
    """
    try:
        patches = shapes["embeddings.patch_embedding.weight"]
        places = shapes["embeddings.position_embedding.weight"][0]
        mlp = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{path} is no checkpoint of LanguageBind: it misses {error}") from None
    config = config_beside(path)
    vision = config.get("vision_config") or config.get("vision_config_dict") or config
    width, patch = patches[0], patches[-1]
    temporal = shapes.get("encoder.layers.0.temporal_embedding")
    return LanguageBindSizes(
        image=math.isqrt(places - 1) * patch,
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
