"""GPUs by name: memory and speed, from the data file `gpus.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path

from ablate.errors import UsageError
from ablate.spec import read_yaml

DEFAULT = "h100-80gb"
"""The GPU for prices of trials at published scales if none is named."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU model."""

    name: str
    memory_gib: float
    tflops: float
    """Peak of dense bf16, in 10^12 FLOP/s; fp16 on GPUs without bf16."""
    source: str


@cache
def gpus() -> dict[str, Gpu]:
    """The GPUs of `gpus.yaml`, by name."""
    rows = read_yaml(Path(str(files("ablate.plan") / "gpus.yaml"))).data
    return {name: Gpu(name=name, **row) for name, row in rows.items()}


def gpu(name: str) -> Gpu:
    """The GPU with this name.

    Raises:
        UsageError: there is none; the message lists all.
    """
    table = gpus()
    if name in table:
        return table[name]
    near = get_close_matches(name.lower(), table, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"--gpu {name}: no such GPU; {hint}known: {', '.join(table)}")
