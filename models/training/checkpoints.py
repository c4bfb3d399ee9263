"""Checkpoints: positions of a training in files, written in a thread, from which a later process goes on.

A checkpoint is a folder `STEP/` with
  shard-*.safetensors  tensors, of each rank what it holds; by torch.distributed.checkpoint
  rank-N.json          all else, of each rank: place in the data, schedules, random generators
  checkpoint.json      what it is a checkpoint of, sizes and checksums of all other files; written last
Without checkpoint.json a folder is no checkpoint. Nothing in it is a pickle, and nothing that is read is run.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from models.training.engine import Engine
from models.training.loop import Training
from models.training.position import local
from models.training.process_group import Ranks

FORMAT = 1
"""Version of the files; other versions are ignored."""
MARKER = "checkpoint.json"
KEPT = 2
"""Number of checkpoints that are kept."""
BYTES_PER_FILE = 2**28
"""Largest size of a file, unless a tensor is larger: DCP makes the content of a file in memory before it writes it."""
_BLOCK = 2**22


class UnusableCheckpointError(Exception):
    """A checkpoint that cannot be read; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose marker can be read; its other files are not looked at yet."""

    path: Path
    step: int
    """Number of optimiser steps before it."""
    files: Mapping[str, tuple[int, int]]
    """Name -> number of bytes and CRC-32."""

    def verify(self) -> None:
        """Compare all files with their sizes and checksums.

        Raises:
            UnusableCheckpointError: one differs; the message names it.
        """
        for name, expected in self.files.items():
            try:
                observed = _size_and_checksum(self.path / name)
            except OSError as error:
                raise UnusableCheckpointError(f"{name}: {error.strerror}") from None
            if observed != expected:
                texts = [f"{size} bytes, checksum {crc:08x}" for size, crc in (observed, expected)]
                raise UnusableCheckpointError(f"{name} is damaged: {texts[0]}; it was written with {texts[1]}")

    def restore(self, training: Training, rank: int = 0) -> dict[str, Any]:
        """Let a training go on from here; returns what `CheckpointStore.save` was given beside it, on rank 0.

        The training is unchanged if this raises.

        Raises:
            UnusableCheckpointError: it cannot be read as a position of this training.
        """
        try:
            own = self.path / f"rank-{rank}.json"  # more ranks than before: random numbers as on the first
            values = json.loads((own if own.exists() else self.path / "rank-0.json").read_text(encoding="utf-8"))
            training.restore(values["training"], lambda tensors: self._read(tensors, training.engine))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnusableCheckpointError(f"{type(error).__name__}: {error}") from None
        extra: dict[str, Any] = values["extra"]
        return extra

    def _read(self, tensors: dict[str, Tensor], engine: Engine) -> dict[str, Tensor]:
        """Its values for tensors of these names, on the CPU; of sharded ones what this rank holds."""
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        _expect_single_process()
        copies = {name: _on_cpu(one, torch.empty_like(local(one), device="cpu")) for name, one in tensors.items()}
        problem = ""
        try:
            # each rank plans alone what it reads, so a damaged file on one does not leave the others waiting
            load(copies, storage_reader=HuggingFaceStorageReader(str(self.path)), no_dist=True)
        except BaseException as error:  # DCP's CheckpointException is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            problem = _cause(error)
        (problems,) = engine.total(float(bool(problem)))
        if problems:
            raise UnusableCheckpointError(problem or "another rank cannot read it")
        return copies


def checkpoints_in(folders: Iterable[Path], identity: str) -> list[Checkpoint]:
    """The checkpoints in folders of what `identity` names, fewest steps first. Damaged markers are no checkpoints."""
    candidates = []
    for path in (path for folder in folders for path in sorted(folder.glob(f"*/{MARKER}"))):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if (data["format"], data["identity"]) == (FORMAT, identity):
                files = {str(name): (int(size), int(checksum)) for name, (size, checksum) in data["files"].items()}
                candidates.append(Checkpoint(path=path.parent, step=int(data["step"]), files=files))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return sorted(candidates, key=lambda one: one.step)


def prune(candidates: Iterable[Checkpoint]) -> None:
    """Remove checkpoints, except the last `KEPT`; each becomes none at once, before its files are removed."""
    for one in list(candidates)[:-KEPT]:
        (one.path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(one.path, ignore_errors=True)


class CheckpointStore:
    """Writes the checkpoints of a training, one at a time, in a thread of its own; and finds the one to go on from.

    `save` takes as long as a copy of what this rank holds to the CPU's memory. All ranks must call it at the same step.
    """

    def __init__(self, folder: Path, identity: str, ranks: Ranks, ended: Callable[[int, str | None], object]) -> None:
        """Write nothing yet.

        Args:
            folder: where the checkpoints are written; no other process writes there.
            identity: what determines the training; others never go on from its checkpoints.
            ranks: the ranks, which see the same folder.
            ended: called in the thread of rank 0, with the step, and why it could not be saved, or None if it was.
        """
        self._folder, self._identity, self._ranks, self._ended = folder, identity, ranks, ended
        self._group = dist.new_group(backend="gloo") if ranks.size > 1 else None  # the thread's own
        self._thread: Thread | None = None
        self.write_s = 0.0
        """Seconds that the latest checkpoint took until it was written."""

    def resume(
        self, training: Training, folders: Iterable[Path], skipped: Callable[[Checkpoint, str], object]
    ) -> tuple[Checkpoint, dict[str, Any]] | None:
        """Let a training go on from the checkpoint with the most steps that is whole; the same on all ranks.

        Args:
            training: before its first step.
            folders: where other processes wrote checkpoints, or still write some.
            skipped: called with each checkpoint that is damaged, and why.

        Returns:
            The checkpoint, and what `save` was given beside the training; None if there is none, and the training is
            then unchanged.
        """
        folders, damaged = list(folders), set[Path]()
        while (one := self._chosen(folders, damaged, skipped)) is not None:
            try:
                return one, one.restore(training, self._ranks.rank)
            except UnusableCheckpointError as error:
                damaged.add(one.path)
                skipped(one, str(error))
        return None

    def _chosen(
        self, folders: list[Path], damaged: set[Path], skipped: Callable[[Checkpoint, str], object]
    ) -> Checkpoint | None:
        """The newest whole checkpoint; rank 0 reads all its files and decides. Others may appear or go meanwhile."""
        chosen: Checkpoint | None = None
        while self._ranks.rank == 0 and chosen is None:
            candidates = [one for one in checkpoints_in(folders, self._identity) if one.path not in damaged]
            if not candidates:
                break
            try:
                candidates[-1].verify()
                chosen = candidates[-1]
            except UnusableCheckpointError as error:
                damaged.add(candidates[-1].path)
                skipped(candidates[-1], str(error))
        return self._gathered(chosen)[0]

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, training: Training, extra: Mapping[str, Any]) -> None:
        """Copy the position of a training and begin to write it, once the checkpoint before it is written.

        Args:
            training: between two steps.
            extra: further values of the caller, as JSON.
        """
        self.wait()
        position = training.state()
        copies = {
            name: _on_cpu(one, local(one).detach().to("cpu", copy=True)) for name, one in position.tensors.items()
        }
        values = json.dumps({"training": position.values, "extra": dict(extra)}, allow_nan=False)
        self._thread = Thread(target=self._write, args=(training.step, copies, values), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, tensors: dict[str, Tensor], values: str) -> None:
        """The thread's work: whatever fails, the training goes on."""
        path, reason, started = self._folder / str(step), None, time.monotonic()
        try:
            self._write_files(path, step, tensors, values)
        except BaseException as error:  # noqa: BLE001 - among them DCP's CheckpointException
            reason = _cause(error)
            if self._ranks.rank == 0:
                shutil.rmtree(path, ignore_errors=True)
        self.write_s = time.monotonic() - started
        if self._ranks.rank == 0:
            self._ended(step, reason)

    def _write_files(self, path: Path, step: int, tensors: dict[str, Tensor], values: str) -> None:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import save

        rank, is_single = self._ranks.rank, self._group is None
        if rank == 0:
            shutil.rmtree(path, ignore_errors=True)  # of an earlier writer with this folder, that was ended
        if is_single:
            _expect_single_process()
        writer = HuggingFaceStorageWriter(str(path), _file_indices(tensors), save_distributed=True)
        save(dict(tensors), storage_writer=writer, process_group=self._group, no_dist=is_single)
        files: dict[str, tuple[int, int]] | str
        try:
            _write_durably(path / f"rank-{rank}.json", values)
            own = [path / f"rank-{rank}.json", *path.glob(f"shard-{rank + 1:05d}-*")]
            files = {one.name: _size_and_checksum(one) for one in own}
        except OSError as error:
            files = str(error)
        of_ranks = self._gathered(files)
        problems = [one for one in of_ranks if isinstance(one, str)]
        if problems:
            raise OSError(problems[0])
        if rank == 0:
            merged = {name: facts for one in of_ranks for name, facts in one.items()}
            marker = {"format": FORMAT, "identity": self._identity, "step": step, "files": merged}
            _write_durably(path / MARKER, json.dumps(marker, indent=1))
            _sync_folder(self._folder)

    def _gathered(self, value: Any) -> list[Any]:
        """The value of each rank."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self._ranks.size
        dist.all_gather_object(values, value, group=self._group)
        return values


def _file_indices(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Name of a tensor -> number of its file, from 1."""
    indices, index, size = {}, 1, 0
    for name, tensor in tensors.items():
        num_bytes = local(tensor).nbytes
        if size and size + num_bytes > BYTES_PER_FILE:
            index, size = index + 1, 0
        indices[name] = index
        size += num_bytes
    return indices


def _on_cpu(tensor: Tensor, values: Tensor) -> Tensor:
    """A tensor that is sharded as another, and whose part on this rank is in the CPU's memory."""
    if local(tensor) is tensor:
        return values.contiguous()
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return DTensor(values.contiguous(), tensor._spec, requires_grad=False)  # `from_local` would move it to the mesh


def _size_and_checksum(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum


def _write_durably(path: Path, text: str) -> None:
    """Write a file under another name, and give it its own once it is on the disk."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse it for folders
        pass
    finally:
        os.close(handle)


def _expect_single_process() -> None:
    """DCP warns that there is no process group; none is needed."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")


def _cause(error: BaseException) -> str:
    """What failed, in a line: DCP's exception holds those of the ranks."""
    failures = getattr(error, "failures", None)
    while failures:
        error = next(iter(failures.values()))[0]
        failures = getattr(error, "failures", None)
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
