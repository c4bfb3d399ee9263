"""Names and shapes of a checkpoint's tensors, read for a plan without torch and without the tensors themselves.

A pickle is read with every name in it bound to an inert object, so that nothing in it can run.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from models.weights.errors import CheckpointError


class Shape(tuple[int, ...]):
    """Shape of a tensor."""

    __slots__ = ()


def read_shapes(path: Path) -> dict[str, Any] | None:
    """A checkpoint's content with a `Shape` for each tensor; None for a pre-1.6 (non-zip) or damaged pickle.

    Raises:
        CheckpointError: a safetensors file is damaged.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return dict(safetensors_shapes(path))
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(name) as pickled:
                content = _ShapesOnly(pickled).load()
    except Exception:  # noqa: BLE001  (an unpickler may raise anything on bytes that are no pickle)
        return None
    return content if isinstance(content, dict) else None


def safetensors_shapes(path: Path) -> dict[str, Shape]:
    """Name -> shape of the tensors in a safetensors file, from its header.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        return {key: Shape(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged or truncated, or no checkpoint ({error}); fetch it again") from None


class _Inert:
    """A substitute for everything that a pickle names: it takes any arguments and does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __call__(self, *_: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def extend(self, _: object) -> None: ...

    append = add = extend


def _shape(_: object, __: object, size: Any, *___: object) -> Shape:
    return Shape(size)


def _first(tensor: object, *_: object) -> object:
    return tensor


class _ShapesOnly(pickle.Unpickler):
    """Tensors become their shapes; storages, classes and functions become `_Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        readable = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _shape,
            "torch._utils._rebuild_parameter": _first,
        }
        return readable.get(f"{module}.{name}", _Inert)

    def persistent_load(self, _: object) -> object:
        return None
