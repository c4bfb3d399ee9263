"""Reads a spec from its file and applies its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate.errors import UsageError
from ablate.spec.axes import put, unknown_path
from ablate.spec.explain import explain
from ablate.spec.load_open import check_cost, inherit
from ablate.spec.open_design import unknown_condition, wrong_path
from ablate.spec.scales import selected
from ablate.spec.source import Location, Source, read_yaml
from ablate.spec.sweep_spec import SweepSpec
from ablate.spec.user_trainer import resolved_trainer
from models.design import Data, Design, TinyData
from models.presets import PRESETS


def load_spec(path: Path, *, seeds: list[int] | None = None, scales: list[str] | None = None) -> SweepSpec:
    """Read and check a spec.

    Args:
        path: the YAML file.
        seeds: replace those of the file.
        scales: labels that replace those of the file; labels that the file declares are allowed.

    Raises:
        SpecError: the spec is wrong; the message names file, line, key and the fix.
        UsageError: `seeds` or `scales` are wrong.
    """
    spec = _load(path, {"seeds": seeds, "scales": scales}, ())
    if spec.is_open:
        spec._user_trainer = resolved_trainer(spec.stated)
        check_cost(spec)
    return spec


def _load(path: Path, overrides: dict[str, Any], parents: tuple[Path, ...]) -> SweepSpec:
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        raise source.error((), f"a sweep spec is a mapping with {', '.join(_required())}")
    if path.resolve() in parents:
        raise source.error(("base",), "specs name each other as base, in a circle")
    data = source.data | {key: value for key, value in overrides.items() if value is not None}
    is_open = _is_open(source, ())
    if overrides.get("scales") is not None:
        data["scales"] = selected(overrides["scales"], source.data.get("scales"), is_open=is_open)
    try:
        spec = SweepSpec.model_validate(data, context={"is_open": is_open})
    except ValidationError as error:
        options = [name for name, value in overrides.items() if value is not None]
        problem = error.errors(include_url=False)[0]
        if problem["loc"] and problem["loc"][0] in options:
            raise UsageError(f"--{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}") from None
        raise explain(error, SweepSpec, source) from None
    spec._source = source
    parent = _parent(spec, is_open, (*parents, path.resolve()))
    if is_open:
        inherit(spec, parent)
    else:
        spec._base, spec._trial_samples = _base_of(spec, parent)
    _check_paths(spec)
    for label in spec.labels:
        spec.resources_at(label)
    return spec


def _required() -> list[str]:
    return [name for name, field in SweepSpec.model_fields.items() if field.is_required() or name == "base"]


def _is_open(source: Source, parents: tuple[Path, ...]) -> bool:
    """Whether a spec, or the spec that it starts from, has a trainer of the user's own."""
    if not isinstance(source.data, dict) or source.path.resolve() in parents:
        return False
    if source.data.get("trainer") is not None:
        return True
    base = source.data.get("base")
    path = source.path.parent / base if isinstance(base, str) and base not in PRESETS else None
    return path is not None and _is_file(path) and _is_open(read_yaml(path), (*parents, source.path.resolve()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a path
        return False


def _parent(spec: SweepSpec, is_open: bool, parents: tuple[Path, ...]) -> SweepSpec | None:
    """The spec that a spec starts from; None if it starts from a preset, or from nothing.

    Raises:
        SpecError: it is neither a preset nor a file, or has the other kind of trainer.
    """
    if spec.base is None or (spec.base in PRESETS and not is_open):
        return None
    source, path = spec.source, spec.source.path.parent / spec.base
    parent = _load(path, {}, parents) if _is_file(path) else None
    if is_open and (spec.base in PRESETS or (parent is not None and not parent.is_open)):
        raise source.error(
            ("base",),
            f"{spec.base!r} is a design of ablate's own trainer; with a `trainer` of your own, start from a spec that "
            "has one, or leave `base` out",
        )
    if parent is None:
        raise source.error(
            ("base",),
            f"{spec.base!r} is neither a preset ({', '.join(PRESETS)}) nor a file relative to this spec",
        )
    return parent


def _base_of(spec: SweepSpec, parent: SweepSpec | None) -> tuple[dict[str, Any], int | None]:
    """Plain data of the base design with `set` applied, and the number of training samples of each trial."""
    source = spec.source
    if parent is not None:
        base, samples = parent.base_design, parent.trial_samples
    else:
        assert spec.base is not None
        base, samples = PRESETS[spec.base].design.model_dump(mode="json"), PRESETS[spec.base].samples
    for name, value in spec.set.items():
        if problem := unknown_path(name):
            raise source.error(("set", name), problem)
        try:
            base = put(base, name, value)
        except KeyError as error:
            raise source.error(("set", name), str(error.args[0])) from None
    try:
        Design.model_validate(base)
    except ValidationError as error:
        raise explain(error, Design, source, axes={name: ("set", name) for name in spec.set}) from None
    return base, spec.samples or samples


def _check_paths(spec: SweepSpec) -> None:
    """Every axis and every condition of an exclusion is a path that a design may have; a grid has each axis once."""
    for number, grid in enumerate(spec.all_grids()):
        top: Location = ("grids", number) if spec.grids else ()
        locations: list[Location] = [(*top, "axes", path) for path in grid.axes]
        locations += [(*top, "zip", i, path) for i, group in enumerate(grid.zip) for path in group]
        locations += [(*top, "exclude", i, path) for i, cell in enumerate(grid.exclude) for path in cell]
        axes = [location for location in locations if "exclude" not in location]
        for location in axes:
            same = [other for other in axes if other[-1] == location[-1]]
            if len(same) > 1:
                raise spec.source.error(same[1], "the same axis twice in one grid; keep one of them")
        for location in locations:
            path = str(location[-1])
            if "exclude" in location and path in ("scale", "seed"):
                continue
            if problem := _wrong_path(spec, path, is_condition="exclude" in location):
                raise spec.source.error(location, problem)


def _wrong_path(spec: SweepSpec, path: str, *, is_condition: bool) -> str | None:
    """Why no design of a spec can have a value at a path; None if one can."""
    if not spec.is_open:
        return unknown_path(path)
    if is_condition:
        return unknown_condition(path, spec.base_design, spec.axis_paths())
    return wrong_path(path, has_data="data" in spec.stated)


def ranking_metric(spec: SweepSpec, data: Data) -> str:
    """The metric to rank by with ablate's own trainer: the spec's, or the overall score of the trials' benchmark.

    Raises:
        SpecError: no trial will have such a score; the message lists the allowed metrics.
    """
    benchmark = data.benchmark
    if spec.metric is None:
        return f"{benchmark}/overall"
    metric = spec.metric.name
    name, _, category = metric.partition("/")
    categories = ("overall", *data.categories) if isinstance(data, TinyData) else (category,)
    if name not in (benchmark, f"{benchmark}_prob") or category not in categories or not category:
        allowed = ", ".join(f"{benchmark}/{c}" for c in categories if c) or f"{benchmark}/overall"
        raise spec.source.error(("metric",), f"no score {metric!r}; allowed: {allowed}, and {benchmark}_prob/...")
    return metric
