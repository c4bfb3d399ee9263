"""The files of a folder with their digests, for data and programs of the user's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from models.weights import combined_digest

SKIPPED_FOLDERS = frozenset({"__pycache__", ".git"})
SKIPPED_SUFFIXES = frozenset({".pyc", ".pyo"})


TreeState = Mapping[str, str]
"""The state of a file or folder: `digest` of its content, and `stamp` of the sizes and times of its files. Where the
stamp stays the same, so does the content."""


def files_of(path: Path, own: Collection[Path]) -> dict[str, Path]:
    """The regular files of a folder and of the folders below it: relative path -> path, sorted; of a file, itself.

    Compiled Python, `.git`, and ablate's own folders are left out. Links are followed, each folder once on a way down,
    so that a circle ends; links to nothing, sockets and pipes are left out.

    Args:
        path: the file or folder.
        own: ablate's own folders: runs and cache.

    Raises:
        OSError: a folder cannot be read.
    """
    if path.is_file():
        return {path.name: path}
    return dict(sorted(_walk(path, "", frozenset(own))))


def _walk(folder: Path, prefix: str, skipped: frozenset[Path]) -> Iterator[tuple[str, Path]]:
    real = folder.resolve()
    if real in skipped:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir():
                if entry.name not in SKIPPED_FOLDERS:
                    yield from _walk(Path(entry.path), f"{name}/", skipped | {real})
            elif entry.is_file() and Path(entry.name).suffix not in SKIPPED_SUFFIXES:
                yield name, Path(entry.path)


def tree_state(path: Path, runs: Path, cache: Path, earlier: TreeState | None = None) -> TreeState:
    """The state of a file, or of the files of a folder with their relative paths.

    Args:
        path: the file or folder.
        runs: ablate's runs folder, which is left out.
        cache: its folder of reproducible files, likewise.
        earlier: its state before; files are read only if their sizes or times are others.

    Raises:
        OSError: a file cannot be read.
    """
    files = {"": path} if path.is_file() else files_of(path, (runs, cache))
    stamp = hashlib.sha256()
    for name, file in sorted(files.items()):
        status = file.stat()
        stamp.update(
            f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode(errors="surrogateescape")
        )
    if earlier is not None and earlier["stamp"] == stamp.hexdigest():
        return earlier
    return {"digest": combined_digest(files, cache), "stamp": stamp.hexdigest()}
