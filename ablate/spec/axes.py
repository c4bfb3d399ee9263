"""Dotted paths into a design: which paths exist, and how a value is read or set at one."""

from __future__ import annotations

import copy
import json
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from models.design import Design


def parts_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation names, also inside unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in parts_in(argument)]


@cache
def design_fields() -> dict[str, FieldInfo]:
    """Every path of the design space -> its field; `*` is any index of a list."""
    fields: dict[str, FieldInfo] = {}

    def walk(prefix: str, part: type[BaseModel]) -> None:
        for name, field in part.model_fields.items():
            path = f"{prefix}{name}"
            fields.setdefault(path, field)
            is_list = get_origin(field.annotation) is tuple
            if is_list:
                fields.setdefault(f"{path}.*", field)
            for inner in parts_in(field.annotation):
                walk(f"{path}.*." if is_list else f"{path}.", inner)

    walk("", Design)
    return fields


def unknown_path(path: str) -> str | None:
    """Why a path does not exist in the design space, with the nearest one that does; None if it exists."""
    general = ".".join("*" if _is_index(piece) else piece for piece in path.split("."))
    if general in design_fields():
        return None
    if path in ("scale", "seed", "scales", "seeds", "samples", "budget"):
        return "scales, seeds and samples are top-level keys of the spec, not axes"
    paths = [p.replace("*", "0") for p in design_fields()]
    near = get_close_matches(path, paths, n=1, cutoff=0.5)
    near = near or [p for p in paths if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]][:1]
    hint = f"did you mean '{near[0]}'?" if near else f"top-level axes: {', '.join(p for p in paths if '.' not in p)}"
    return f"no such axis in the design space; {hint}"


def _is_index(piece: str) -> bool:
    """Whether a piece of a path is a list index in its only accepted spelling: decimal, no leading zeros."""
    return piece.isascii() and piece.isdecimal() and str(int(piece)) == piece


def put(design: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of plain design data with a value set at a dotted path.

    Raises:
        KeyError: a list along the path is too short, or a value along it is no mapping; the message says which.
    """
    result = copy.deepcopy(design)
    pieces = path.split(".")
    node: Any = result
    for depth, piece in enumerate(pieces):
        index = _index_in(node, piece, ".".join(pieces[:depth]))
        if depth == len(pieces) - 1:
            node[index] = copy.deepcopy(value)
        else:
            if isinstance(node, dict) and (index not in node or _is_absent(node[index], pieces[: depth + 1])):
                node[index] = {}
            node = node[index]
    return result


def _is_absent(value: Any, pieces: list[str]) -> bool:
    """Whether a value is null for want of an optional part of one kind, which its fields then make: `lora.rank: 8`."""
    field = design_fields().get(".".join(pieces))
    parts = parts_in(field.annotation) if value is None and field else []
    return len(parts) == 1 and "kind" not in parts[0].model_fields


def _index_in(node: Any, piece: str, parent: str) -> int | str:
    """A piece of a path as the index or key that it is in its parent.

    Raises:
        KeyError: the parent has no such place; the message says why.
    """
    if isinstance(node, dict):
        return piece
    if not isinstance(node, list):
        raise KeyError(f"'{parent}' is {json.dumps(node)}, which has no '{piece}'; set '{parent}' as a whole")
    if not _is_index(piece):
        raise KeyError(f"'{parent}' is a list, whose entries are numbered from 0; '{piece}' is no number")
    if int(piece) >= len(node):
        raise KeyError(f"'{parent}' has {len(node)} entries, numbered from 0")
    return int(piece)


def get(design: dict[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path of plain design data; the default if there is none."""
    node: Any = design
    for piece in path.split("."):
        if isinstance(node, list) and _is_index(piece) and int(piece) < len(node):
            node = node[int(piece)]
        elif isinstance(node, dict):
            if piece not in node:
                return default
            node = node[piece]
        else:
            return default
    return node
