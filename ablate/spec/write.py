"""Writes a sweep spec of exactly the chosen designs: a preset, their shared changes under `set`, tied axes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ablate.errors import AblateError
from ablate.spec.axes import get, put, unknown_path
from ablate.spec.content import changed_files, plain_design, with_digests
from ablate.spec.execution import Keep
from ablate.spec.grid import expand
from ablate.spec.keys import design_key
from ablate.spec.load import load_spec
from models.design import Design
from models.presets import PRESETS

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
"""A text that YAML reads as it stands, wherever it stands: it is no number, and its writer quotes true, null, ..."""
Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A design of the spec to be written, and the reason for it."""

    name: str
    design: Design
    reason: str
    axes: Mapping[str, Value] = field(default_factory=dict)
    """Axis -> its value in the study's tables. The spec uses it as the name, so that tables show one value, not two."""


@dataclass(frozen=True, kw_only=True)
class SpecFields:
    """The fields of the spec other than its designs."""

    study: str
    question: str
    heading: Sequence[str]
    """Comment lines at the top."""
    scale: str | Mapping[str, str | float]
    """A label of the ladder, or `{label, llm, llm_lr_factor}` with at least one of the latter two."""
    seeds: Sequence[int]
    samples: int
    metric: str | None
    """`benchmark/category` to rank by; None for the overall score of the data's benchmark."""
    gpus: float | None = None
    """GPUs of one trial; None for the default of its scale."""
    keep: Keep = "weights"
    """Whether the trials keep their final weights: those of a promoted design are what the search was for."""


def sweep_text(fields: SpecFields, chosen: Sequence[Chosen], axes: Sequence[str]) -> str:
    """YAML of a sweep over the chosen designs alone.

    Args:
        fields: the other fields of the spec.
        chosen: one or more designs, in the order of the spec.
        axes: dotted paths that the study varied. The spec varies these if they suffice to tell all designs apart.

    Raises:
        AblateError: the YAML would run other designs than these, which is a bug of this module.
    """
    preset = min(PRESETS, key=lambda name: len(_changed_fields(PRESETS[name].design, chosen)))
    shared, columns = _split(chosen, PRESETS[preset].design, axes)
    lines = [f"# {line}" for line in fields.heading]
    lines += [f"study: {fields.study}", f"question: {flow(fields.question)}", f"base: {preset}"]
    if shared:
        lines.append("set:")
        lines += [f"  {path}: {flow(value)}" for path, value in shared.items()]
    lines += ["zip:"]
    for number, (path, values) in enumerate(columns.items()):
        lines.append(f"  {'- ' if number == 0 else '  '}{path}:")
        for design, value in zip(chosen, values, strict=True):
            reason = f"  # {design.name}: {design.reason}" if number == 0 else ""
            lines.append(f"      - {flow(value)}{reason}")
    lines += [f"scales: [{flow(fields.scale)}]", f"seeds: {flow(list(fields.seeds))}", f"samples: {fields.samples}"]
    if fields.metric is not None:
        lines.append(f"metric: {flow(fields.metric)}")
    if fields.gpus is not None:
        lines.append(f"resources: {{gpus: {fields.gpus:g}}}")
    if fields.keep != "none":
        lines.append(f"keep: {fields.keep}")
    text = "\n".join(lines) + "\n"
    _check(text, chosen)
    return text


def _changed_fields(base: Design, chosen: Sequence[Chosen]) -> list[str]:
    """Names of the design's fields in which any of the chosen differs from a base."""
    return [name for name in Design.model_fields if any(_key(c.design, name) != _key(base, name) for c in chosen)]


def _key(design: Design, name: str) -> Any:
    """A field's value, to compare designs: without digests, which are computed when a spec is read."""
    return plain_design(design)[name]


def _split(chosen: Sequence[Chosen], base: Design, axes: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Changes of the base that all share, by field; and for each path in which they differ a column of values."""
    shared: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    designs, changed = [c.design for c in chosen], _changed_fields(base, chosen)
    valid_axes = [axis for axis in axes if unknown_path(axis) is None]
    for name in Design.model_fields:
        paths = [axis for axis in valid_axes if axis.startswith(f"{name}.")]
        is_shared = all(_key(design, name) == _key(designs[0], name) for design in designs)
        if name not in valid_axes and paths and _is_determined_by(designs, name, paths):
            if name in changed:
                shared[name] = _short(designs[0], name)
            for path in paths:
                values = [get(plain_design(design), path) for design in designs]
                columns[path] = [_named(c.axes.get(path), value) for c, value in zip(chosen, values, strict=True)]
        elif name in valid_axes or not is_shared:
            columns[name] = [_named(c.axes.get(name), _short(c.design, name)) for c in chosen]
        elif name in changed:
            shared[name] = _short(designs[0], name)
    if not columns:  # a sweep needs an axis, even where nothing varies
        columns["sampling"] = [_short(design, "sampling") for design in designs]
        shared.pop("sampling", None)
    order = {axis: index for index, axis in enumerate(axes)}  # labels follow the order of the columns
    return shared, dict(sorted(columns.items(), key=lambda column: order.get(column[0], len(order))))


def _is_determined_by(designs: Sequence[Design], name: str, paths: list[str]) -> bool:
    """Whether the designs' values of a field differ at these paths only."""
    if not paths:
        return False
    plain = [plain_design(design) for design in designs]
    try:
        for other in plain:
            rebuilt = {name: plain[0][name]}
            for path in paths:
                rebuilt = put(rebuilt, path, get(other, path))
            if rebuilt[name] != other[name]:
                return False
    except KeyError:
        return False
    return True


def _short(design: Design, name: str) -> Any:
    """A field's value without its defaults and without digests, which are computed when a spec is read."""
    value = plain_design(design, exclude_defaults=True).get(name)
    return plain_design(design)[name] if value is None else value


def _named(name: Value | None, value: Any) -> Any:
    """A value with its name in tables; numbers and strings need none."""
    if not isinstance(name, str) or isinstance(value, str | int | float):
        return value
    return {"name": name, **value} if isinstance(value, dict) and "kind" in value else {"name": name, "value": value}


def _kind_first(value: Any) -> Any:
    """The value with the name and kind of each variant before its fields, as in a spec written by hand."""
    if isinstance(value, dict):
        front = {key: value[key] for key in ("name", "kind") if key in value}
        return front | {key: _kind_first(part) for key, part in value.items() if key not in front}
    return [_kind_first(part) for part in value] if isinstance(value, list) else value


def flow(value: Any) -> str:
    """YAML of a value in one line, which is read back as the same value."""
    text = StringIO()
    _writer().dump(_kind_first(value), text)
    line = text.getvalue().strip().removesuffix("...").strip()
    if isinstance(value, int | float) or _PLAIN.fullmatch(line) or _is_read_as(line, value):
        return line
    return json.dumps(value, ensure_ascii=False)  # some texts with ?, > or | are written so that they cannot be read


def _writer() -> YAML:
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 100_000
    return yaml


def _is_read_as(line: str, value: Any) -> bool:
    """Whether a line of YAML, beside a comment, is read as a value."""
    try:
        return bool(YAML(typ="safe", pure=True).load(f"- {line}  # reason") == [value])
    except YAMLError:
        return False


def _check(text: str, chosen: Sequence[Chosen]) -> None:
    """Read the YAML back as `ablate sweep` does.

    Raises:
        AblateError: it declares other designs, or data or weights of a design have changed since the study.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.yaml"
        path.write_text(text, encoding="utf-8")
        spec = load_spec(path)
        for one in chosen:
            if changed := changed_files(one.design, spec.source):
                raise AblateError(
                    f"{one.name} cannot be promoted: {'; '.join(changed)} changed since its trials; restore the files"
                )
        keys = {trial.design_key for trial in expand(spec).trials}
        designs = [
            with_digests(one.design, spec.source) for one in chosen
        ]  # records of earlier versions have no digests
    if keys != {design_key(design) for design in designs}:
        raise AblateError(f"the designs cannot be written as a sweep spec; please report this:\n{text}")
