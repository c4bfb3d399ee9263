"""What a file of one of our own towers tells a plan. No torch here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from models.cards.tower_shapes import TowerShape
from models.weights import (
    INTERNVIDEO2,
    LANGUAGEBIND_IMAGE,
    LANGUAGEBIND_VIDEO,
    VJEPA,
    CheckpointError,
    Shape,
    Shapes,
    internvideo2_sizes,
    languagebind_sizes,
    read_shapes,
    tower_part,
    vjepa_sizes,
)

OWN = {
    "vjepa": VJEPA,
    "internvideo2": INTERNVIDEO2,
    "languagebind_image": LANGUAGEBIND_IMAGE,
    "languagebind_video": LANGUAGEBIND_VIDEO,
}
"""Kinds that are modules of ours, which read their shape from the file."""


def tower_in(kind: str, path: Path) -> tuple[TowerShape, int, int] | None:
    """TowerShape, heads and resolution that the shapes in a file tell; None if they cannot be read without torch.

    Raises:
        ValueError: the file is damaged, or holds no such tower.
    """
    content = read_shapes(path)
    if content is None:
        return None
    shapes = tower_part(content, replace(OWN[kind], foreign=()), Shape, path)
    own = {key: shape for key, shape in shapes.items() if not key.startswith(OWN[kind].foreign)}
    if kind == "vjepa":
        return _vjepa(own, path)
    if kind == "internvideo2":
        return _internvideo2(own, path, unused=sum(math.prod(shapes[key]) for key in set(shapes) - set(own)))
    return _languagebind(kind, own, path)


def _vjepa(shapes: Shapes, path: Path) -> tuple[TowerShape, int, int]:
    sizes = vjepa_sizes(shapes, str(path))
    tower = TowerShape(
        kind="vjepa",
        depth=sizes.depth,
        width=sizes.width,
        mlp=sizes.mlp,
        patch=sizes.patch,
        tubelet=sizes.tubelet,
        positions=math.prod(sizes.grid),
    )
    return tower, sizes.heads, sizes.image


def _internvideo2(shapes: Shapes, path: Path, unused: int) -> tuple[TowerShape, int, int]:
    sizes = internvideo2_sizes(shapes, str(path))
    tower = TowerShape(
        kind="internvideo2",
        depth=sizes.depth,
        width=sizes.width,
        mlp=sizes.mlp,
        patch=sizes.patch,
        positions=sizes.frames * sizes.side**2 + 1,
        final_norm=False,
        extra=unused + math.prod(shapes["img_pos_embed"]),
    )
    return tower, sizes.heads, sizes.image


def _languagebind(kind: str, shapes: Shapes, path: Path) -> tuple[TowerShape, int, int]:
    sizes = languagebind_sizes(shapes, path)
    if kind == "languagebind_image" and sizes.frames > 1:
        raise CheckpointError(f"{path} is a tower for videos; use kind: languagebind_video")
    tower = TowerShape(
        kind=kind,
        depth=sizes.depth,
        width=sizes.width,
        mlp=sizes.mlp,
        patch=sizes.patch,
        positions=(sizes.image // sizes.patch) ** 2 + 1,
        clip=sizes.frames,
        is_conv3d=sizes.is_conv3d,
    )
    return tower, sizes.heads, sizes.image
