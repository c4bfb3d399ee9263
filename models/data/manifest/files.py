"""The file of a manifest, and the decoder of its JSON (models/data/json_stream.py reads it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from models.data.manifest.fields import DoubledKey
from models.data.manifest.records import ManifestError


def manifest_file(folder: Path, split: Literal["train", "test"]) -> Path:
    """The manifest of a data folder: `train.json` or `train.jsonl`, `test.json` or `test.jsonl`.

    Returns:
        The file that exists; `train.json` or `test.json` if neither exists.

    Raises:
        ManifestError: both exist.
    """
    file, lines = folder / f"{split}.json", folder / f"{split}.jsonl"
    if not lines.exists():
        return file
    if file.exists():
        raise ManifestError(f"{folder} has both {file.name} and {lines.name}; keep one of them")
    return lines


def decoder() -> json.JSONDecoder:
    """A decoder of manifests: `parse_training` and `parse_item` refuse its objects that have a key twice.

    `json` would drop the first of the two values.
    """
    return json.JSONDecoder(object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    doubled = DoubledKey(data)
    keys = [key for key, _ in pairs]
    doubled.key = next(key for key in keys if keys.count(key) > 1)
    return doubled
