"""How the published files of our own towers are laid out. No torch here: plans read shapes by the same rules.

A file may wrap the weights (`module`, `target_encoder`), may put a prefix before the tower's names, and may hold
foreign parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from models.weights.errors import CheckpointError
from models.weights.locations import locate

Entry = TypeVar("Entry")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a family's published files are laid out."""

    files: tuple[str, ...]
    """Names that a file may have in its folder, the first found is taken; the first of all is what was published."""
    published: str
    """Where it is to be fetched: an address."""
    containers: tuple[str, ...] = ()
    """Keys under which the file may hold the weights, the first found is taken; else it holds them bare."""
    prefixes: tuple[str, ...] = ("",)
    """Prefixes of the tower's names, the first that occurs is taken and stripped."""
    foreign: tuple[str, ...] = ()
    """Prefixes (after stripping) of what may stand there besides and is left out."""
    reads_config: bool = False
    """Whether `config.json` beside the file tells what the tensors do not, if it is there."""


VJEPA = Layout(
    files=("vith16-384.pth.tar", "vith16.pth.tar", "vitl16.pth.tar", "model.safetensors"),
    published="https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar",
    containers=("target_encoder", "encoder"),
    prefixes=("module.backbone.", "backbone.", ""),
)
TRAINING_ONLY = ("clip_pos_embed", "clip_img_pos_embed", "clip_projector.", "clip_decoder.", "final_clip_decoder.")
"""Parts of InternVideo2's tower that make no feature."""
INTERNVIDEO2 = Layout(
    files=("InternVideo2-stage2_1b-224p-f4.pt", "InternVideo2-1B_f4_vision.pt", "model.safetensors"),
    published="https://huggingface.co/OpenGVLab/InternVideo2-Stage2_1B-224p-f4 (gated: ask there for access)",
    containers=("module", "model"),
    prefixes=("vision_encoder.", ""),
    foreign=TRAINING_ONLY,
)
LANGUAGEBIND_IMAGE = Layout(
    files=("pytorch_model.bin", "model.safetensors"),
    published="https://huggingface.co/LanguageBind/LanguageBind_Image",
    prefixes=("vision_model.", ""),
    foreign=("text_model.", "text_projection.", "visual_projection.", "logit_scale"),
    reads_config=True,
)
LANGUAGEBIND_VIDEO = replace(
    LANGUAGEBIND_IMAGE, published="https://huggingface.co/LanguageBind/LanguageBind_Video_V1.5_FT"
)


def find_local(weights: str, layout: Layout) -> Path | None:
    """The file that `weights` means, if it lies here: a file, one in a folder, or a local copy of either."""
    place = Path(locate(weights))
    if place.is_file():
        return place
    return next((place / name for name in layout.files if (place / name).is_file()), None)


def tower_part(content: Mapping[str, Any], layout: Layout, kind: type[Entry], path: Path) -> dict[str, Entry]:
    """What of a file's content is the tower's, under the tower's own names.

    Args:
        content: the file's.
        layout: of the family.
        kind: what stands for a tensor in `content`; other things are passed over.
        path: for the message.

    Raises:
        CheckpointError: nothing in it belongs to such a tower.
    """
    for name in layout.containers:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, kind)}
    prefix = next((p for p in layout.prefixes if any(key.startswith(p) for key in tensors)), None)
    if prefix is None:
        shown = ", ".join(sorted(tensors)[:3]) or "no tensor"
        raise CheckpointError(f"{path} holds nothing under {' or '.join(layout.prefixes)}; it holds {shown}")
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {
        key: value
        for key, value in own.items()
        if not key.startswith(layout.foreign) and not key.endswith("position_ids")
    }


def config_beside(path: Path) -> dict[str, Any]:
    """`config.json` beside a file; empty where there is none.

    Raises:
        CheckpointError: it is no JSON object.
    """
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config} is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{config} must hold an object")
    return content
