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


def is_missing(package: str) -> bool:
    """Whether a package cannot be imported."""
    return importlib.util.find_spec(package) is None


def stand_in() -> list[str]:
    """Put stand-ins in the place of missing packages; their names."""
    import transformers  # asks for optional packages itself, and must not see stand-ins

    for name in ("AutoTokenizer", "Qwen2ForCausalLM", "SiglipVisionModel"):
        getattr(transformers, name)
    absent = [name for name in ("lazy_loader", *ONLY_IMPORTED) if is_missing(name.partition(".")[0])]
    for name in absent:
        sys.modules[name] = _lazy_loader() if name == "lazy_loader" else _Absent(name)
    return [name for name in absent if "." not in name]


class _Absent(ModuleType):
    """A module whose names can be imported, and fail when they are called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__, self.__path__ = ModuleSpec(name, None), []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        package = self.__name__

        class Refusal(Exception):
            """Stands for a class or a function."""

            def __init__(self, *_: object, **__: object) -> None:
                raise ModuleNotFoundError(f"{package}.{name} is needed, and {package} is not installed")

        return Refusal


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
