"""The folders of `manifest` data that a spec names, without an expansion into trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.spec.sweep_spec import SweepSpec


def data_folders(spec: SweepSpec) -> list[Path]:
    """The data folders of a spec and of its axes, absolute, in the order in which it names them.

    Empty with a trainer of the user's own, which reads data in formats of its own.
    """
    if spec.is_open:
        return []
    folders = [name for path, value in _values(spec) if isinstance(name := _folder(path, value), str)]
    return list(dict.fromkeys((spec.source.path.parent / folder).resolve() for folder in folders))


def _values(spec: SweepSpec) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything that decides the data."""
    yield "data", spec.base_design.get("data")
    for grid in spec.all_grids():
        for group in (grid.axes, *grid.zip):
            for path in ("data", "data.folder"):
                yield from ((path, value) for value in group.get(path, ()))


def _folder(path: str, value: Any) -> Any:
    """The folder of one value; a choice of an axis may have a name beside its value."""
    if isinstance(value, Mapping) and {"name", "value"} == set(value):
        value = value["value"]
    if path == "data.folder":
        return value
    return value.get("folder") if isinstance(value, Mapping) and value.get("kind") == "manifest" else None
