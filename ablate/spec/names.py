"""Readable names: axis values as short slugs, configs as flat mappings. Nothing parses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.spec.keys import digest
from models.design import Part


def axis_slug(path: str, value: Any) -> str:
    """Short, readable name of one axis value: `uniform4`, `tpf2`, `timestamps`, `no-timestamps`.

    Args:
        path: dotted path into a design.
        value: its value in the spec, without its `name`.
    """
    last = path.rsplit(".", 1)[-1]
    if isinstance(value, bool):
        return last if value else f"no-{last}"
    if isinstance(value, Mapping) and "kind" in value:
        rest = [_short(v) for k, v in value.items() if k != "kind" and not isinstance(v, Mapping | list)]
        return str(value["kind"]) + "-".join(rest)
    if isinstance(value, Mapping):
        return "-".join(axis_slug(k, v) for k, v in value.items()) or last
    if isinstance(value, int | float):
        return short_field(path) + _short(value)
    if isinstance(value, list):
        return f"{last}-{digest(value)[:4]}"
    return _short(value) or f"{last}-blank"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else on_one_line(str(value).rsplit("/", 1)[-1])


def on_one_line(text: str) -> str:
    """A text without line breaks and without characters that a terminal does not print."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def short_field(path: str) -> str:
    """The abbreviation of a field if models/design gives one, else its name: `tpf`, `frames`."""
    name = path.rsplit(".", 1)[-1]
    for part in _all_parts(Part):
        field = part.model_fields.get(name)
        extra = field.json_schema_extra if field else None
        if isinstance(extra, dict) and "short" in extra:
            return str(extra["short"])
    return name


def _all_parts(base: type[Part]) -> list[type[Part]]:
    return [p for sub in base.__subclasses__() for p in (sub, *_all_parts(sub))]


def flatten(config: Part) -> dict[str, str | int | float | bool]:
    """Dotted path -> value for every field of a config, defaults included."""
    flat: dict[str, str | int | float | bool] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(f"{prefix}.{index}", item)
        elif value is not None:
            flat[prefix] = value

    walk("", config.model_dump(mode="json"))
    return flat
