"""SweepSpec -> unique trials: grid, one at a time, tied axes, exclusions. Identical trials run once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate.paths import cache_root
from ablate.spec.axes import get, put
from ablate.spec.explain import explain
from ablate.spec.keys import design_key, digest, trial_key
from ablate.spec.names import axis_slug
from ablate.spec.source import Location
from ablate.spec.sweep_spec import Grid, SweepSpec
from models.data import ManifestError, skipped_digest
from models.design import Design, ManifestData, TrialConfig

BASE_LABEL = "base"


@dataclass(frozen=True)
class Trial:
    """A trial as a sweep declares it: its config, its keys and its labels."""

    config: TrialConfig
    key: str
    design_key: str
    design_label: str
    axes: dict[str, str | int | float | bool] = field(hash=False)
    """Dotted path of each axis of the sweep -> this trial's value: a number, or a short name for figures."""

    @property
    def label(self) -> str:
        """Readable label, unique within the sweep: `fps2-tpf4@0.15M/s0`."""
        return f"{self.design_label}@{self.config.scale}/s{self.config.seed}"


@dataclass(frozen=True)
class Expansion:
    """The unique trials that a spec declares, and how many cells were excluded or duplicates."""

    trials: list[Trial]
    declared: int
    excluded: int
    duplicate: int
    warnings: list[str]


@dataclass(frozen=True)
class _Choice:
    """One value of one axis: what is set in the design, and its name in labels."""

    path: str
    value: Any
    name: str
    location: Location


@dataclass(frozen=True)
class _Cell:
    """A design of a grid, at no particular scale or seed."""

    design: Design
    label: str
    axes: dict[str, str | int | float | bool]
    names: dict[str, str]
    """Axis -> the name of the value chosen for it."""
    plain: dict[str, Any]
    """The design as plain data."""
    grid: int
    """Index of the grid in the spec."""


def expand(spec: SweepSpec) -> Expansion:
    """All unique trials of a spec, in the order in which it declares them.

    Raises:
        SpecError: a value makes no valid design, or every cell is excluded; the message names file, line and the fix.
    """
    used = [set[int]() for _ in spec.all_grids()]
    trials: dict[str, Trial] = {}
    cells = [cell for n, grid in enumerate(spec.all_grids()) for cell in _cells(spec, grid, n)]
    impossible = sum(cell is None for cell in cells) * len(spec.labels) * len(spec.seeds)
    declared = excluded = impossible
    for cell in _uniquely_labelled([cell for cell in cells if cell is not None]):
        for scale, seed in itertools.product(spec.labels, spec.seeds):
            declared += 1
            rules = spec.all_grids()[cell.grid].exclude
            hits = [i for i, rule in enumerate(rules) if _matches(rule, cell.plain, cell.names, scale, seed)]
            used[cell.grid].update(hits)
            if hits:
                excluded += 1
                continue
            llm = spec.llms.get(scale)
            config = TrialConfig(design=cell.design, scale=scale, llm=llm, seed=seed, samples=spec.trial_samples)
            key = trial_key(config)
            trials.setdefault(key, Trial(config, key, design_key(cell.design), cell.label, cell.axes))
    if not trials:
        location: Location = ("grids", 0, "exclude") if spec.grids else ("exclude",)
        raise spec.source.error(location, f"an empty grid: all {declared} cells are excluded")
    warnings = [
        f"exclude entry {i + 1} matches no cell: {rule}"
        for hits, grid in zip(used, spec.all_grids(), strict=True)
        for i, rule in enumerate(grid.exclude)
        if i not in hits and not impossible
    ]
    return Expansion(list(trials.values()), declared, excluded, declared - excluded - len(trials), warnings)


def _cells(spec: SweepSpec, grid: Grid, number: int) -> Iterator[_Cell | None]:
    """The cells of one grid; None for each that makes no valid design but is excluded."""
    top: Location = ("grids", number) if spec.grids else ()
    axes = [[_choice(spec, path, value, (*top, "axes", path, i)) for i, value in enumerate(values)]
            for path, values in grid.axes.items()]  # fmt: skip
    # A tied group is one axis whose "value" is a choice for each of its paths.
    groups: list[list[tuple[_Choice, ...]]] = [[(choice,) for choice in axis] for axis in axes]
    for index, tied in enumerate(grid.zip):
        columns = [[_choice(spec, path, value, (*top, "zip", index, path, i)) for i, value in enumerate(values)]
                   for path, values in tied.items()]  # fmt: skip
        groups.append(list(zip(*columns, strict=True)))
    if grid.vary == "one_at_a_time":
        combinations: Iterator[tuple[_Choice, ...]] = itertools.chain([()], *groups)
    else:
        combinations = (tuple(itertools.chain(*cell)) for cell in itertools.product(*groups))
    for choices in combinations:
        yield _cell(spec, choices, number)


def _choice(spec: SweepSpec, path: str, value: Any, location: Location) -> _Choice:
    if isinstance(value, Mapping) and "name" in value:
        if not isinstance(value["name"], str) or not value["name"]:
            raise spec.source.error(location, "`name` must be a non-empty string")
        rest = {k: v for k, v in value.items() if k != "name"}
        return _Choice(path, rest["value"] if set(rest) == {"value"} else rest, str(value["name"]), location)
    return _Choice(path, value, axis_slug(path, value), location)


def _all_paths(spec: SweepSpec) -> list[str]:
    """The axes of all grids. Every trial has a value of each, so that figures have no gaps."""
    paths = [p for grid in spec.all_grids() for p in (*grid.axes, *(p for tied in grid.zip for p in tied))]
    return list(dict.fromkeys(paths))


def _cell(spec: SweepSpec, choices: tuple[_Choice, ...], number: int) -> _Cell | None:
    """The design of one value per axis; None if they make no valid design but are excluded.

    Raises:
        SpecError: they make no valid design.
    """
    plain = spec.base_design
    for choice in sorted(choices, key=lambda c: c.path.count(".")):  # whole variants before their fields
        try:
            plain = put(plain, choice.path, choice.value)
        except KeyError as error:
            raise spec.source.error(choice.location, str(error.args[0])) from None
    names = {c.path: c.name for c in choices}
    try:
        design = Design.model_validate(plain)
    except ValidationError as error:
        if _is_excluded_everywhere(spec, spec.all_grids()[number], plain, names):
            return None
        raise explain(error, Design, spec.source, axes={c.path: c.location for c in choices}) from None
    design = _with_digest(design, spec)
    plain = design.model_dump(mode="json")
    axes = {path: _axis_value(path, names.get(path), plain) for path in _all_paths(spec)}
    return _Cell(design, "-".join(names.values()) or BASE_LABEL, axes, names, plain, number)


def _is_excluded_everywhere(spec: SweepSpec, grid: Grid, plain: dict[str, Any], names: dict[str, str]) -> bool:
    """Whether a combination that makes no valid design is excluded at every scale and seed."""
    runs = itertools.product(spec.labels, spec.seeds)
    return all(any(_matches(rule, plain, names, scale, seed) for rule in grid.exclude) for scale, seed in runs)


def _axis_value(path: str, name: str | None, plain: dict[str, Any]) -> str | int | float | bool:
    """The value of an axis in the validated design, so that one value has one spelling.

    Numbers stay numbers, so that figures have a scale; anything else becomes its name.
    """
    value = get(plain, path)
    if isinstance(value, int | float | str):
        return value
    return name or axis_slug(path, value)


def _with_digest(design: Design, spec: SweepSpec) -> Design:
    """Set the data's absolute folder (the spec gives it relative to its own) and the digest of its content.

    Raises:
        SpecError: a file is missing.
    """
    if not isinstance(design.data, ManifestData):
        return design
    folder = (spec.source.path.parent / design.data.folder).resolve()
    resolved = {
        "folder": str(folder),
        "digest": _data_digest(folder, spec),
        "skipped": _skipped(design.data, folder, spec),
    }
    return design.model_copy(update={"data": design.data.model_copy(update=resolved)})


def _data_digest(folder: Path, spec: SweepSpec) -> str:
    digests = []
    for name in ("train.json", "test.json"):
        path = folder / name
        if not path.is_file():
            raise spec.source.error((), f"data folder {folder} has no {name}; docs/data.md describes the files")
        digests.append(_file_digest(path, path.stat().st_mtime_ns))
    return digest(digests)


def _skipped(data: ManifestData, folder: Path, spec: SweepSpec) -> str:
    """Digest of the list of records that trials skip.

    Raises:
        SpecError: more records than allowed use unreadable media, or the media have not been read yet.
    """
    if not data.max_bad:
        return ""
    try:
        return skipped_digest(folder, cache_root(), data.max_bad)
    except ManifestError as error:
        raise spec.source.error(("set", "data", "max_bad"), str(error)) from None


@cache
def _file_digest(path: Path, _changed_ns: int) -> str:
    """SHA-256 of a file, computed once for each modification time: the cells of a sweep share their data."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _uniquely_labelled(cells: list[_Cell]) -> list[_Cell]:
    """The cells; different designs with one label get the first digits of their keys appended."""
    keys: dict[str, set[str]] = {}
    for cell in cells:
        keys.setdefault(cell.label, set()).add(design_key(cell.design))
    return [
        cell if len(keys[cell.label]) == 1 else replace(cell, label=f"{cell.label}~{design_key(cell.design)[:4]}")
        for cell in cells
    ]


def _matches(rule: Mapping[str, Any], plain: dict[str, Any], names: dict[str, str], scale: str, seed: int) -> bool:
    """Whether every entry of an exclusion matches: by value, by name, or by any item of a list."""
    run = {"scale": scale, "seed": seed}

    def matches(path: str, condition: Any) -> bool:
        value = run.get(path, get(plain, path))
        options = condition if isinstance(condition, list) else [condition]
        return any(
            (option == value and isinstance(option, bool) == isinstance(value, bool))
            or option == names.get(path)
            or _is_within(option, value)
            for option in options
        )

    return all(matches(path, condition) for path, condition in rule.items())


def _is_within(part: Any, whole: Any) -> bool:
    """Whether all entries of one mapping are in another."""
    are_mappings = isinstance(part, Mapping) and isinstance(whole, Mapping)
    return are_mappings and bool(part) and all(whole.get(k) == v for k, v in part.items())
