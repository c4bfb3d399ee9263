"""A trained model with everything that it needs in one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models.architecture.model_folder import LLM_FOLDER, ModelFolder, files_of_encoder, files_of_llm, tokenizer_of_llm
from models.architecture.pretrained import make_readable
from models.design import CustomEncoder
from models.weights import (
    OWN_LAYOUTS,
    CheckpointError,
    find_local,
    read_tensors,
    tower_tensors,
)

FOLDER_OF_ENCODERS = "encoders"


def export_model(source: Path, target: Path, *, bf16: bool = False) -> None:
    """Write a folder that `open_model` opens on any machine: all parts are copied into it.

    Args:
        source: a folder of `save_learned`, whose named parts are on this machine.
        target: a new folder.
        bf16: store what learned in bfloat16, half the size; results change by rounding.

    Raises:
        CheckpointError: a named part is not here, or `source` is no model.
        FileExistsError: the target exists and is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not an empty folder; give a new one")
    shutil.copytree(source, target, dirs_exist_ok=True)
    include_named(target)
    if bf16:
        _round(target)
    make_readable(target)


def include_named(folder: Path) -> None:
    """Copy the parts that a model's folder only names into it.

    Raises:
        CheckpointError: a part is not on this machine.
    """
    description = ModelFolder.read(folder)
    for part, files in description.named():
        if not files:
            raise CheckpointError(f"{part.name} is not on this machine; put it below $ABLATE_WEIGHTS, and export again")
    llm, encoders = description.llm, list(description.encoders)
    if llm.folder is None:
        _copy_llm(description, folder / LLM_FOLDER)
        llm = llm.model_copy(update={"folder": LLM_FOLDER})
    for number, (encoder, part) in enumerate(zip(description.config.design.encoders, encoders, strict=True)):
        if not isinstance(encoder, CustomEncoder) and part.folder is None:
            inside = f"{FOLDER_OF_ENCODERS}/{number}"
            _copy_encoder(part.name, encoder.kind, folder / inside)
            encoders[number] = part.model_copy(update={"folder": inside})
    description.model_copy(update={"llm": llm, "encoders": tuple(encoders)}).write(folder)


def _copy_llm(description: ModelFolder, folder: Path) -> None:
    name = description.llm.name
    _copy(files_of_llm(name) | tokenizer_of_llm(name), folder)


def _copy_encoder(name: str, kind: str, folder: Path) -> None:
    """The published files of an encoder; a pickle of one of our own towers becomes a file of the tower alone."""
    files = files_of_encoder(name, kind)
    layout = OWN_LAYOUTS.get(kind)
    if layout is None:
        return _copy(files, folder)
    folder.mkdir(parents=True)
    tensors = tower_tensors(find_local(str(files["weights"]), layout) or files["weights"], layout)
    save_file({key: one.clone() for key, one in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    if "config.json" in files:
        shutil.copyfile(files["config.json"], folder / "config.json")
    return None


def _copy(files: dict[str, Path], folder: Path) -> None:
    """Copy files; tensors in pickles become safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".bin":
            tensors = {key: one.clone() for key, one in read_tensors(path).items() if isinstance(one, torch.Tensor)}
            target = target.with_name(target.name.replace("pytorch_model", "model")).with_suffix(".safetensors")
            save_file(tensors, target, {"format": "pt"})
        elif name.endswith(".bin.index.json"):
            text = path.read_text(encoding="utf-8").replace("pytorch_model", "model").replace(".bin", ".safetensors")
            target.with_name("model.safetensors.index.json").write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, target)


def _round(folder: Path) -> None:
    """Store the tensors of connector, LLM and learned encoders in bfloat16, a file at a time."""
    for path in sorted((*folder.glob("*.safetensors"), *(folder / LLM_FOLDER).glob("*.safetensors"))):
        tensors = {key: one.bfloat16() if one.is_floating_point() else one for key, one in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})
    ModelFolder.read(folder).model_copy(update={"dtype": "bfloat16"}).write(folder)
