"""Errors of pydantic as one sentence with file, line and key."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)

from ablate.errors import SpecError
from ablate.spec.axes import parts_in
from ablate.spec.source import Location, Source

RENAMED_KEYS = {"budget": "samples", "design": "vary"}
"""Keys of specs up to 0.1.0 -> what they are called now."""


def explain(
    error: ValidationError, model: type[BaseModel], source: Source, axes: dict[str, Location] | None = None
) -> SpecError:
    """The first of pydantic's complaints as one sentence with its place in the file.

    Args:
        error: what pydantic found.
        model: the model that was validated.
        source: the file.
        axes: where the file sets each dotted path, when `model` is a design built from the file.
    """
    # An unknown key comes first: a misspelt one also shows as a missing one.
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    location = _without_tags(model, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        allowed = _allowed(model, first["loc"][:-1])
        near = get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        if location[-1] in RENAMED_KEYS and RENAMED_KEYS[str(location[-1])] in allowed:
            hint = f"it is now '{RENAMED_KEYS[str(location[-1])]}'; "
        message = f"unknown key '{location[-1]}'; {hint}allowed: {', '.join(allowed)}"
    elif first["type"] == "union_tag_invalid":
        given, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "")
        near = get_close_matches(str(given), tags.split(", "), n=1)
        message = f"unknown kind '{given}'; " + (f"did you mean '{near[0]}'? " if near else "") + f"allowed: {tags}"
    elif first["type"] == "union_tag_not_found":
        message = "missing its `kind`"
    elif first["type"] == "tuple_type":
        message = f"must be a list: [{_in_a_line(first['input'])}]"
    elif first["type"] == "missing":
        message = "missing; give it a value"
    elif first["type"] != "value_error":
        message = f"{message}, not {first['input']!r}"
    if axes is None:
        return source.error(location, message)
    dotted = ".".join(str(piece) for piece in location)
    owners = [p for p in axes if not dotted or f"{dotted}.".startswith(f"{p}.") or f"{p}.".startswith(f"{dotted}.")]
    if not owners:
        first_piece = dotted.split(".", 1)[0]
        beside = next((p for p in axes if p.split(".", 1)[0] == first_piece), None)
        if beside is None:
            return SpecError(f"{source.path}: this combination of axes is no design: {dotted}: {message}")
        mend = f"the base has it; to change the kind, give `{first_piece}` whole values: {{kind: ..., ...}}"
        return source.error(axes[beside], f"no design with {dotted}: {message}; {mend}")
    owner = max(owners, key=len)
    rest = dotted.removeprefix(owner).strip(".")
    return source.error((*axes[owner], *(rest.split(".") if rest else ())), message)


def _in_a_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "{" + ", ".join(f"{name}: {part}" for name, part in value.items()) + "}"


def _allowed(model: type[BaseModel], loc: Location) -> list[str]:
    return sorted({name for part in _models_at(model, loc) for name in part.model_fields})


def _models_at(model: type[BaseModel], loc: Location) -> list[type[BaseModel]]:
    """Models that pydantic's location may mean: fields are followed, union tags choose, indices pass."""
    here = [model]
    for piece in loc:
        inner = [p for m in here if piece in m.model_fields for p in parts_in(m.model_fields[str(piece)].annotation)]
        tagged = [m for m in here if _tag(m) == piece]
        here = inner or tagged or here
    return here


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return str(kind.annotation.__args__[0]) if kind is not None and kind.annotation is not None else None


def _without_tags(model: type[BaseModel], loc: Location) -> Location:
    """Pydantic's location without the union tags that stand in no file."""
    kept: list[str | int] = []
    for depth, piece in enumerate(loc):
        is_tag = any(_tag(m) == piece for m in _models_at(model, loc[:depth]))
        if not is_tag or (depth == len(loc) - 1 and piece in _allowed(model, loc[:depth])):
            kept.append(piece)
    return tuple(kept)
