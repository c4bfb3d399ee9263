"""Tensors of safetensors files, read one at a time and in part: no process has to hold all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils import cached_file
from transformers.utils.hub import get_checkpoint_shard_files

from models.weights.locations import locate, revision_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PORTION_BYTES = 64 * 2**20
"""Largest part of a tensor that is read at once, in bytes as fp32."""

Region = tuple[slice, ...]
"""A block of a tensor: a range of indices of each of its dimensions."""


class TensorFiles:
    """The tensors of one or several files, by name. Files are opened only while they are read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the headers.

        Raises:
            SafetensorError: a file is damaged.
        """
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Name -> shape."""
        self._paths: dict[str, Path] = {}
        for path in paths:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (it is no mapping)
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self._paths[name] = path

    def portions(self, name: str, region: Region | None = None) -> Iterator[tuple[Region, Tensor]]:
        """A block of a tensor in portions of at most `PORTION_BYTES` (one row at least), in the dtype of the file.

        Args:
            name: the tensor's.
            region: the block; None for the whole tensor.

        Yields:
            Where in the block the portion is, and its values.
        """
        block = tuple(slice(0, size) for size in self.shapes[name]) if region is None else region
        sizes = [part.stop - part.start for part in block]
        if not prod(sizes):
            return
        with safe_open(self._paths[name], framework="pt") as file:
            if not block:
                yield (), file.get_tensor(name)
                return
            tensor, first, rest = file.get_slice(name), block[0], block[1:]
            rows = max(1, PORTION_BYTES // (4 * prod(sizes[1:])))
            for start in range(0, sizes[0], rows):
                stop = min(start + rows, sizes[0])
                values = tensor[(slice(first.start + start, first.start + stop), *rest)]
                yield (slice(start, stop), *(slice(0, size) for size in sizes[1:])), values

    def read(self, name: str) -> Tensor:
        """A whole tensor in the dtype of the file."""
        with safe_open(self._paths[name], framework="pt") as file:
            return file.get_tensor(name)

    def are_equal(self, name: str, other: str) -> bool:
        """Whether two tensors have the same shape and values."""
        if self.shapes[name] != self.shapes[other]:
            return False
        pairs = zip(self.portions(name), self.portions(other), strict=True)
        return all(torch.equal(one, two) for (_, one), (_, two) in pairs)


def find_tensor_files(weights: str) -> TensorFiles | None:
    """The safetensors files of a folder or a hub id, fetched if need be; None if there are none of transformers' names.

    Raises:
        OSError: the hub cannot be reached, or has no such id.
        SafetensorError: a file is damaged.
    """
    where, revision = locate(weights), revision_of(weights)
    optional = {"_raise_exceptions_for_missing_entries": False, "revision": revision}
    single = cached_file(where, SINGLE, **optional)
    if single is not None:
        return TensorFiles([Path(single)])
    index = cached_file(where, INDEX, **optional)
    if index is None:
        return None
    paths, _ = get_checkpoint_shard_files(where, index, revision=revision)
    return TensorFiles([Path(path) for path in paths])
