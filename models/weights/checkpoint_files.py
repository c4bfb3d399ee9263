"""Published checkpoints of our own towers: located, read without running code, filtered, and loaded strictly.

A file may be safetensors or a pickle of tensors in one of the layouts of models/weights/layouts.py. All tensors of the
tower must be there and fit.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.weights.errors import CheckpointError, first_line, misfit
from models.weights.layouts import Layout, find_local, tower_part
from models.weights.locations import hub_page, locate, revision_of, split_revision


def find_file(weights: str, layout: Layout) -> Path:
    """The file of `weights`: a file, one in a folder, a local copy of either, or one from the hub.

    Raises:
        CheckpointError: there is none; the message says what to fetch from where.
    """
    local = find_local(weights, layout)
    if local is not None:
        return local
    path, first = Path(locate(weights)), layout.files[0]
    if path.is_dir():
        names = ", ".join(layout.files)
        raise CheckpointError(f"{path} contains none of {names}; fetch {first} from {layout.published}")
    if path.is_absolute():
        raise CheckpointError(f"there is no {path}; fetch {first} from {layout.published}")
    if weights.startswith("https://"):
        name = weights.rsplit("/", 1)[-1]
        raise CheckpointError(
            f"{weights} is not on this machine; fetch {name} from {weights} and put it at $ABLATE_WEIGHTS/{name}, or "
            "name the file as `weights`"
        )
    return _from_hub(weights, layout)


def _from_hub(weights: str, layout: Layout) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = split_revision(weights)[0], revision_of(weights)
    reason = f"it has no {' or '.join(layout.files)}"
    for name in layout.files:
        try:
            path = Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError:  # which is an EntryNotFoundError too
            reason = "the hub cannot be reached"
        except EntryNotFoundError:
            continue
        except (OSError, ValueError, HfHubHTTPError) as error:  # gated, no such repository, no space
            reason = first_line(error)
        else:
            if layout.reads_config:
                with suppress(EntryNotFoundError):
                    hf_hub_download(
                        repository, "config.json", revision=revision
                    )  # lands beside it, for `config_beside`
            return path
    first = layout.files[0]
    source = layout.published if weights in layout.published else hub_page(weights)
    raise CheckpointError(
        f"{weights} cannot be fetched from the hub ({reason}); fetch {first} from {source} and put it at "
        f"$ABLATE_WEIGHTS/{weights}/{first}, or name the file as `weights`"
    )


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a file, tensors on the CPU; a pickle may hold tensors and plain data only and is memory-mapped.

    Raises:
        CheckpointError: the file is damaged, or a pickle holds more than that.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are then refused
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than tensors and plain data and was not read, as it could run code; get the file from "
            "its publisher, or a safetensors one"
        ) from None
    except (SafetensorError, EOFError, RuntimeError, OSError, ValueError) as error:
        reason = first_line(error)
        raise CheckpointError(f"{path} is damaged or truncated, or no checkpoint ({reason}); fetch it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} contains a {type(content).__name__}, not named tensors")
    return dict(content)


def tower_tensors(path: Path, layout: Layout) -> dict[str, Tensor]:
    """The tower's tensors in a file, under the tower's own names, in fp32.

    Raises:
        CheckpointError: as `read_tensors`, or nothing in the file belongs to such a tower.
    """
    part = tower_part(read_tensors(path), layout, Tensor, path)
    return {key: tensor.float() for key, tensor in part.items()}


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each tensor."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a module's weights; all of them must be there and fit, and no tensor may be left over.

    Raises:
        CheckpointError: names what the file lacks, what it has besides, or what has another shape, with both shapes.
    """
    parameters = module.state_dict()
    problem = misfit(
        missing=[key for key in parameters if key not in tensors],
        unexpected=[key for key in tensors if key not in parameters],
        mismatched=[
            f"{key} ({tuple(tensors[key].shape)} instead of {tuple(parameter.shape)})"
            for key, parameter in parameters.items()
            if key in tensors and tensors[key].shape != parameter.shape
        ],
    )
    if problem:
        raise CheckpointError(f"{path} is no checkpoint of this encoder: it {problem}")
    module.load_state_dict(dict(tensors), assign=True)


def without_blocks(tensors: Mapping[str, Tensor], blocks: str, keep: int) -> dict[str, Tensor]:
    """Tensors without the blocks from number `keep` on; `blocks` is the prefix before a block's number."""

    def is_run(key: str) -> bool:
        rest = key.removeprefix(blocks)
        return rest == key or int(rest.split(".", 1)[0]) < keep

    return {key: tensor for key, tensor in tensors.items() if is_run(key)}
