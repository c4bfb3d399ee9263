"""The files of a folder with their digests, for data and programs of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ablate.paths import cache_root, runs_root
from models.weights import combined_digest

SKIPPED_FOLDERS = frozenset({"__pycache__", ".git"})
SKIPPED_SUFFIXES = frozenset({".pyc", ".pyo"})


def files_of(path: Path) -> dict[str, Path]:
    """The regular files of a folder and of the folders below it: relative path -> path, sorted; of a file, itself.

    Compiled Python, `.git`, and ablate's own runs and cache are left out. Links are followed, each folder once on a
    way down, so that a circle ends; links to nothing, sockets and pipes are left out.

    Raises:
        OSError: a folder cannot be read.
    """
    if path.is_file():
        return {path.name: path}
    return dict(sorted(_walk(path, "", frozenset())))


def _walk(folder: Path, prefix: str, parents: frozenset[Path]) -> Iterator[tuple[str, Path]]:
    real = folder.resolve()
    if real in parents or real in (runs_root(), cache_root()):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir():
                if entry.name not in SKIPPED_FOLDERS:
                    yield from _walk(Path(entry.path), f"{name}/", parents | {real})
            elif entry.is_file() and Path(entry.name).suffix not in SKIPPED_SUFFIXES:
                yield name, Path(entry.path)


def tree_digest(path: Path) -> str:
    """Digest of the content of a file, or of the files of a folder with their relative paths.

    Raises:
        OSError: a file cannot be read.
    """
    files = {"": path} if path.is_file() else files_of(path)
    return combined_digest(files, cache_root())
