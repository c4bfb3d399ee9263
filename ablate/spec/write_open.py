"""Writes a sweep spec of exactly the chosen open designs, which the user's own trainer trains."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.errors import AblateError, UsageError
from ablate.spec.axes import put
from ablate.spec.grid import expand
from ablate.spec.load import load_spec
from ablate.spec.names import axis_slug
from ablate.spec.sweep_spec import SweepSpec
from ablate.spec.write import Value, flow

_ABSENT = object()
_AS_WRITTEN = ("resources", "limits", "retries")


@dataclass(frozen=True, kw_only=True)
class OpenChosen:
    """An open design of the spec to be written, and the reason for it."""

    name: str
    design: Mapping[str, Any]
    """Nested plain data."""
    key: str
    """Key of the design in the study."""
    reason: str
    axes: Mapping[str, Value] = field(default_factory=dict)
    """Axis -> its value in the study's tables. The spec uses it as the name, so that tables show one value, not two."""


@dataclass(frozen=True, kw_only=True)
class OpenFields:
    """The fields of the spec other than its designs."""

    study: str
    question: str
    heading: Sequence[str]
    """Comment lines at the top."""
    stated: Mapping[str, Any]
    """Further fields of the spec, such as `trainer` and `scales`, as `stated_fields` returns them."""
    seeds: Sequence[int]
    samples: int | None
    """Number of training samples of each trial, if the study states one."""


def open_sweep_text(fields: OpenFields, chosen: Sequence[OpenChosen], axes: Sequence[str]) -> str:
    """YAML of a sweep over the chosen designs alone.

    Args:
        fields: the other fields of the spec.
        chosen: one or more designs, in the order of the spec.
        axes: dotted paths that the study varied: each design that has them gets a value of each.

    Raises:
        UsageError: a design sets nothing, so that no spec can declare it.
        AblateError: the YAML would run other designs than these, which is a bug of this module.
    """
    shared, columns = _split(chosen, axes)
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, column in enumerate(columns):
        groups.setdefault(tuple(column), []).append(number)
    lines = [f"# {line}" for line in fields.heading]
    lines += [f"study: {fields.study}", f"question: {flow(fields.question)}"]
    lines += _entries({name: value for name, value in fields.stated.items() if name in ("trainer", "data")})
    if shared:
        lines += ["set:", *(f"  {flow(name)}: {flow(value)}" for name, value in shared.items())]
    lines += ["grids:"] if len(groups) > 1 else []
    for tied, numbers in groups.items():
        lines += _tied(tied, [(chosen[n], columns[n]) for n in numbers], "  - " if len(groups) > 1 else "")
    lines += _entries({name: value for name, value in fields.stated.items() if name not in ("trainer", "data")})
    lines.append(f"seeds: {flow(list(fields.seeds))}")
    if fields.samples is not None:
        lines.append(f"samples: {fields.samples}")
    text = "\n".join(lines) + "\n"
    _check(text, chosen)
    return text


def _entries(values: Mapping[str, Any]) -> list[str]:
    """Lines of top-level fields; mappings have a line for each entry."""
    lines = list[str]()
    for name, value in values.items():
        if isinstance(value, Mapping) and value and name != "metric":
            lines += [f"{name}:", *(f"  {flow(key)}: {flow(one)}" for key, one in value.items())]
        else:
            lines.append(f"{name}: {flow(value)}")
    return lines


def _tied(paths: Sequence[str], rows: Sequence[tuple[OpenChosen, Mapping[str, Any]]], start: str) -> list[str]:
    """Lines of tied axes: a value of each path for each design, with the reason for the design beside the first."""
    indent = " " * len(start)
    lines = [f"{start}zip:"]
    for number, path in enumerate(paths):
        lines.append(f"{indent}  {'  ' if number else '- '}{flow(path)}:")
        for design, values in rows:
            reason = "" if number else f"  # {design.name}: {design.reason}"
            lines.append(f"{indent}      - {flow(_named(design.axes.get(path), path, values[path]))}{reason}")
    return lines


def _named(name: Value | None, path: str, value: Any) -> Any:
    """A value with its name in tables; numbers and strings need none."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(name, str) and name:
        return {"name": name, "value": value}
    # In a spec, the entry `name` of a mapping is the value's name, so a mapping that has one is wrapped.
    is_ambiguous = isinstance(value, Mapping) and "name" in value
    return {"name": axis_slug(path, value), "value": value} if is_ambiguous else value


# --- shared values and columns ----------------------------------------------------------------------


def _split(chosen: Sequence[OpenChosen], axes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all designs share, by top-level name; and of each design the values at the paths in which they differ."""
    designs = [one.design for one in chosen]
    shared: dict[str, Any] = _common(designs)  # paths lead to all top-level names, so this is a mapping
    for axis in axes:  # a value that each design sets is not shared, whatever it contains
        if all(_lookup(design, axis) is not _ABSENT for design in designs):
            shared = _without(shared, axis)
    columns = []
    for design in designs:
        present = [axis for axis in axes if _lookup(design, axis) is not _ABSENT]
        columns.append({path: _lookup(design, path) for path in present})
    while paths := _missing_paths(shared, columns, designs):
        for design, column in zip(designs, columns, strict=True):
            column |= {path: value for path in paths if (value := _lookup(design, path)) is not _ABSENT}
    for one, column in zip(chosen, columns, strict=True):
        if not column:  # a sweep needs an axis, even for a design that differs from none
            if not one.design:
                raise UsageError(f"design {one.name!r} sets nothing, so that no spec can declare it beside others")
            name = next(iter(one.design))
            column[name] = one.design[name]
    alone = {name for column in columns for name in column if all(name in other for other in columns)}
    return {name: value for name, value in shared.items() if name not in alone}, columns


def _missing_paths(
    shared: dict[str, Any], columns: Sequence[Mapping[str, Any]], designs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Paths that must be set, too, so that what is shared and the columns make these designs."""
    pairs = zip(designs, columns, strict=True)
    return list(
        dict.fromkeys(path for design, column in pairs for path in _differing(_applied(shared, column), design))
    )


def _common(values: Sequence[Any]) -> Any:
    """What plain values share: entries that all have, without those that differ; `_ABSENT` if they share nothing.

    An entry of a list cannot be left out: where numbers or texts differ there, it is that of the first.
    """
    first = values[0]
    if all(_has_paths(value) for value in values):
        names = [name for name in first if all(name in value for value in values)]
        parts = {name: _common([value[name] for value in values]) for name in names}
        return {name: part for name, part in parts.items() if part is not _ABSENT}
    if all(_is_equal(first, value) for value in values):
        return copy.deepcopy(first)
    if all(isinstance(value, list) and len(value) == len(first) for value in values):
        items = [list(item) for item in zip(*values, strict=True)]
        parts_of_list = [_common(item) if any(map(_is_container, item)) else item[0] for item in items]
        return _ABSENT if any(part is _ABSENT for part in parts_of_list) else parts_of_list
    return _ABSENT


def _is_container(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _has_paths(value: Any) -> bool:
    """Whether dotted paths lead to all entries of a mapping."""
    return isinstance(value, Mapping) and all(name and name == name.strip() and "." not in name for name in value)


def _differing(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Shortest paths at which one value must be set to those of the other, to become equal to it."""
    if _has_paths(one) and _has_paths(other) and one.keys() <= other.keys():
        return [path for name in other for path in _differing(one.get(name, _ABSENT), other[name], f"{prefix}{name}.")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            path for n, pair in enumerate(zip(one, other, strict=True)) for path in _differing(*pair, f"{prefix}{n}.")
        ]
    return [] if _is_equal(one, other) else [prefix.removesuffix(".")]


def _is_equal(one: Any, other: Any) -> bool:
    """Equality of plain values in which True is not 1, also inside of mappings and lists."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _applied(shared: dict[str, Any], column: Mapping[str, Any]) -> Any:
    """A design as a spec makes it: whole mappings before their entries."""
    design = shared
    for path in sorted(column, key=lambda path: path.count(".")):
        design = put(design, path, column[path])
    return design


def _lookup(design: Any, path: str) -> Any:
    """The value at a dotted path; `_ABSENT` if there is none."""
    node = design
    for piece in path.split("."):
        if isinstance(node, list) and piece.isdecimal() and int(piece) < len(node):
            node = node[int(piece)]
        elif isinstance(node, Mapping) and piece in node:
            node = node[piece]
        else:
            return _ABSENT
    return node


def _without(shared: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy without the entry at a path, and without mappings that are then empty; entries of lists stay."""
    first, _, rest = path.partition(".")
    value = shared.get(first, _ABSENT)
    if not rest or value is _ABSENT:
        return {name: one for name, one in shared.items() if name != first}
    if not isinstance(value, dict) or _lookup(value, rest) is _ABSENT:
        return shared
    inner = _without(value, rest)
    return {name: inner if name == first else one for name, one in shared.items() if name != first or inner}


def _check(text: str, chosen: Sequence[OpenChosen]) -> None:
    """Read the YAML back as `ablate sweep` does.

    Raises:
        AblateError: it declares other designs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.yaml"
        path.write_text(text, encoding="utf-8")
        keys = {trial.design_key for trial in expand(load_spec(path)).trials}
    if keys != {one.key for one in chosen}:
        raise AblateError(f"the designs cannot be written as a sweep spec; please report this:\n{text}")


# --- fields that a spec states beside its designs ----------------------------------------------------


def stated_fields(spec: SweepSpec, label: str) -> dict[str, Any]:
    """The fields of a spec with the user's own trainer that a spec of other designs at one scale repeats.

    Args:
        spec: declares the scale.
        label: the scale.

    Returns:
        Field -> plain data. Paths are absolute, since the other spec may be in another folder.
    """
    own = spec.user_trainer
    assert own is not None
    trainer = own.trainer.model_dump(mode="json", exclude_defaults=True) | {"workdir": str(own.workdir)}
    entry = spec.scale(label).model_dump(mode="json", exclude_defaults=True)
    stated: dict[str, Any] = {"trainer": trainer, "scales": [entry if len(entry) > 1 else label]}
    if own.data is not None:
        stated["data"] = own.data
    metric = own.metric.model_dump(mode="json", exclude_defaults=True)
    stated["metric"] = metric if len(metric) > 1 else own.metric.name
    costs = own.cost.model_dump(mode="json", exclude_none=True) if own.cost is not None else {}
    if at_scale := {unit: {label: by_label[label]} for unit, by_label in costs.items() if label in by_label}:
        stated["cost"] = at_scale
    # As the file writes them: a duration is a text such as 6h, which is seconds once it is read.
    return stated | {name: spec.source.data[name] for name in _AS_WRITTEN if spec.source.data.get(name)}
