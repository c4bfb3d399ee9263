"""Shapes of the towers that are modules of ours, derived from the tensors in a file, for plans. No torch here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from models.cards.tower_shapes import TowerShape
from models.weights import (
    OWN_LAYOUTS,
    CheckpointError,
    InternVideo2Sizes,
    LanguageBindSizes,
    Shape,
    VjepaSizes,
    internvideo2_sizes,
    languagebind_sizes,
    read_shapes,
    tower_part,
    vjepa_sizes,
)


def shape_of_file(kind: str, path: Path) -> TowerShape | None:
    """A tower's shape from the names and shapes of a file's tensors; None if they cannot be read without torch.

    Raises:
        ValueError: the file is damaged, or contains no such tower.
    """
    content = read_shapes(path)
    if content is None:
        return None
    layout = OWN_LAYOUTS[kind]
    shapes = tower_part(content, replace(layout, foreign=()), Shape, path)
    own = {key: shape for key, shape in shapes.items() if not key.startswith(layout.foreign)}
    if kind == "vjepa":
        return vjepa_shape(vjepa_sizes(own, str(path)))
    if kind == "internvideo2":
        unused = sum(math.prod(shapes[key]) for key in set(shapes) - set(own))
        return internvideo2_shape(internvideo2_sizes(own, str(path)), unused=unused)
    sizes = languagebind_sizes(own, path)
    if kind == "languagebind_image" and sizes.frames > 1:
        raise CheckpointError(f"{path} is a tower for videos; use kind: languagebind_video")
    return languagebind_shape(kind, sizes)


def vjepa_shape(sizes: VjepaSizes) -> TowerShape:
    """The shape of a V-JEPA tower."""
    return TowerShape(
        kind="vjepa",
        depth=sizes.depth,
        width=sizes.width,
        heads=sizes.heads,
        mlp=sizes.mlp,
        patch=sizes.patch,
        tubelet=sizes.tubelet,
        resolution=sizes.image,
        positions=math.prod(sizes.grid),
    )


def internvideo2_shape(sizes: InternVideo2Sizes, *, unused: int) -> TowerShape:
    """The shape of an InternVideo2 tower.

    Args:
        sizes: of its tensors.
        unused: parameters of the heads that only its training used (`clip_*`).
    """
    in_frame = sizes.side**2
    return TowerShape(
        kind="internvideo2",
        depth=sizes.depth,
        width=sizes.width,
        heads=sizes.heads,
        mlp=sizes.mlp,
        patch=sizes.patch,
        resolution=sizes.image,
        positions=sizes.frames * in_frame + 1,
        qkv_biases=0,
        final_norm=False,
        extra=unused + (in_frame + 1) * sizes.width,  # the table of positions of single images
    )


def languagebind_shape(kind: str, sizes: LanguageBindSizes) -> TowerShape:
    """The shape of a LanguageBind tower, for images or videos."""
    return TowerShape(
        kind=kind,
        depth=sizes.depth,
        width=sizes.width,
        heads=sizes.heads,
        mlp=sizes.mlp,
        patch=sizes.patch,
        resolution=sizes.image,
        positions=(sizes.image // sizes.patch) ** 2 + 1,
        stored_frames=sizes.frames,
        is_conv3d=sizes.is_conv3d,
    )
