"""Digests of files of weights: what a folder, a file or a copy contains, whatever its path. No torch here.

Hashes of large files are stored in the folder of reproducible files, by path, size and times of change, so that each is
read once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.weights.layouts import OWN_LAYOUTS, find_local
from models.weights.locations import TOKENIZER_FOLDER, has_own_tokenizer_folder, is_shipped, locate, split_revision

DIGEST_LENGTH = 16
"""Hex digits of a digest: the length of a trial's key."""
STORED_BYTES = 2**20
"""Size from which a file's hash is stored on disk: reading a smaller file is as fast as reading its entry."""
LONG_BYTES = 2**30
"""Size from which the user is shown that a file is read, about a second."""
REPORT_EVERY_S = 10.0
SETTLED_S = 2.0
"""Age in seconds from which a file's times show every later change: file systems store them in steps of up to 2 s."""
PORTION_BYTES = 2**24

TENSOR_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of tensors in the order in which transformers looks for them: it reads the first alone."""
TOKENIZER_FILES = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.model",
    "*.tiktoken",
    "tekken.json",
)
"""Patterns of the files from which transformers may build a tokenizer and its chat template."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Stamp:
    """What changes whenever a file's content does: its size, and its times of change in nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def is_settled(self) -> bool:
        """Whether a change from now on shows in these times."""
        return time.time() - max(self.mtime_ns, self.ctime_ns) / 1e9 > SETTLED_S


def file_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file's bytes, in hex digits.

    Args:
        path: the file.
        cache: folder of reproducible files; hashes of large files are stored below it.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stamp = _Stamp.of(path)
    return _settled_digest(path, cache, stamp) if stamp.is_settled else _hash(path, stamp.size)


@lru_cache(maxsize=4096)
def _settled_digest(path: Path, cache: Path, stamp: _Stamp) -> str:
    """The hash of a file with this stamp; the cells of a sweep share their files."""
    if stamp.size < STORED_BYTES:
        return _hash(path, stamp.size)
    entry = cache / "digests" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    state = {"path": str(path), "size": stamp.size, "mtime_ns": stamp.mtime_ns, "ctime_ns": stamp.ctime_ns}
    with suppress(OSError, ValueError):
        stored = json.loads(entry.read_text(encoding="utf-8"))
        if isinstance(stored, dict) and {**stored, "sha256": None} == {**state, "sha256": None}:
            return str(stored["sha256"])
    sha256 = _hash(path, stamp.size)
    if _Stamp.of(path) == stamp:
        _store(entry, state | {"sha256": sha256})
    return sha256


def _hash(path: Path, size: int) -> str:
    if size >= LONG_BYTES:
        _log.warning("reading %s (%.1f GiB) for its digest; unless it changes, this happens once", path, size / 2**30)
    sha256, num_bytes, reported_at = hashlib.sha256(), 0, time.monotonic()
    with path.open("rb") as file:
        while portion := file.read(PORTION_BYTES):
            sha256.update(portion)
            num_bytes += len(portion)
            if time.monotonic() - reported_at > REPORT_EVERY_S:
                reported_at = time.monotonic()
                _log.warning("%s: %.0f%% read", path.name, 100 * num_bytes / max(size, num_bytes))
    return sha256.hexdigest()


def _store(entry: Path, content: Mapping[str, object]) -> None:
    """Write an entry atomically; a cache that cannot be written costs time, and nothing else."""
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(temporary, entry)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def combined_digest(files: Mapping[str, Path], cache: Path) -> str:
    """Digest of several files with their names.

    Raises:
        OSError: a file cannot be read.
    """
    hashes = {name: file_digest(path, cache) for name, path in sorted(files.items())}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


def encoder_files(weights: str, kind: str, folder: Path | None = None) -> dict[str, Path]:
    """The files that an encoder is made from: name -> path; empty where nothing is on this machine.

    Args:
        weights: as in a spec.
        kind: kind of the encoder.
        folder: where the files are, if not where `locate` looks: a snapshot of the hub's cache.
    """
    layout = OWN_LAYOUTS.get(kind)
    if layout is None:
        return _model_files(folder or Path(locate(weights)))
    path = find_local(str(folder or weights), layout)
    if path is None:
        return {}
    config = path.with_name("config.json")
    has_config = layout.reads_config and config.is_file()
    return {"weights": path} | ({"config.json": config} if has_config else {})


def llm_files(weights: str, folder: Path | None = None) -> dict[str, Path]:
    """The files that an LLM and its tokenizer are made from; see `encoder_files`."""
    folder = folder or Path(locate(weights))
    return _model_files(folder) | tokenizer_files(folder)


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The files in a folder from which a tokenizer is made: name -> path."""
    start = f"{TOKENIZER_FOLDER}/" if has_own_tokenizer_folder(folder) else ""
    return _by_name(folder, (path for pattern in TOKENIZER_FILES for path in folder.glob(start + pattern)))


def _model_files(folder: Path) -> dict[str, Path]:
    """`config.json`, and the files of tensors that transformers reads; all of them where none has a name of its own."""
    first = next((folder / name for name in TENSOR_FILES if (folder / name).is_file()), None)
    tensors = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if first is not None:
        tensors = [first, *(_shards(first) if first.suffix == ".json" else ())]
    return _by_name(folder, [folder / "config.json", *tensors])


def _shards(index: Path) -> list[Path]:
    """The files that an index of tensors names; all of its format if it is damaged, which loading will report."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [index.parent / name for name in sorted(set(names))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return sorted(index.parent.glob(f"*{Path(index.name.removesuffix('.index.json')).suffix}"))


def _by_name(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}


def is_folder_of_user(weights: str) -> bool:
    """Whether weights are a folder or file of this machine, whose content is their identity; not a name."""
    return not is_shipped(weights) and Path(weights).exists()


def cached_snapshot(weights: str, file: str = "config.json") -> Path | None:
    """The folder of a hub id in the hub's cache, named by its commit; None if it is not there. No network is used.

    Args:
        weights: a hub id, with or without `@revision`.
        file: a file that the repository has.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, revision = split_revision(weights)
    try:
        path = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:  # an address, or the name of a file
        return None
    return Path(path).parents[file.count("/")] if isinstance(path, str) else None
