"""Errors of pydantic as one sentence with file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
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
"""Keys of specs up to 0.1.0 -> their names now."""


def explain(
    error: ValidationError, model: type[BaseModel], source: Source, axes: dict[str, Location] | None = None
) -> SpecError:
    """The first of pydantic's errors as one sentence with file, line and key.

    Args:
        error: what pydantic reports.
        model: the model that was validated.
        source: the file.
        axes: where the file sets each dotted path, if `model` is a design built from the file.
    """
    # An unknown key comes first: a misspelt one also shows as a missing one.
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    location = _without_tags(model, first["loc"])
    message = _message(first, model, location)
    if axes is None:
        return source.error(location, message)
    return _error_at_axis(".".join(str(piece) for piece in location), message, source, axes)


def _message(details: Mapping[str, Any], model: type[BaseModel], location: Location) -> str:
    """One of pydantic's errors in the words of a spec, with a hint where the fix can be guessed."""
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(str(location[-1]), _allowed(model, details["loc"][:-1]))
        case "union_tag_invalid":
            tag, tags = str(details["ctx"]["tag"]), details["ctx"]["expected_tags"].replace("'", "")
            return f"unknown kind '{tag}'; {_nearest(tag, tags.split(', '))}allowed: {tags}"
        case "union_tag_not_found":
            return "missing its `kind`"
        case "tuple_type":
            return f"must be a list: [{_in_a_line(details['input'])}]"
        case "missing":
            return "missing; give it a value"
        case "value_error":
            return str(details["msg"]).removeprefix("Value error, ")
        case kind if _may_be_secret(location):
            return f"{details['msg']}; write it in quotes" if kind == "string_type" else str(details["msg"])
        case _:
            return f"{details['msg']}, not {details['input']!r}"


def _may_be_secret(location: Location) -> bool:
    """Whether the value at a location of a spec may contain values of `trainer.env`, which nothing prints."""
    return location == ("trainer",) or location[:2] == ("trainer", "env")


def _unknown_key(key: str, allowed: list[str]) -> str:
    if RENAMED_KEYS.get(key) in allowed:
        return f"unknown key '{key}': it is called '{RENAMED_KEYS[key]}' now"
    return f"unknown key '{key}'; {_nearest(key, allowed)}allowed: {', '.join(allowed)}"


def _nearest(word: str, allowed: list[str]) -> str:
    near = get_close_matches(word, allowed, n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def _error_at_axis(dotted: str, message: str, source: Source, axes: dict[str, Location]) -> SpecError:
    """The error at the line of the axis that sets a path of the design, or of one that sets its neighbour.

    Args:
        dotted: path of the design that is wrong.
        message: what is wrong with it.
        source: the file.
        axes: where the file sets each dotted path.
    """
    owners = [p for p in axes if not dotted or f"{dotted}.".startswith(f"{p}.") or f"{p}.".startswith(f"{dotted}.")]
    if owners:
        owner = max(owners, key=len)
        rest = dotted.removeprefix(owner).strip(".")
        return source.error((*axes[owner], *(rest.split(".") if rest else ())), message)
    first_piece = dotted.split(".", 1)[0]
    neighbour = next((p for p in axes if p.split(".", 1)[0] == first_piece), None)
    if neighbour is None:
        return SpecError(f"{source.path}: this combination of axes is not a valid design: {dotted}: {message}")
    fix = f"the base sets it; to change the kind, give `{first_piece}` whole values: {{kind: ..., ...}}"
    return source.error(axes[neighbour], f"not a valid design with {dotted}: {message}; {fix}")


def _in_a_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "{" + ", ".join(f"{name}: {part}" for name, part in value.items()) + "}"


def _allowed(model: type[BaseModel], loc: Location) -> list[str]:
    return sorted({name for part in _models_at(model, loc) for name in part.model_fields})


def _models_at(model: type[BaseModel], loc: Location) -> list[type[BaseModel]]:
    """Models at pydantic's location: fields are followed, union tags select, indices are skipped."""
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
    """Pydantic's location without the union tags, which are not keys of the file."""
    pieces: list[str | int] = []
    for depth, piece in enumerate(loc):
        is_tag = any(_tag(m) == piece for m in _models_at(model, loc[:depth]))
        if not is_tag or (depth == len(loc) - 1 and piece in _allowed(model, loc[:depth])):
            pieces.append(piece)
    return tuple(pieces)
