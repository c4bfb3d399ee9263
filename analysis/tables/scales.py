"""Labels of scales: their sizes and their order. No pandas here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_SIZE = re.compile(r"(?:.+[-_ ])?(\d+(?:\.\d+)?)([KMBT])", re.IGNORECASE)
_MULTIPLE = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def scale_size(label: str) -> float:
    """Number of parameters in a label such as 0.15M, 7B or Qwen2.5-7B; infinite if the label does not end in a size."""
    match = _SIZE.fullmatch(label.strip())
    return float(match[1]) * _MULTIPLE[match[2].upper()] if match else math.inf


def scale_order(label: str, order: Sequence[str] = ()) -> tuple[float, int, str]:
    """Sort key: by size; labels that are not sizes come last, those of `order` as there, the others alphabetically."""
    return scale_size(label), order.index(label) if label in order else len(order), label
