"""Chosen designs -> a sweep spec of exactly these: a preset, what all differ from it by, tied axes for the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ablate.errors import AblateError
from ablate.spec.axes import get, put, unknown_path
from ablate.spec.grid import expand
from ablate.spec.keys import design_key
from ablate.spec.load import load_spec
from models.design import Design
from models.presets import PRESETS

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A design to be run, and why."""

    name: str
    design: Design
    reason: str
    axes: Mapping[str, Value] = field(default_factory=dict)
    """What the study's tables call its value of each axis: the spec names them alike, so that they stay one value."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What the spec says beside its designs."""

    study: str
    question: str
    heading: Sequence[str]
    """Comment lines above everything."""
    scale: str | Mapping[str, str]
    """A label of the ladder, or {label, llm}."""
    seeds: Sequence[int]
    samples: int
    metric: str | None
    """None for the benchmark overall of the designs' data."""
    gpus: float | None = None
    """Of one trial, where a plan said so; else the ladder's."""


def sweep_text(sheet: Sheet, chosen: Sequence[Chosen], axes: Sequence[str]) -> str:
    """YAML of a sweep over the chosen designs alone.

    Args:
        sheet: the rest.
        chosen: one or more designs, in the order in which they are to stand.
        axes: dotted paths that the study varied; values are given there where that tells all designs apart.

    Raises:
        AblateError: the YAML would run other designs than these, which is a defect here.
    """
    preset = min(PRESETS, key=lambda name: len(_unlike(PRESETS[name].design, chosen)))
    shared, columns = _split(chosen, PRESETS[preset].design, axes)
    lines = [f"# {line}" for line in sheet.heading]
    lines += [f"study: {sheet.study}", f"question: {_flow(sheet.question)}", f"base: {preset}"]
    if shared:
        lines.append("set:")
        lines += [f"  {path}: {_flow(value)}" for path, value in shared.items()]
    lines += ["zip:"]
    for number, (path, values) in enumerate(columns.items()):
        lines.append(f"  {'- ' if number == 0 else '  '}{path}:")
        for design, value in zip(chosen, values, strict=True):
            reason = f"  # {design.name}: {design.reason}" if number == 0 else ""
            lines.append(f"      - {_flow(value)}{reason}")
    lines += [f"scales: [{_flow(sheet.scale)}]", f"seeds: {_flow(list(sheet.seeds))}", f"samples: {sheet.samples}"]
    if sheet.metric is not None:
        lines.append(f"metric: {_flow(sheet.metric)}")
    if sheet.gpus is not None:
        lines.append(f"resources: {{gpus: {sheet.gpus:g}}}")
    text = "\n".join(lines) + "\n"
    _check(text, chosen)
    return text


def _unlike(base: Design, chosen: Sequence[Chosen]) -> list[str]:
    """Fields of the design that differ from a base in any of the chosen."""
    return [name for name in Design.model_fields if any(_key(c.design, name) != _key(base, name) for c in chosen)]


def _key(design: Design, name: str) -> Any:
    value = design.model_dump(mode="json")[name]
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if key != "digest"}
    return value


def _split(chosen: Sequence[Chosen], base: Design, axes: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What all share and the base has not, by field; and a column of values for what they differ in."""
    shared: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    designs, unlike = [c.design for c in chosen], _unlike(base, chosen)
    known = [axis for axis in axes if unknown_path(axis) is None]
    for name in Design.model_fields:
        paths = [axis for axis in known if axis.startswith(f"{name}.")]
        is_shared = all(_key(design, name) == _key(designs[0], name) for design in designs)
        if name not in known and paths and _told_by(designs, name, paths):
            if name in unlike:
                shared[name] = _short(designs[0], name)
            for path in paths:
                values = [get(design.model_dump(mode="json"), path) for design in designs]
                columns[path] = [_named(c.axes.get(path), value) for c, value in zip(chosen, values, strict=True)]
        elif name in known or not is_shared:
            columns[name] = [_named(c.axes.get(name), _short(c.design, name)) for c in chosen]
        elif name in unlike:
            shared[name] = _short(designs[0], name)
    if not columns:  # a sweep has an axis: this one varies nothing
        columns["sampling"] = [_short(design, "sampling") for design in designs]
        shared.pop("sampling", None)
    order = {axis: place for place, axis in enumerate(axes)}  # labels follow the order of the columns
    return shared, dict(sorted(columns.items(), key=lambda column: order.get(column[0], len(order))))


def _told_by(designs: Sequence[Design], name: str, paths: list[str]) -> bool:
    """Whether these paths alone make every design's field from the first one's."""
    if not paths:
        return False
    plain = [design.model_dump(mode="json") for design in designs]
    try:
        for other in plain:
            made = {name: plain[0][name]}
            for path in paths:
                made = put(made, path, get(other, path))
            if made[name] != other[name]:
                return False
    except KeyError:
        return False
    return True


def _short(design: Design, name: str) -> Any:
    """A field's value without its defaults, and without what is found anew wherever the spec is read."""
    value = design.model_dump(mode="json", exclude_defaults=True).get(name)
    if value is None:
        value = design.model_dump(mode="json")[name]
    return {k: part for k, part in value.items() if k != "digest"} if isinstance(value, dict) else value


def _named(name: Value | None, value: Any) -> Any:
    """A value with its name in tables; numbers and words are their own."""
    if not isinstance(name, str) or isinstance(value, str | int | float):
        return value
    return {"name": name, **value} if isinstance(value, dict) and "kind" in value else {"name": name, "value": value}


def _kind_first(value: Any) -> Any:
    """As people write it: the kind of a variant before its fields."""
    if isinstance(value, dict):
        front = {key: value[key] for key in ("name", "kind") if key in value}
        return front | {key: _kind_first(part) for key, part in value.items() if key not in front}
    return [_kind_first(part) for part in value] if isinstance(value, list) else value


def _flow(value: Any) -> str:
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 100_000
    text = StringIO()
    yaml.dump(_kind_first(value), text)
    return text.getvalue().strip().removesuffix("...").strip()


def _check(text: str, chosen: Sequence[Chosen]) -> None:
    """Read it back as `ablate sweep` would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.yaml"
        path.write_text(text, encoding="utf-8")
        found = {trial.design_key for trial in expand(load_spec(path)).trials}
    if found != {design_key(c.design) for c in chosen}:
        raise AblateError(f"the designs cannot be written as a sweep spec; please report this:\n{text}")
