"""Dotted paths into a design: which there are, and how a value is put there."""

from __future__ import annotations

import copy
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from models.design import Design


def parts_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation names, unions and containers opened."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in parts_in(argument)]


@cache
def design_fields() -> dict[str, FieldInfo]:
    """Every path of the design space -> its field; `*` stands for a place in a list."""
    found: dict[str, FieldInfo] = {}

    def walk(prefix: str, part: type[BaseModel]) -> None:
        for name, field in part.model_fields.items():
            path = f"{prefix}{name}"
            found.setdefault(path, field)
            many = get_origin(field.annotation) is tuple
            if many:
                found.setdefault(f"{path}.*", field)
            for inner in parts_in(field.annotation):
                walk(f"{path}.*." if many else f"{path}.", inner)

    walk("", Design)
    return found


def unknown_path(path: str) -> str | None:
    """Why this is no path of the design space, with the nearest one; None where it is one."""
    general = ".".join("*" if _is_place(piece) else piece for piece in path.split("."))
    if general in design_fields():
        return None
    if path in ("scale", "seed", "scales", "seeds", "samples", "budget"):
        return "scales, seeds and samples stand at the top of the spec, not among the axes"
    known = [p.replace("*", "0") for p in design_fields()]
    near = get_close_matches(path, known, n=1, cutoff=0.5)
    near = near or [p for p in known if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]][:1]
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(p for p in known if '.' not in p)}"
    return f"no such axis in the design space; {hint}"


def _is_place(piece: str) -> bool:
    """Whether a piece of a path is a place in a list, spelt in the one way that there is."""
    return piece.isascii() and piece.isdecimal() and str(int(piece)) == piece


def put(design: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of plain design data with the value at a dotted path.

    Raises:
        KeyError: a list along the path is too short; the message says how long it is.
    """
    result = copy.deepcopy(design)
    pieces = path.split(".")
    place: Any = result
    for depth, piece in enumerate(pieces):
        last = depth == len(pieces) - 1
        index: int | str = int(piece) if isinstance(place, list) else piece
        if isinstance(index, int) and index >= len(place):
            raise KeyError(f"'{'.'.join(pieces[:depth])}' has {len(place)} entries, numbered from 0")
        if last:
            place[index] = copy.deepcopy(value)
        else:
            place = place[index] if isinstance(index, int) else place.setdefault(index, {})
    return result


def get(design: dict[str, Any], path: str) -> Any:
    """The value at a dotted path of plain design data; None where there is nothing."""
    place: Any = design
    for piece in path.split("."):
        if isinstance(place, list) and _is_place(piece) and int(piece) < len(place):
            place = place[int(piece)]
        elif isinstance(place, dict):
            place = place.get(piece)
        else:
            return None
    return place
