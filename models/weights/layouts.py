"""Layouts of the published files of our own towers. No torch here: plans read shapes by the same rules.

A file may wrap the weights (`module`, `target_encoder`), may put a prefix before the tower's names, and may contain
other parts of the published model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from models.weights.errors import WRAPPERS, CheckpointError
from models.weights.locations import locate

Entry = TypeVar("Entry")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of a family's published files."""

    files: tuple[str, ...]
    """Names that a file may have in its folder, in order of preference; the first is the published one."""
    published: str
    """Address to fetch it from."""
    containers: tuple[str, ...] = ()
    """Keys under which the file may hold the weights, in order of preference; otherwise they are at the top level."""
    prefixes: tuple[str, ...] = ("",)
    """Prefixes of the tower's names; the first that occurs is stripped."""
    foreign: tuple[str, ...] = ()
    """Prefixes (after stripping) of other tensors that the file may contain; these are left out."""
    reads_config: bool = False
    """Whether `config.json` beside the file, if there is one, gives what the tensors do not."""


VJEPA = Layout(
    files=("vith16-384.pth.tar", "vith16.pth.tar", "vitl16.pth.tar", "model.safetensors"),
    published="https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar",
    containers=("target_encoder", "encoder"),
    prefixes=("module.backbone.", "backbone.", ""),
)
TRAINING_ONLY = ("clip_pos_embed", "clip_img_pos_embed", "clip_projector.", "clip_decoder.", "final_clip_decoder.")
"""Prefixes of the parts of InternVideo2's tower that only its training used."""
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
OWN_LAYOUTS = {
    "vjepa": VJEPA,
    "internvideo2": INTERNVIDEO2,
    "languagebind_image": LANGUAGEBIND_IMAGE,
    "languagebind_video": LANGUAGEBIND_VIDEO,
}
"""Kind -> layout, for kinds whose towers are modules of ours; these read their sizes from the file."""


def find_local(weights: str, layout: Layout) -> Path | None:
    """The local file of `weights`: a file, one in a folder, or a copy of either below $ABLATE_WEIGHTS; None if none."""
    path = Path(locate(weights))
    if path.is_file():
        return path
    return next((path / name for name in layout.files if (path / name).is_file()), None)


def tower_part(content: Mapping[str, Any], layout: Layout, kind: type[Entry], path: Path) -> dict[str, Entry]:
    """The tower's part of a file's content, under the tower's own names.

    Weights under `state_dict`, and names that all begin with a wrapper's prefix, are those of a training script.

    Args:
        content: the file's content.
        layout: the family's layout.
        kind: type of the tensors in `content` (a tensor, or its shape alone); entries of other types are ignored.
        path: for the message.

    Raises:
        CheckpointError: nothing in it belongs to such a tower.
    """
    for name in ("state_dict", *layout.containers):
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, kind)}
    for wrapper in WRAPPERS:
        if tensors and all(key.startswith(wrapper) for key in tensors):
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    prefix = next((p for p in layout.prefixes if any(key.startswith(p) for key in tensors)), None)
    if prefix is None:
        names = ", ".join(sorted(tensors)[:3]) or f"no tensor under {', '.join(sorted(content)[:3]) or 'any name'}"
        expected = " or ".join(repr(one) for one in layout.prefixes if one)
        raise CheckpointError(f"{path} has no name that begins with {expected}; it has {names}")
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {
        key: value
        for key, value in own.items()
        if not key.startswith(layout.foreign) and not key.endswith("position_ids")
    }


def config_beside(path: Path) -> dict[str, Any]:
    """Content of `config.json` beside a file; empty where there is none.

    Raises:
        CheckpointError: it is not a JSON object.
    """
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config} is not JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{config} must contain an object; fetch it again")
    return content
