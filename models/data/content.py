"""The digest of a data folder's manifests, by which keys identify data, and that of a path. No torch here."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

from models.data.manifest import manifest_file
from models.weights import DIGEST_LENGTH, file_digest

SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


def data_digest(folder: Path, cache: Path) -> str:
    """Digest of the bytes of the manifests for training and testing.

    Args:
        folder: the data folder.
        cache: folder of reproducible files, where hashes of large files are stored.

    Raises:
        OSError: a manifest cannot be read.
        ManifestError: there are two of one name.
    """
    hashes = [file_digest(manifest_file(folder, split), cache) for split in SPLITS]
    text = json.dumps(hashes, separators=(",", ":"))  # as ablate/spec/keys.py hashes a list, so keys stay
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def test_digest(folder: Path, cache: Path) -> str:
    """Digest of the bytes of the manifest for testing alone; arguments and errors as in `data_digest`."""
    return file_digest(manifest_file(folder, "test"), cache)


def path_digest(path: Path) -> str:
    """A name for files about a file or folder, different for each path."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:DIGEST_LENGTH]
