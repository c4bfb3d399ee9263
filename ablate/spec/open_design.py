"""Open designs, those of the user's own trainer: which paths and values may be set, and in which spelling."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

from ablate.spec.axes import get

RUN_FIELDS = ("scale", "seed", "samples")
"""Names that stand beside the design's entries in the config of a program, so that no design sets them."""
ABSENT = "absent"
"""Name of an axis's value in tables where a design does not set it. It differs from null, which a design may set."""
EXACT = 2**53
"""Integers up to this are exact as floating-point numbers, too."""


def wrong_path(path: str, *, has_data: bool) -> str | None:
    """Why an open design cannot set a dotted path; None if it can.

    Args:
        path: the dotted path.
        has_data: whether the spec states `data`, which stands beside the design's entries.
    """
    first, *_ = pieces = path.split(".")
    if not all(piece and piece == piece.strip() for piece in pieces):
        return "a dotted path is names with single dots between them, as in model.projector"
    if first in RUN_FIELDS:
        return f"the program finds the trial's `{first}` under this name in its config; choose another"
    if first == "data" and has_data:
        return "the program finds the spec's `data` under this name in its config; choose another, or remove `data`"
    return None


def normalised(value: Any) -> Any:
    """A value in the spelling that all of its spellings share: 3e6 and 3000000.0 are 3000000.

    Raises:
        ValueError: it cannot be written as JSON: NaN, infinite, or a date.
    """
    match value:
        case bool() | str() | None | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
            return int(value) if value.is_integer() and abs(value) <= EXACT else value
        case list() | tuple():
            return [normalised(item) for item in value]
        case dict():
            return {str(key): normalised(item) for key, item in value.items()}
        case _:
            raise ValueError(f"{value} is neither a number nor a text; write it in quotes")


def unknown_condition(path: str, base: dict[str, Any], axes: list[str]) -> str | None:
    """Why no design of a sweep has a value at the path of a condition, with the nearest axis; None if one may have.

    Args:
        path: dotted path in an exclusion.
        base: the base design.
        axes: dotted paths of all axes.
    """
    missing = object()
    is_of_axis = any(f"{path}.".startswith(f"{axis}.") or f"{axis}.".startswith(f"{path}.") for axis in axes)
    if is_of_axis or get(base, path, missing) is not missing:
        return None
    near = get_close_matches(path, axes, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"axes: {', '.join(axes)}"
    return f"no design of this sweep sets it; {hint}"
