"""A spec read from its file, with its base applied."""

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
    """Read and check a spec; `seeds` and `scales` (labels, the file's own among them) replace the file's.

    Raises:
        SpecError: with file, line, key and the mend.
        UsageError: there are no such seeds or scales.
    """
    return _load(path, {"seeds": seeds, "scales": scales}, ())


def _load(path: Path, replaced: dict[str, Any], parents: tuple[Path, ...]) -> SweepSpec:
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        raise source.error((), f"a sweep spec is a mapping with {', '.join(_required())}")
    if path.resolve() in parents:
        raise source.error(("base",), "specs name each other as base in a circle")
    data = source.data | {key: value for key, value in replaced.items() if value is not None}
    if replaced.get("scales") is not None:
        data["scales"] = selected(replaced["scales"], source.data.get("scales"))
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        given = [name for name, value in replaced.items() if value is not None]
        problem = error.errors(include_url=False)[0]
        if problem["loc"] and problem["loc"][0] in given:
            raise UsageError(f"--{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}") from None
        raise explain(error, SweepSpec, source) from None
    spec._source = source
    spec._base, spec._trial_samples = _base_of(spec, (*parents, path.resolve()))
    _check_paths(spec)
    return spec


def _required() -> list[str]:
    return [name for name, field in SweepSpec.model_fields.items() if field.is_required()]


def _base_of(spec: SweepSpec, parents: tuple[Path, ...]) -> tuple[dict[str, Any], int]:
    """Plain data of the base design with `set` applied, and the samples of each trial."""
    source = spec.source
    if spec.base in PRESETS:
        base, samples = PRESETS[spec.base].design.model_dump(mode="json"), PRESETS[spec.base].samples
    else:
        path = source.path.parent / spec.base
        if not path.is_file():
            raise source.error(
                ("base",),
                f"{spec.base!r} is neither a preset ({', '.join(PRESETS)}) nor a file beside this spec",
            )
        parent = _load(path, {}, parents)
        base, samples = parent.base_design, parent.trial_samples
    for name, value in spec.set.items():
        if why := unknown_path(name):
            raise source.error(("set", name), why)
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
    """Every axis names a place of the design space; every exclusion names an axis's place."""
    for number, grid in enumerate(spec.all_grids()):
        top: Location = ("grids", number) if spec.grids else ()
        places: list[Location] = [(*top, "axes", path) for path in grid.axes]
        places += [(*top, "zip", i, path) for i, group in enumerate(grid.zip) for path in group]
        places += [(*top, "exclude", i, path) for i, cell in enumerate(grid.exclude) for path in cell]
        axes = [place for place in places if "exclude" not in place]
        for place in axes:
            twice = [other for other in axes if other[-1] == place[-1]]
            if len(twice) > 1:
                raise spec.source.error(twice[1], "the same axis twice in one grid; keep one of them")
        for place in places:
            path = str(place[-1])
            if "exclude" in place and path in ("scale", "seed"):
                continue
            if why := unknown_path(path):
                raise spec.source.error(place, why)


def known_metric(spec: SweepSpec, data: Data) -> str:
    """The metric to rank by: the spec's, or the benchmark overall of the trials' data.

    Raises:
        SpecError: no trial will have such a score.
    """
    benchmark = data.benchmark
    if spec.metric is None:
        return f"{benchmark}/overall"
    name, _, category = spec.metric.partition("/")
    known = ("overall", *data.categories) if isinstance(data, TinyData) else (category,)
    if name not in (benchmark, f"{benchmark}_prob") or category not in known or not category:
        allowed = ", ".join(f"{benchmark}/{c}" for c in known if c) or f"{benchmark}/overall"
        raise spec.source.error(("metric",), f"no score {spec.metric!r}; allowed: {allowed}, and {benchmark}_prob/...")
    return spec.metric
