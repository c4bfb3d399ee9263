"""SweepSpec -> unique trials: grid, one at a time, tied axes, exclusions. Identical trials met twice run once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate.axes import get, put
from ablate.errors import UsageError
from ablate.identity import axis_slug, design_key, digest, trial_key
from ablate.spec import Grid, SweepSpec, explain
from ablate.yaml_source import Location
from models.design import Design, ManifestData, TrialConfig

BASE_LABEL = "base"


@dataclass(frozen=True)
class Trial:
    """A trial as a sweep declares it: its config, its key and its names for people."""

    config: TrialConfig
    key: str
    design_key: str
    design_label: str
    axes: dict[str, str | int | float | bool] = field(hash=False)
    """Dotted path of each axis of the sweep -> this trial's value, short enough to plot against."""

    @property
    def label(self) -> str:
        """Readable and unique within the sweep: `fps2-tpf4@0.15M/s0`."""
        return f"{self.design_label}@{self.config.scale}/s{self.config.seed}"


@dataclass(frozen=True)
class Expansion:
    """What a spec declares: unique trials and the counts of the cells that became none."""

    trials: list[Trial]
    declared: int
    excluded: int
    duplicate: int
    warnings: list[str]


@dataclass(frozen=True)
class _Choice:
    """One value of one axis: what goes into the design and what people see."""

    path: str
    value: Any
    name: str
    place: Location


@dataclass(frozen=True)
class _Cell:
    """A design of a grid, before scale and seed."""

    design: Design
    label: str
    axes: dict[str, str | int | float | bool]
    plain: dict[str, Any]
    grid: int


def expand(spec: SweepSpec) -> Expansion:
    """All unique trials of a spec, in the order in which it declares them.

    Raises:
        SpecError: a value is no design; with file, line and the mend.
        UsageError: every cell is excluded.
    """
    used = [set[int]() for _ in spec.all_grids()]
    found: dict[str, Trial] = {}
    declared = excluded = 0
    for cell in _named_apart([cell for n, grid in enumerate(spec.all_grids()) for cell in _cells(spec, grid, n)]):
        for scale, seed in itertools.product(spec.scales, spec.seeds):
            declared += 1
            grid = spec.all_grids()[cell.grid]
            hits = [i for i, rule in enumerate(grid.exclude) if _matches(rule, cell, scale, seed)]
            used[cell.grid].update(hits)
            if hits:
                excluded += 1
                continue
            config = TrialConfig(design=cell.design, scale=scale, seed=seed, samples=spec.samples)
            key = trial_key(config)
            found.setdefault(key, Trial(config, key, design_key(cell.design), cell.label, cell.axes))
    if not found:
        raise UsageError(f"{spec.source.path}: an empty grid: all {declared} cells are excluded")
    warnings = [
        f"exclude entry {i + 1} matches no cell: {rule}"
        for hits, grid in zip(used, spec.all_grids(), strict=True)
        for i, rule in enumerate(grid.exclude)
        if i not in hits
    ]
    return Expansion(list(found.values()), declared, excluded, declared - excluded - len(found), warnings)


def _cells(spec: SweepSpec, grid: Grid, number: int) -> Iterator[_Cell]:
    top: Location = ("grids", number) if spec.grids else ()
    axes = [[_choice(path, value, (*top, "axes", path, i)) for i, value in enumerate(values)]
            for path, values in grid.axes.items()]  # fmt: skip
    # A tied group is one axis whose "value" is a choice for each of its paths.
    groups: list[list[tuple[_Choice, ...]]] = [[(choice,) for choice in axis] for axis in axes]
    for index, tied in enumerate(grid.zip):
        columns = [[_choice(path, value, (*top, "zip", index, path, i)) for i, value in enumerate(values)]
                   for path, values in tied.items()]  # fmt: skip
        groups.append(list(zip(*columns, strict=True)))
    paths = [choice.path for group in groups for choice in group[0]]
    if grid.design == "one_at_a_time":
        combinations: Iterator[tuple[_Choice, ...]] = itertools.chain([()], *groups)
    else:
        combinations = (tuple(itertools.chain(*cell)) for cell in itertools.product(*groups))
    for choices in combinations:
        yield _cell(spec, choices, paths, number)


def _choice(path: str, value: Any, place: Location) -> _Choice:
    if isinstance(value, Mapping) and "name" in value:
        rest = {k: v for k, v in value.items() if k != "name"}
        return _Choice(path, rest["value"] if set(rest) == {"value"} else rest, str(value["name"]), place)
    return _Choice(path, value, axis_slug(path, value), place)


def _cell(spec: SweepSpec, choices: tuple[_Choice, ...], paths: list[str], number: int) -> _Cell:
    plain = spec.base_design
    for choice in sorted(choices, key=lambda c: c.path.count(".")):  # whole variants before their fields
        try:
            plain = put(plain, choice.path, choice.value)
        except KeyError as error:
            raise spec.source.error(choice.place, str(error.args[0])) from None
    try:
        design = Design.model_validate(plain)
    except ValidationError as error:
        raise explain(error, Design, spec.source, axes={c.path: c.place for c in choices}) from None
    design = _with_digest(design)
    plain = design.model_dump(mode="json")
    chosen = {c.path: c for c in choices}
    axes = {path: _axis_value(path, chosen.get(path), plain) for path in paths}
    label = "-".join(c.name for c in choices) or BASE_LABEL
    return _Cell(design, label, axes, plain, number)


def _axis_value(path: str, choice: _Choice | None, plain: dict[str, Any]) -> str | int | float | bool:
    """Numbers stay numbers, so that plots have an axis; anything else is its name."""
    value = choice.value if choice else get(plain, path)
    if isinstance(value, int | float | str):
        return value
    return choice.name if choice else axis_slug(path, value)


def _with_digest(design: Design) -> Design:
    """Fill in what the data files hold, so that the key follows content.

    Raises:
        UsageError: a file is missing.
    """
    if not isinstance(design.data, ManifestData):
        return design
    digests = []
    for name in ("train.json", "test.json"):
        path = Path(design.data.folder) / name
        if not path.is_file():
            raise UsageError(f"data folder {design.data.folder!r} holds no {name}; docs/data.md says what it needs")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return design.model_copy(update={"data": design.data.model_copy(update={"digest": digest(digests)})})


def _named_apart(cells: list[_Cell]) -> list[_Cell]:
    """Different designs under one label get the start of their key behind it."""
    keys: dict[str, set[str]] = {}
    for cell in cells:
        keys.setdefault(cell.label, set()).add(design_key(cell.design))
    return [
        cell
        if len(keys[cell.label]) == 1
        else _Cell(cell.design, f"{cell.label}~{design_key(cell.design)[:4]}", cell.axes, cell.plain, cell.grid)
        for cell in cells
    ]


def _matches(rule: Mapping[str, Any], cell: _Cell, scale: str, seed: int) -> bool:
    """Whether every entry of an exclusion holds: by value, by name, or by any of a list."""
    own = {"scale": scale, "seed": seed}

    def holds(path: str, wanted: Any) -> bool:
        value = own.get(path, get(cell.plain, path))
        options = wanted if isinstance(wanted, list) else [wanted]
        return any(option == value or option == cell.axes.get(path) or _is_within(option, value) for option in options)

    return all(holds(path, wanted) for path, wanted in rule.items())


def _is_within(part: Any, whole: Any) -> bool:
    """Whether a mapping's entries all stand in a larger one."""
    return isinstance(part, Mapping) and isinstance(whole, Mapping) and all(whole.get(k) == v for k, v in part.items())
