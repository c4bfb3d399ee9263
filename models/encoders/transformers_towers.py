"""Loading the towers that transformers knows: strict, from bundled files too, with errors that name file and mend.

Published files may hold more than the tower (a text tower, a decoder): that is left out by its prefix. Everything
else must be there and fit. Blocks behind the layer that is read are not loaded at all.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from models.weights import CheckpointError, abbreviated, locate

LoadedTower = TypeVar("LoadedTower", bound=PreTrainedModel)


def read_config(kind: type[PreTrainedModel], weights: str, model_types: Iterable[str]) -> Any:
    """The tower's config from `config.json`, which may be that of a model around it.

    Raises:
        CheckpointError: it cannot be found or read, or is that of another family.
    """
    place = locate(weights)
    try:
        found, _ = PretrainedConfig.get_config_dict(place)
        if found.get("model_type") not in model_types:
            raise CheckpointError(
                f"{weights} is of model type {found.get('model_type')!r}; this encoder takes {' or '.join(model_types)}"
            )
        return kind.config_class.from_pretrained(place)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _unavailable(weights, error) from None


def load_tower(
    kind: type[LoadedTower],
    config: Any,
    weights: str,
    *,
    foreign: Iterable[str] = (),
    unused: Iterable[str] = (),
    blocks: Iterable[str] = (),
) -> LoadedTower:
    """A tower with its weights in fp32, in evaluation mode.

    Args:
        kind: class of transformers.
        config: from `read_config`, perhaps with fewer blocks.
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        foreign: prefixes of what else a published file may hold.
        unused: prefixes of parts of the tower that are not run.
        blocks: what may stand before a block's number; those from `config.num_hidden_layers` on are not run.

    Raises:
        CheckpointError: the files are missing, damaged, unsafe, or do not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            logging.set_verbosity_error()  # what is left out is told as unexpected; `_refuse_misfits` judges
            tower, info = kind.from_pretrained(
                locate(weights),
                config=config,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, with both shapes
            )
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{weights}: its pickle holds more than tensors and was not read, as it could run code; get a safetensors "
            "file from its publisher"
        ) from None
    except (SafetensorError, EOFError) as error:
        raise CheckpointError(f"{weights}: the weights are damaged or truncated ({error}); fetch them again") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _unavailable(weights, error) from None
    left_out, starts = (*foreign, *unused), tuple(blocks)
    strange = [
        key
        for key in info["unexpected_keys"]
        if not key.startswith(left_out)
        and not key.endswith("position_ids")
        and not _is_behind(key, starts, config.num_hidden_layers)
    ]
    _refuse_misfits(weights, info, strange)
    return tower.eval()


def _is_behind(key: str, blocks: tuple[str, ...], keep: int) -> bool:
    """Whether a name is that of a block from number `keep` on."""
    numbers = (key.removeprefix(start).split(".", 1)[0] for start in blocks if key.startswith(start))
    return any(number.isdecimal() and int(number) >= keep for number in numbers)


def _refuse_misfits(weights: str, info: dict[str, Any], strange: list[str]) -> None:
    wrong = sorted(str(entry) for entry in info["mismatched_keys"])
    missing = sorted(info["missing_keys"])
    for what, names in (("misses", missing), ("has in another shape", wrong), ("has besides", sorted(strange))):
        if names:
            raise CheckpointError(f"{weights} is no checkpoint of this encoder: it {what} {abbreviated(names)}")


def _unavailable(weights: str, error: Exception) -> CheckpointError:
    if Path(weights).is_absolute() and not Path(weights).exists():
        return CheckpointError(f"there is no folder {weights}; `weights` is a folder with config.json, or a hub id")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(locate(weights)).is_dir():
        return CheckpointError(
            f"{weights} cannot be loaded ({reason}); the folder must hold config.json and model.safetensors (or "
            "pytorch_model.bin) in transformers' format"
        )
    return CheckpointError(
        f"{weights} cannot be loaded ({reason}); fetch config.json and model.safetensors from "
        f"https://huggingface.co/{weights} and name their folder, or put it below $ABLATE_WEIGHTS"
    )
