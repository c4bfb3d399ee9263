"""Reads a spec from its file and applies its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
)

from ablate.errors import UsageError
from ablate.spec.axes import put, unknown_path
from ablate.spec.explain import explain
from ablate.spec.scales import selected
from ablate.spec.source import Location, read_yaml
from ablate.spec.sweep_spec import SweepSpec
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
    return _load(path, {"seeds": seeds, "scales": scales}, ())


def _load(path: Path, overrides: dict[str, Any], parents: tuple[Path, ...]) -> SweepSpec:
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        raise source.error((), f"a sweep spec is a mapping with {', '.join(_required())}")
    if path.resolve() in parents:
        raise source.error(("base",), "specs name each other as base, in a circle")
    data = source.data | {key: value for key, value in overrides.items() if value is not None}
    if overrides.get("scales") is not None:
        data["scales"] = selected(overrides["scales"], source.data.get("scales"))
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        options = [name for name, value in overrides.items() if value is not None]
        problem = error.errors(include_url=False)[0]
        if problem["loc"] and problem["loc"][0] in options:
            raise UsageError(f"--{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}") from None
        raise explain(error, SweepSpec, source) from None
    spec._source = source
    spec._base, spec._trial_samples = _base_of(spec, (*parents, path.resolve()))
    _check_paths(spec)
    return spec


def _required() -> list[str]:
    return [name for name, field in SweepSpec.model_fields.items() if field.is_required()]


def _base_of(spec: SweepSpec, parents: tuple[Path, ...]) -> tuple[dict[str, Any], int]:
    """Plain data of the base design with `set` applied, and the number of training samples of each trial."""
    source = spec.source
    if spec.base in PRESETS:
        base, samples = PRESETS[spec.base].design.model_dump(mode="json"), PRESETS[spec.base].samples
    else:
        path = source.path.parent / spec.base
        if not path.is_file():
            raise source.error(
                ("base",),
                f"{spec.base!r} is neither a preset ({', '.join(PRESETS)}) nor a file relative to this spec",
            )
        parent = _load(path, {}, parents)
        base, samples = parent.base_design, parent.trial_samples
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
    """Every axis and every condition of an exclusion is a path of the design space; a grid has each axis once."""
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
            if problem := unknown_path(path):
                raise spec.source.error(location, problem)


def ranking_metric(spec: SweepSpec, data: Data) -> str:
    """The metric to rank by: the spec's, or the overall score of the trials' benchmark.

    Raises:
        SpecError: no trial will have such a score; the message lists the allowed metrics.
    """
    benchmark = data.benchmark
    if spec.metric is None:
        return f"{benchmark}/overall"
    name, _, category = spec.metric.partition("/")
    categories = ("overall", *data.categories) if isinstance(data, TinyData) else (category,)
    if name not in (benchmark, f"{benchmark}_prob") or category not in categories or not category:
        allowed = ", ".join(f"{benchmark}/{c}" for c in categories if c) or f"{benchmark}/overall"
        raise spec.source.error(("metric",), f"no score {spec.metric!r}; allowed: {allowed}, and {benchmark}_prob/...")
    return spec.metric
