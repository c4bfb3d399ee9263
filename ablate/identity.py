"""What makes two trials the same: canonical JSON of the resolved config -> key; and names for people.

A key depends neither on key order nor on number spelling (3e6 = 3000000), nor on fields left at their
default (so a new field with a default keeps old keys), nor on where and how a trial runs. Where code
changes what a config means, the part's `VERSION` is raised. Nothing ever parses a name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from models.design import Design, ManifestData, Part, Stage, TrialConfig
from models.ladder import Rung, rung_of

KEY_LENGTH = 16  # hex digits: a collision among a million trials has a chance of 3e-8

EXECUTION_ONLY: dict[tuple[type[Part], str], str] = {
    (ManifestData, "folder"): "where the data lies; `digest` says what it is",
    (Stage, "name"): "names are for people",
    (Rung, "cpus"): "how a trial runs",
    (Rung, "gpus"): "how a trial runs",
}
"""Fields that enter no key, each with its reason."""


def canonical(value: Any) -> Any:
    """Plain, normalised data that means the same wherever the config means the same."""
    if isinstance(value, Part):
        kind = type(value)
        kept = {
            name: canonical(getattr(value, name))
            for name, field in kind.model_fields.items()
            if (kind, name) not in EXECUTION_ONLY
            and not (_is_default(field, getattr(value, name)) and _is_first_version(getattr(value, name)))
        }
        return {**kept, "version": kind.VERSION}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _is_default(field: FieldInfo, value: Any) -> bool:
    return not field.is_required() and bool(field.get_default(call_default_factory=True) == value)


def _is_first_version(value: Any) -> bool:
    """Whether no part in here has changed its meaning since it was introduced."""
    if isinstance(value, Part):
        return value.VERSION == 1 and all(_is_first_version(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, list | tuple):
        return all(_is_first_version(item) for item in value)
    return True


def digest(value: Any) -> str:
    """Key of any config part or plain data."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def trial_key(config: TrialConfig) -> str:
    """Key of a trial: design, scale with what the ladder makes of it, seed, budget."""
    return digest({"trial": config, "rung": rung_of(config)})


def design_key(design: Design) -> str:
    """Key of a design, the same at every scale, seed and budget."""
    return digest(design)


# --- names for people ---------------------------------------------------------------------------


def axis_slug(path: str, value: Any) -> str:
    """Short readable name of one axis value: `uniform4`, `tpf2`, `timestamps`, `no-timestamps`.

    Args:
        path: dotted path into a design.
        value: what the spec gives there, without its `name`.
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
    return _short(value)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).rsplit("/", 1)[-1]


def short_field(path: str) -> str:
    """The field's own abbreviation where design.py gives one, else its name: `tpf`, `frames`."""
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
