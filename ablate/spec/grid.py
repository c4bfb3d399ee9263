"""SweepSpec -> unique trials: grid, one at a time, tied axes, exclusions. Identical trials run once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from ablate.spec.axes import get, put
from ablate.spec.content import llm_digest, plain_design, with_digests
from ablate.spec.explain import explain
from ablate.spec.keys import design_key, trial_key
from ablate.spec.names import axis_slug, on_one_line
from ablate.spec.open_config import OpenConfig
from ablate.spec.open_design import ABSENT, normalised
from ablate.spec.source import Location
from ablate.spec.sweep_spec import Grid, SweepSpec
from models.design import Design, TrialConfig

BASE_LABEL = "base"
_MISSING = object()


@dataclass(frozen=True)
class Trial:
    """A trial as a sweep declares it: its config, its keys and its labels."""

    config: TrialConfig | OpenConfig
    key: str
    design_key: str
    design_label: str
    axes: dict[str, str | int | float | bool] = field(hash=False)
    """Dotted path of each axis of the sweep -> this trial's value: a number, or a short name for figures."""

    @property
    def label(self) -> str:
        """Readable label, unique within the sweep: `fps2-tpf4@0.15M/s0`."""
        return f"{self.design_label}@{self.config.scale}/s{self.config.seed}"

    @property
    def own_config(self) -> TrialConfig:
        """The config of a trial of ablate's own trainer, where no other can come."""
        assert isinstance(self.config, TrialConfig)
        return self.config


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

    design: Design | dict[str, Any]
    """Plain data with a trainer of the user's own."""
    label: str
    axes: dict[str, str | int | float | bool]
    names: dict[str, str]
    """Axis -> the name of the value chosen for it."""
    plain: dict[str, Any]
    """The design as plain data, without digests."""
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
            trial = _trial(spec, cell, scale, seed)
            trials.setdefault(trial.key, trial)
    if not trials:
        location: Location = ("grids", 0, "exclude") if spec.grids else ("exclude",)
        raise spec.source.error(location, f"an empty grid: all {declared} cells are excluded")
    warnings = [
        f"exclude entry {i + 1} matches no cell: {rule}"
        for hits, grid in zip(used, spec.all_grids(), strict=True)
        for i, rule in enumerate(grid.exclude)
        if i not in hits and not impossible
    ]
    warnings += [*(spec.user_trainer.notes if spec.user_trainer else ()), *_names_not_passed_on(spec)]
    return Expansion(list(trials.values()), declared, excluded, declared - excluded - len(trials), warnings)


def _trial(spec: SweepSpec, cell: _Cell, scale: str, seed: int) -> Trial:
    if isinstance(cell.design, Design):
        config: TrialConfig | OpenConfig = _own_config(spec, cell.design, scale, seed)
    else:
        config = _open_config(spec, cell.design, scale, seed)
    return Trial(config, trial_key(config), design_key(cell.design), cell.label, cell.axes)


def _own_config(spec: SweepSpec, design: Design, scale: str, seed: int) -> TrialConfig:
    llm, samples = spec.llms.get(scale), spec.trial_samples
    assert samples is not None  # a preset states it
    return TrialConfig(
        design=design,
        scale=scale,
        llm=llm,
        llm_digest=llm_digest(llm, spec.source),
        llm_lr_factor=spec.llm_lr_factors.get(scale),
        seed=seed,
        samples=samples,
    )


def _open_config(spec: SweepSpec, design: dict[str, Any], scale: str, seed: int) -> OpenConfig:
    """The config of a trial of the user's own trainer.

    Raises:
        SpecError: the design has no place for what the scale sets.
    """
    trainer = spec.user_trainer
    assert trainer is not None
    config = OpenConfig(
        design=design,
        scale=scale,
        scale_set=spec.scale_set(scale),
        seed=seed,
        samples=spec.trial_samples,
        data=trainer.data,
        data_digest=trainer.data_digest,
        trainer=dict(trainer.identity),
    )
    try:
        config.program_config()
    except KeyError as error:
        raise spec.source.error((*spec.scale_location(scale), "set"), str(error.args[0])) from None
    return config


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
        if not isinstance(value["name"], str) or not on_one_line(value["name"]):
            raise spec.source.error(location, "`name` must be a non-empty string")
        rest = {k: v for k, v in value.items() if k != "name"}
        plain = rest["value"] if set(rest) == {"value"} else rest
        return _Choice(path, _normalised(spec, plain, location), on_one_line(value["name"]), location)
    value = _normalised(spec, value, location)
    return _Choice(path, value, axis_slug(path, value), location)


def _normalised(spec: SweepSpec, value: Any, location: Location) -> Any:
    """A value of an open design in its normal spelling; those of other designs get theirs when they are validated.

    Raises:
        SpecError: it cannot be written as JSON.
    """
    try:
        return normalised(value) if spec.is_open else value
    except ValueError as error:
        raise spec.source.error(location, str(error)) from None


def _names_not_passed_on(spec: SweepSpec) -> Iterator[str]:
    """A sentence for each value of an open design whose `name` may have been meant for the program."""
    values = ((path, value) for grid in spec.all_grids() for group in (grid.axes, *grid.zip)
              for path, column in group.items() for value in column)  # fmt: skip
    for path, value in values if spec.is_open else ():
        if isinstance(value, Mapping) and "name" in value and value.keys() != {"name", "value"}:
            yield (
                f"{path}: the name {value['name']!r} is a label, which the program does not get; to pass it on, write "
                f"{{name: {value['name']}, value: {{name: {value['name']}, ...}}}}"
            )


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
    label = "-".join(names.values()) or BASE_LABEL
    # Every trial has a value of each axis of all grids, so that figures have no gaps.
    if spec.is_open:
        axes = {path: _open_axis_value(path, names.get(path), plain) for path in spec.axis_paths()}
        return _Cell(plain, label, axes, names, plain, number)
    try:
        design = Design.model_validate(plain)
    except ValidationError as error:
        if _is_excluded_everywhere(spec, spec.all_grids()[number], plain, names):
            return None
        raise explain(error, Design, spec.source, axes={c.path: c.location for c in choices}) from None
    design = with_digests(design, spec.source)
    plain = plain_design(design)
    axes = {path: _axis_value(path, names.get(path), plain) for path in spec.axis_paths()}
    return _Cell(design, label, axes, names, plain, number)


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


def _open_axis_value(path: str, name: str | None, plain: dict[str, Any]) -> str | int | float | bool:
    """The value of an axis in an open design, which may lack it."""
    return ABSENT if get(plain, path, _MISSING) is _MISSING else _axis_value(path, name, plain)


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
