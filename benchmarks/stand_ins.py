"""Stand-ins for packages that an interpreter lacks and that the checks on a GPU only import.

`gpu_check` runs where nobody may install anything. torch brings jinja2 and filelock, transformers brings numpy,
safetensors and tokenizers; what is left are packages that `models/` imports and that random models on generated videos
never call. Call `stand_in()` before anything of `models/` is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

ONLY_IMPORTED = ("pyarrow", "pyarrow.compute", "pyarrow.parquet", "PIL", "filelock", "pandas")

STAND_INS: set[str] = set()
"""Packages that have a stand-in in this process."""


def is_missing(package: str) -> bool:
    """Whether a package, or a module of ours, cannot be imported; a stand-in counts as missing."""
    return package in STAND_INS or importlib.util.find_spec(package) is None


def stand_in() -> list[str]:
    """Put stand-ins in the place of missing packages; their names."""
    import transformers  # asks for optional packages itself, and must not see stand-ins

    for name in ("AutoTokenizer", "Qwen2ForCausalLM", "SiglipVisionModel"):
        getattr(transformers, name)
    absent = [name for name in ("lazy_loader", *ONLY_IMPORTED) if is_missing(name.partition(".")[0])]
    for name in absent:
        sys.modules[name] = _lazy_loader() if name == "lazy_loader" else _Absent(name)
    STAND_INS.update(name for name in absent if "." not in name)
    return sorted(STAND_INS)


class _Absent(ModuleType):
    """A module whose names can be imported and called; what a call returns fails when it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__, self.__path__ = ModuleSpec(name, None), []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _OpaqueType(f"{self.__name__}.{name}", (_Opaque,), {})


class _OpaqueType(type):
    """A class, a function or a submodule, whose names are of the same kind."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _OpaqueType(f"{cls.__name__}.{name}", (_Opaque,), {})


class _Opaque(Exception):
    """What a call returns, such as a column's type in a constant; an exception, since it may stand in `except`."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(type(self).__name__)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ModuleNotFoundError(f"{type(self).__name__} is needed, and its package is not installed")


def _lazy_loader() -> ModuleType:
    """The one function of lazy_loader that the faces call: names of a stub are imported when they are asked for."""
    module = ModuleType("lazy_loader")
    module.__spec__ = ModuleSpec("lazy_loader", None)
    module.attach_stub = _attach_stub  # type: ignore[attr-defined]
    return module


def _attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from the `.pyi` beside its `__init__.py`."""
    origins: dict[str, str] = {}
    for node in ast.parse(Path(file).with_suffix(".pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                origins[alias.asname or alias.name] = f"{package}.{node.module}" if node.module else package

    def get(name: str) -> Any:
        if name in origins:
            if origins[name] == package:
                return importlib.import_module(f"{package}.{name}")
            return getattr(importlib.import_module(origins[name]), name)
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"module {package} has no attribute {name}") from None

    return get, lambda: list(origins), list(origins)
