"""The digest of a data folder's manifests, by which keys identify data. No torch here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from models.weights import file_digest

MANIFEST_ENDINGS = (".json", ".jsonl")
DIGEST_LENGTH = 16
"""Hex digits of a digest: the length of a trial's key."""


def manifest_files(folder: Path, name: str) -> list[Path]:
    """The manifests of a data folder with this name, `train` or `test`: one file, if the folder is in order."""
    return [path for ending in MANIFEST_ENDINGS if (path := folder / f"{name}{ending}").is_file()]


def data_digest(folder: Path, cache: Path) -> str:
    """Digest of the bytes of the manifests for training and testing.

    Args:
        folder: the data folder.
        cache: folder of reproducible files, where hashes of large files are stored.

    Raises:
        OSError: a manifest cannot be read.
    """
    paths = [*manifest_files(folder, "train"), *manifest_files(folder, "test")]
    hashes = [file_digest(path, cache) for path in paths]
    text = json.dumps(hashes, separators=(",", ":"))  # as ablate/spec/keys.py hashes a list, so keys stay
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
