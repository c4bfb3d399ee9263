"""The card of a design's encoder: a published one, one of a local folder or file, or a custom one. No torch here."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from models.cards.own_towers import shape_of_file
from models.cards.published import TOWERS
from models.cards.tower_cards import EncoderCard, Origin, card_of
from models.cards.tower_shapes import shape_of_config
from models.design import CustomEncoder, Encoder
from models.families import FAMILIES
from models.weights import OWN_LAYOUTS, UncountedError, find_local, local_config, split_revision

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def encoder_card(config: Encoder) -> EncoderCard:
    """The card of an encoder with the layer and the clip length that a design gives it.

    Raises:
        ValueError: there is no card for these weights, or they have no such layer or clip; the message says what is
            missing.
        FileNotFoundError: no such shipped part.
    """
    if isinstance(config, CustomEncoder):
        return _custom(config)
    name, _ = split_revision(config.weights)
    if name not in TOWERS:
        return _local_file(config) if config.kind in OWN_LAYOUTS else _local_folder(config)
    tower, origin = TOWERS[name]
    if tower.kind == config.kind:
        return card_of(tower, origin, layer=config.layer, frames=config.frames)
    if config.kind not in OWN_LAYOUTS and local_config(config.weights) is not None:
        return _local_folder(config)  # its own config.json says what it is: laion's CLIP is a `clip` too
    raise ValueError(f"{config.weights} is of kind {tower.kind!r}, not {config.kind!r}")


def _custom(config: CustomEncoder) -> EncoderCard:
    instants, height, width = config.grid
    return EncoderCard(
        kind="custom",
        id=config.path,
        file="",
        params=config.params,
        params_run=config.params,
        depth=0,
        blocks_run=0,
        width=config.width,
        heads=0,
        mlp=0,
        patch=0,
        tubelet=max(1, config.frames // instants),
        frames=config.frames,
        resolution=0,
        grid=config.grid,
        tokens_run=instants * height * width,
        source="declared in the design",
    )


# --- local files and folders --------------------------------------------------------------------


def _local_file(config: Any) -> EncoderCard:
    """The card of a file for one of our own towers, by the shapes of its tensors.

    Raises:
        ValueError: there is no such file, or it contains no such tower.
    """
    weights, kind = config.weights, config.kind
    path = find_local(weights, OWN_LAYOUTS[kind])
    if path is None:
        raise _no_card(config, "the file itself: a path, or a copy below $ABLATE_WEIGHTS")
    tower, source = shape_of_file(kind, path), f"computed from the shapes in {path}"
    if tower is None:
        tower, published = next((tower, origin) for tower, origin in TOWERS.values() if tower.kind == kind)
        source = f"assumed to be of the shape of {published.id}: {path} cannot be read without torch"
    origin = Origin(id=weights, file=path.name, source=source)
    return card_of(tower, origin, layer=config.layer, frames=config.frames)


def _local_folder(config: Any) -> EncoderCard:
    """The card of a folder in transformers' format.

    Raises:
        UncountedError: a hub id without a card.
        ValueError: there is no such folder, or it is of another family.
    """
    weights, family = config.weights, FAMILIES[config.kind]
    entries = local_config(weights)
    if entries is None:
        raise _no_card(config, "a local config.json (a folder, or a copy below $ABLATE_WEIGHTS)")
    model_type = entries.get("model_type")
    if model_type not in family.model_types:
        accepted = " or ".join(family.model_types)
        raise ValueError(f"{weights} is of model type {model_type!r}; kind {config.kind!r} takes {accepted}")
    origin = Origin(id=weights, file="model.safetensors", source=f"computed from {weights}/config.json")
    return card_of(shape_of_config(family, entries), origin, layer=config.layer, frames=config.frames)


def _no_card(config: Any, alternative: str) -> ValueError:
    """The error for weights without a card: a hub id may well run; a misspelt published name or a path will not."""
    weights, _ = split_revision(config.weights)
    published = [name for name, (tower, _) in TOWERS.items() if tower.kind == config.kind]
    near = get_close_matches(weights, published, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = f"a published name ({', '.join(published)})" if published else "a folder"
    message = f"unknown weights {weights!r} of kind {config.kind!r}; {hint}a plan needs {names}, or {alternative}"
    is_misspelt = any(len(weights) != len(name) for name in get_close_matches(weights, published, n=1, cutoff=0.95))
    return UncountedError(message) if HUB_ID.fullmatch(weights) and not is_misspelt else ValueError(message)
