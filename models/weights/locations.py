"""Locations of weights: shipped parts of the embedded study, local folders, hub ids."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from models.weights.headers import safetensors_shapes

SHIPPED_PARTS = Path(str(files("models"))) / "tiny" / "parts"
"""One folder for each part, in transformers' format; written by `python -m models.tiny.pretraining.run`."""
PARTS_VERSION = 2
"""Version of the shipped parts, raised when they are trained again: configs, and so keys, contain it."""
TOKENIZER_FOLDER = "tokenizer"
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_WITH_REVISION = re.compile(rf"({_HUB_ID.pattern})@(\w[\w./-]*)")


def is_shipped(weights: str) -> bool:
    """Whether weights are a part of the embedded study, whose name has its version."""
    return weights.startswith("tiny/")


def split_revision(weights: str) -> tuple[str, str | None]:
    """A hub id and its revision (`name@revision`); without one, and for everything else, the weights and None."""
    match = None if is_shipped(weights) else _WITH_REVISION.fullmatch(weights)
    if match is None or Path(weights).exists():
        return weights, None
    return match[1], match[3]


def locate(weights: str) -> str:
    """Where weights are read from.

    `tiny/NAME@VERSION` is a shipped part; a folder or file is itself; a hub id or an address is its copy below
    `$ABLATE_WEIGHTS` (under the whole name as a spec has it, or its last part) if there is one, and otherwise the name,
    without its revision: `revision_of` has that.

    Raises:
        FileNotFoundError: no such shipped part, or not in this version.
    """
    if not is_shipped(weights):
        return _local_copy(weights) or split_revision(weights)[0]
    name, _, version = weights.removeprefix("tiny/").partition("@")
    folder = SHIPPED_PARTS / name
    if not folder.is_dir():
        shipped = ", ".join(sorted(p.name for p in SHIPPED_PARTS.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"no shipped part {name!r}; there are: {shipped}")
    if version != str(PARTS_VERSION):
        raise FileNotFoundError(
            f"{weights}: the shipped parts are version {PARTS_VERSION}; write {name}@{PARTS_VERSION}"
        )
    return str(folder)


def revision_of(weights: str) -> str:
    """The revision of a hub id to load: a branch, tag or commit."""
    return split_revision(weights)[1] or "main"


def hub_page(weights: str) -> str:
    """Address of a hub id's files."""
    name, revision = split_revision(weights)
    return f"https://huggingface.co/{name}" + (f"/tree/{revision}" if revision else "")


def _local_copy(weights: str) -> str | None:
    root = os.environ.get("ABLATE_WEIGHTS")
    if not root or Path(weights).exists():
        return None
    copies = (Path(root) / weights, Path(root) / weights.rsplit("/", 1)[-1])
    return next((str(copy) for copy in copies if copy.exists()), None)


def locate_tokenizer(weights: str) -> str:
    """Where the tokenizer of these LLM weights is read from: the shipped LLMs share one.

    It may be in a folder of its own inside that of the LLM, `tokenizer`: beside a config.json transformers takes the
    tokenizer class of its model type, whatever tokenizer_config.json says.
    """
    if is_shipped(weights):
        return str(SHIPPED_PARTS / TOKENIZER_FOLDER)
    path = locate(weights)
    return str(Path(path) / TOKENIZER_FOLDER) if has_own_tokenizer_folder(Path(path)) else path


def has_own_tokenizer_folder(folder: Path) -> bool:
    """Whether a local LLM has its tokenizer in a folder of its own."""
    return not (folder / "tokenizer.json").is_file() and (folder / TOKENIZER_FOLDER / "tokenizer.json").is_file()


def why_not_here(weights: str) -> str | None:
    """Why weights in transformers' format cannot be loaded; None for a folder with `config.json`, and for a hub id.

    Raises:
        FileNotFoundError: no such shipped part.
    """
    path = Path(locate(weights))
    if path.exists():
        if (path / "config.json").is_file():
            return None
        return f"{path} has no config.json; put it there, with the weights and the tokenizer of the same model"
    if _HUB_ID.fullmatch(split_revision(weights)[0]):
        return None
    return f"there is no folder {weights}; an LLM is a folder with config.json, or a hub id such as Qwen/Qwen3-1.7B"


def local_config(weights: str) -> dict[str, Any] | None:
    """Content of `config.json` of local weights in transformers' format; None if there is none.

    Raises:
        ValueError: it is not a JSON object.
    """
    path = Path(locate(weights)) / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must contain an object; fetch it again")
    return config


def stored_params(weights: str) -> int | None:
    """Number of values in the safetensors files of a folder, by their headers; None where they cannot be read."""
    files = sorted(Path(locate(weights)).glob("*.safetensors"))
    try:
        return sum(prod(shape) for file in files for shape in safetensors_shapes(file).values()) if files else None
    except (OSError, ValueError, TypeError):  # damaged; loading will report how
        return None
