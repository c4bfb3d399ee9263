"""Opening published checkpoints for our own towers: found, read without running code, filtered, and loaded strictly.

A file may be safetensors or a pickle of tensors, laid out as models/weights/layouts.py tells. What belongs to the
tower must fit to the last tensor.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.weights.errors import CheckpointError
from models.weights.layouts import Layout, find_local, tower_part
from models.weights.locations import locate


def find_file(weights: str, layout: Layout) -> Path:
    """The file that `weights` means: a file, a folder that holds one, a local copy, or one from the hub.

    Raises:
        CheckpointError: there is none; says what to fetch from where.
    """
    found = find_local(weights, layout)
    if found is not None:
        return found
    place, first = Path(locate(weights)), layout.files[0]
    if place.is_dir():
        names = ", ".join(layout.files)
        raise CheckpointError(f"{place} holds none of {names}; fetch {first} from {layout.published}")
    if place.is_absolute():
        raise CheckpointError(f"there is no {place}; fetch {first} from {layout.published}")
    if weights.startswith("https://"):
        name = weights.rsplit("/", 1)[-1]
        raise CheckpointError(
            f"{weights} is not at hand; fetch {name} from {weights} and put it at $ABLATE_WEIGHTS/{name}, or name the "
            "file as `weights`"
        )
    return _from_hub(weights, layout)


def _from_hub(weights: str, layout: Layout) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    reason = f"it has no {' or '.join(layout.files)}"
    for name in layout.files:
        try:
            path = Path(hf_hub_download(weights, name))
        except LocalEntryNotFoundError:  # which is an EntryNotFoundError too
            reason = "the hub cannot be reached"
        except EntryNotFoundError:
            continue
        except (OSError, ValueError, HfHubHTTPError) as error:  # gated, no such repository, no space
            reason = str(error).strip().splitlines()[0]
        else:
            if layout.reads_config:
                with suppress(EntryNotFoundError):
                    hf_hub_download(weights, "config.json")  # lands beside it, for `config_beside`
            return path
    first = layout.files[0]
    source = layout.published if weights in layout.published else f"https://huggingface.co/{weights}"
    raise CheckpointError(
        f"{weights} cannot be fetched from the hub ({reason}); fetch {first} from {source} and put it at "
        f"$ABLATE_WEIGHTS/{weights}/{first}, or name the file as `weights`"
    )


def read_tensors(path: Path) -> dict[str, Any]:
    """All of a file, tensors on the CPU; a pickle may hold tensors and plain data only and is mapped, not copied.

    Raises:
        CheckpointError: the file is damaged, or holds more than that.
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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is damaged or truncated, or no checkpoint ({reason}); fetch it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no named tensors")
    return dict(content)


def tower_tensors(path: Path, layout: Layout) -> dict[str, Tensor]:
    """The tower's tensors of a file under the tower's own names, in fp32.

    Raises:
        CheckpointError: as `read_tensors`, or nothing in it belongs to such a tower.
    """
    part = tower_part(read_tensors(path), layout, Tensor, path)
    return {key: tensor.float() for key, tensor in part.items()}


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a module its weights; every one must be there and fit, and nothing be left over.

    Raises:
        CheckpointError: names what misses, what is left over, or what has another shape, with both.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in tensors]
    strange = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} ({tuple(tensors[key].shape)} instead of {tuple(tensor.shape)})"
        for key, tensor in wanted.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    for what, names in (("misses", missing), ("holds besides", strange), ("has in another shape", shapes)):
        if names:
            raise CheckpointError(f"{path} is no checkpoint of this encoder: it {what} {abbreviated(names)}")
    module.load_state_dict(dict(tensors), assign=True)


def abbreviated(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def blocks_read(layer: int, depth: int, weights: str) -> int:
    """How many blocks stand before hidden state `layer`, counted as transformers does (0 is what enters the first).

    Raises:
        CheckpointError: the tower has no such state.
    """
    index = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= index <= depth:
        raise CheckpointError(f"{weights} has hidden states 0 to {depth} (or -{depth + 1} to -1); layer is {layer}")
    return index


def without_blocks(tensors: Mapping[str, Tensor], blocks: str, keep: int) -> dict[str, Tensor]:
    """Tensors without the blocks from number `keep` on; `blocks` is what stands before a block's number."""

    def is_kept(key: str) -> bool:
        rest = key.removeprefix(blocks)
        return rest == key or int(rest.split(".", 1)[0]) < keep

    return {key: tensor for key, tensor in tensors.items() if is_kept(key)}
