"""Trained models on disk: written with what they learned, and opened again. Safetensors only; no code is read.

The layout is in models/architecture/model_folder.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from models.architecture.assembly import build
from models.architecture.model_folder import (
    DESCRIPTION,
    LLM_FOLDER,
    PROBE,
    SHARD_SIZE,
    ModelFolder,
    description_of,
    tokenizer_of_llm,
)
from models.architecture.video_lmm import ModelSource, VideoLMM
from models.weights import CheckpointError, first_line, misfit

TENSORS = "model"
"""Start of the names of the files of tensors."""
_LLM = "llm."


def save_learned(
    model: VideoLMM,
    folder: Path,
    digests: Mapping[str, str] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write what a model learned, and the names of its other parts.

    Args:
        model: from `build`; which parts learned follows from its trial's schedule.
        folder: a new or empty folder.
        digests: name -> digest of what hub ids and addresses contain, which `open_model` compares.
        state: all tensors of the model by its names, on any device, where the model's own are shards; else they are
            taken from the model.

    Raises:
        ValueError: the model was not made by `build`.
    """
    source = model.source
    if source is None:
        raise ValueError("only a model that `build` made knows its config and tokenizer, which are saved with it")
    stages = source.config.design.schedule
    learned = {name: any(getattr(stage.lr, name) > 0 for stage in stages) for name in ("vision", "llm")}
    description = description_of(source.config, digests or {}, learned, _probe(source.tokenizer))
    tensors = model.state_dict() if state is None else state
    # An encoder whose features were all stored has no tensors here.
    present = tuple(prefix for prefix in description.tensors if any(name.startswith(prefix) for name in tensors))
    description = description.model_copy(update={"tensors": present})
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: one.detach().to("cpu", copy=True) for name, one in tensors.items() if name.startswith(present)}
    pattern = f"{TENSORS}{{suffix}}.safetensors"
    save_torch_state_dict(own, folder, filename_pattern=pattern, max_shard_size=SHARD_SIZE)
    if description.llm.folder is not None:
        of_llm = {name.removeprefix(_LLM): tensor for name, tensor in tensors.items() if name.startswith(_LLM)}
        model.llm.save_pretrained(folder / LLM_FOLDER, state_dict=of_llm, max_shard_size=SHARD_SIZE)
        _write_tokenizer(source, description.llm.name, folder / LLM_FOLDER)
    description.write(folder)
    make_readable(folder)


def make_readable(folder: Path) -> None:
    """Give files of tensors, which safetensors makes readable by their owner alone, the permissions of the others."""
    for path in folder.rglob("*.safetensors"):
        path.chmod((folder / DESCRIPTION).stat().st_mode)


def _write_tokenizer(source: ModelSource, llm: str, folder: Path) -> None:
    """Copy the files of an LLM's tokenizer unchanged; they are written again if they are not on this machine."""
    files = tokenizer_of_llm(llm)
    if not files:  # of a hub id in a cache that is no longer here
        source.tokenizer.save_pretrained(folder)
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def open_model(folder: Path, cache: Path | None = None) -> VideoLMM:
    """Open a trained model in fp32 on the CPU, in evaluation mode; its `source` has tokenizer and config.

    Args:
        folder: as `save_learned` or `export_model` wrote it.
        cache: folder of reproducible files, in which digests of large named parts are stored.

    Raises:
        CheckpointError: a file is missing or damaged, or does not fit; a named part, or the tokenizer, is not what the
            trial had.
    """
    description = ModelFolder.read(folder)
    description.check_named(cache or folder / ".cache")
    with torch.random.fork_rng(devices=[]):  # weights that are overwritten below are drawn first
        model, tokenizer = build(description.config_here(folder))
    _load(model, read_stored(folder), description.tensors, folder)
    if (probe := _probe(tokenizer)) != list(description.probe):
        raise CheckpointError(
            f"{folder}: the tokenizer encodes {PROBE!r} as {probe}, and in the trial it was {list(description.probe)}; "
            "install the version of transformers that card.json names"
        )
    model.source = ModelSource(description.config, tokenizer)
    return model.eval()


def _probe(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer.encode(PROBE, add_special_tokens=False))


def read_stored(folder: Path) -> dict[str, Tensor]:
    """The tensors of all model*.safetensors in a folder.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    index = folder / f"{TENSORS}.safetensors.index.json"
    try:
        names = {f"{TENSORS}.safetensors"}
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return {key: tensor for name in sorted(names) for key, tensor in load_file(folder / name).items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the weights are missing or damaged ({first_line(error)}); restore them, or export it again"
        ) from None


def _load(model: VideoLMM, tensors: Mapping[str, Tensor], prefixes: tuple[str, ...], folder: Path) -> None:
    """Load the stored tensors strictly: those of the prefixes, all of them, and no others.

    Raises:
        CheckpointError: names what is missing, too much, or of another shape.
    """
    expected = {name: one for name, one in model.state_dict().items() if name.startswith(prefixes)}
    problem = misfit(
        missing=[name for name in expected if name not in tensors],
        unexpected=[name for name in tensors if name not in expected],
        mismatched=[
            f"{name} ({tuple(tensors[name].shape)} instead of {tuple(one.shape)})"
            for name, one in expected.items()
            if name in tensors and tensors[name].shape != one.shape
        ],
    )
    if problem:
        raise CheckpointError(f"{folder}: the weights do not fit config.json: the file {problem}; export it again")
    model.load_state_dict(dict(tensors), strict=False)
