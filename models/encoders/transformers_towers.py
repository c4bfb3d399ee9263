"""Loading the towers that transformers has: strictly, from bundled files too, with errors that name file and fix.

Published files may hold more than the tower (a text tower, a decoder), which is left out by its prefix. Everything
else must be there and fit. Blocks behind the layer that is read are not loaded at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from models.families import Family
from models.weights import CheckpointError, locate, misfit_of, one_sentence_errors, revision_of

LoadedTower = TypeVar("LoadedTower", bound=PreTrainedModel)


def read_config(model: type[PreTrainedModel], weights: str, family: Family) -> Any:
    """The tower's config from `config.json`, which may be that of a model around it.

    Args:
        model: class of transformers.
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        family: record of the encoder's kind, which lists the accepted model types.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is that of another family.
    """
    if Path(weights).is_absolute() and not Path(weights).exists():
        raise CheckpointError(f"there is no folder {weights}; `weights` is a folder with config.json, or a hub id")
    with one_sentence_errors(weights, option="weights"):
        path, revision = locate(weights), revision_of(weights)
        entries, _ = PretrainedConfig.get_config_dict(path, revision=revision)
        if entries.get("model_type") not in family.model_types:
            raise CheckpointError(
                f"{weights} is of model type {entries.get('model_type')!r}; kind {family.kind!r} takes "
                f"{' or '.join(family.model_types)}"
            )
        return model.config_class.from_pretrained(path, revision=revision)


def load_tower(
    model: type[LoadedTower],
    config: Any,
    weights: str,
    *,
    foreign: Iterable[str] = (),
    unused: Iterable[str] = (),
    blocks: Iterable[str] = (),
) -> LoadedTower:
    """A tower with its weights in fp32, in evaluation mode.

    Args:
        model: class of transformers.
        config: from `read_config`, perhaps with fewer blocks.
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        foreign: prefixes of other tensors that a published file may hold.
        unused: prefixes of parts of the tower that are not run.
        blocks: prefixes before a block's number; blocks from `config.num_hidden_layers` on are not run.

    Raises:
        CheckpointError: the files are missing, damaged, unsafe, or do not fit.
    """
    with one_sentence_errors(weights, option="weights"):
        tower, info = model.from_pretrained(
            locate(weights),
            revision=revision_of(weights),
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
        )
    others = [key for key in info["unexpected_keys"] if not key.startswith((*foreign, *unused))]
    others = [key for key in others if not key.endswith("position_ids")]  # a buffer of earlier versions
    problem = misfit_of(info, [key for key in others if not _is_behind(key, tuple(blocks), config.num_hidden_layers)])
    if problem:
        raise CheckpointError(f"{weights} is no checkpoint of this encoder: it {problem}")
    return tower.eval()


def read_block_output(tower: nn.Module, layers: nn.ModuleList, blocks: int, *, norm: str) -> None:
    """Cut a tower so that its `last_hidden_state` is the output of a block.

    `output_hidden_states` would keep the output of every block until the tower returns: 26 states that nobody reads,
    two thirds of the memory of a frozen SigLIP-SO400M. The final norm, which comes behind the block, becomes an
    identity; its weights would be unused, which data-parallel training refuses.

    Args:
        tower: the tower, changed in place.
        layers: its blocks; none is left if the feature is the input of the first.
        blocks: number of blocks that are run.
        norm: name of the tower's final norm.

    Raises:
        AttributeError: the installed transformers names the norm differently.
    """
    del layers[blocks:]
    if getattr(tower, norm) is not None:
        setattr(tower, norm, nn.Identity())


def _is_behind(key: str, blocks: tuple[str, ...], keep: int) -> bool:
    """Whether a name is that of a block from number `keep` on."""
    numbers = (key.removeprefix(start).split(".", 1)[0] for start in blocks if key.startswith(start))
    return any(number.isdecimal() and int(number) >= keep for number in numbers)
