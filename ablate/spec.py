"""SweepSpec: the YAML that asks one question, validated; errors name file, line and the mend."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from ablate.axes import design_fields, parts_in, put, unknown_path
from ablate.errors import SpecError, UsageError
from ablate.paths import STUDY_NAME
from ablate.scales import Scale, selected
from ablate.yaml_source import Location, Source, read_yaml
from models.design import Data, Design, TinyData
from models.ladder import LADDER, rung
from models.presets import PRESETS

Values = Annotated[list[Any], Field(min_length=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Resources(_Spec):
    """What one trial asks for, where it differs from the ladder's default for its scale."""

    cpus: float | None = Field(default=None, gt=0)
    """CPU cores of one trial; also its number of threads."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of one trial."""


class Grid(_Spec):
    """Axes that are crossed (or varied one at a time), tied axes, and cells to leave out."""

    axes: dict[str, Values] = Field(default_factory=dict)
    """Dotted path into the design -> its values. A mapping may carry a `name` for labels;
    `{name: X, value: V}` names a plain value."""
    zip: list[dict[str, Values]] = Field(default_factory=list)
    """Axes that move together: in each entry all lists have the same length."""
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = Field(default_factory=list)
    """Cells to leave out: each entry maps axes (or `scale`, `seed`) to a value, a name or a list of them."""
    design: Literal["grid", "one_at_a_time"] = "grid"
    """`grid` crosses all axes; `one_at_a_time` varies each alone around the base."""

    @field_validator("zip")
    @classmethod
    def _same_lengths(cls, groups: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
        for group in groups:
            if not group:
                raise ValueError("an empty entry: give it axes with equally many values")
            lengths = {path: len(values) for path, values in group.items()}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{path} has {n}" for path, n in lengths.items())
                raise ValueError(f"tied axes need equally many values: {told}")
        return groups


class SweepSpec(Grid):
    """A sweep: one question asked of a base design, at some scales and seeds."""

    study: str
    """The study (MLflow experiment) that the trials belong to."""
    question: str = ""
    """What this sweep wants to know, in a sentence."""
    base: str
    """The design to start from: a preset (`tiny`) or another spec's path, relative to this file."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value: what differs from the base in every trial."""
    grids: list[Grid] = Field(default_factory=list)
    """Several grids in one sweep; their union runs, what they share runs once."""
    scales: list[Scale] = Field(min_length=1)
    """Sizes of the LLM. Labels of the ladder: 0.05M, 0.15M, 0.4M and 0.7M are embedded, 0.5B to 7B published LLMs.
    `{label: 1.7B, llm: Qwen/Qwen3-1.7B}` gives a label of your own a hub id or a folder."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    """One trial for each; replicates are explicit, never repeated values."""
    budget: Annotated[int, Field(ge=1)] | None = None
    """Training samples of each trial; the preset's own where it is left out."""
    metric: str | None = None
    """`benchmark/category` to rank by; the data's benchmark overall where it is left out."""
    resources: Resources = Resources()
    """Overrides of what a trial asks for."""

    _source: Source = PrivateAttr()
    _base: dict[str, Any] = PrivateAttr()
    _samples: int = PrivateAttr()

    @field_validator("study")
    @classmethod
    def _study_is_a_name(cls, study: str) -> str:
        if not STUDY_NAME.fullmatch(study):
            raise ValueError("use letters, digits, '_', '-' and '.', a letter or digit first")
        if study == "apollo":
            raise ValueError("'apollo' is the built-in study of published tables; choose another name")
        return study

    @field_validator("scales", "seeds")
    @classmethod
    def _no_repeats(cls, values: list[Any]) -> list[Any]:
        plain = [value.label if isinstance(value, Scale) else value for value in values]
        repeated = sorted({value for value in plain if plain.count(value) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]} is given twice; more replicates are more seeds, e.g. [0, 1, 2]")
        meant: dict[str, str] = {}
        for scale in (value for value in values if isinstance(value, Scale)):
            llm = scale.llm or rung(scale.label).llm
            if llm in meant:
                raise ValueError(f"{meant[llm]} and {scale.label} are the same LLM, {llm}; give one of them")
            meant[llm] = scale.label
        return values

    @model_validator(mode="after")
    def _asks_something(self) -> SweepSpec:
        if self.grids and (self.axes or self.zip or self.exclude or self.design != "grid"):
            raise ValueError("with `grids`, `axes`, `zip`, `exclude` and `design` stand inside each of them")
        for grid in self.all_grids():
            if not grid.axes and not grid.zip:
                raise ValueError("an empty grid: give at least one axis with values under `axes` or `zip`")
        return self

    @field_validator("seeds", "budget", mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, bool | str):
                raise ValueError(f"{value!r} is not a whole number")
        return given

    def all_grids(self) -> list[Grid]:
        """The grids of this sweep: those listed, or the one at the top."""
        return self.grids or [self]

    @property
    def labels(self) -> list[str]:
        """Labels of the scales, in the order of the file."""
        return [scale.label for scale in self.scales]

    @property
    def llms(self) -> dict[str, str]:
        """Labels of the user's own -> the LLM of each."""
        return {scale.label: scale.llm for scale in self.scales if scale.llm is not None}

    @property
    def source(self) -> Source:
        """The file, for errors that name the line."""
        return self._source

    @property
    def base_design(self) -> dict[str, Any]:
        """The base with `set` applied, as plain data."""
        return self._base

    @property
    def samples(self) -> int:
        """Training samples of each trial: the spec's `budget`, or that of its base."""
        return self._samples


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
    spec._base, spec._samples = _base_of(spec, (*parents, path.resolve()))
    _check_paths(spec)
    return spec


def _required() -> list[str]:
    return [name for name, field in SweepSpec.model_fields.items() if field.is_required()]


def _base_of(spec: SweepSpec, parents: tuple[Path, ...]) -> tuple[dict[str, Any], int]:
    """Plain data of the base design with `set` applied, and the budget."""
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
        base, samples = parent.base_design, parent.samples
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
    return base, spec.budget or samples


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


def explain(
    error: ValidationError, model: type[BaseModel], source: Source, axes: dict[str, Location] | None = None
) -> SpecError:
    """The first of pydantic's complaints as one sentence with its place in the file.

    Args:
        error: what pydantic found.
        model: the model that was validated.
        source: the file.
        axes: where the file sets each dotted path, when `model` is a design built from the file.
    """
    # An unknown key comes first: a misspelt one also shows as a missing one.
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    location = _without_tags(model, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        allowed = _allowed(model, first["loc"][:-1])
        near = get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        message = f"unknown key '{location[-1]}'; {hint}allowed: {', '.join(allowed)}"
    elif first["type"] == "union_tag_invalid":
        given, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "")
        near = get_close_matches(str(given), tags.split(", "), n=1)
        message = f"unknown kind '{given}'; " + (f"did you mean '{near[0]}'? " if near else "") + f"allowed: {tags}"
    elif first["type"] == "union_tag_not_found":
        message = "missing its `kind`"
    elif first["type"] == "tuple_type":
        message = f"must be a list: [{_in_a_line(first['input'])}]"
    elif first["type"] == "missing":
        message = "missing; give it a value"
    elif first["type"] != "value_error":
        message = f"{message}, not {first['input']!r}"
    if axes is None:
        return source.error(location, message)
    dotted = ".".join(str(piece) for piece in location)
    owners = [p for p in axes if not dotted or f"{dotted}.".startswith(f"{p}.") or f"{p}.".startswith(f"{dotted}.")]
    if not owners:
        first_piece = dotted.split(".", 1)[0]
        beside = next((p for p in axes if p.split(".", 1)[0] == first_piece), None)
        if beside is None:
            return SpecError(f"{source.path}: this combination of axes is no design: {dotted}: {message}")
        mend = f"the base has it; to change the kind, give `{first_piece}` whole values: {{kind: ..., ...}}"
        return source.error(axes[beside], f"no design with {dotted}: {message}; {mend}")
    owner = max(owners, key=len)
    rest = dotted.removeprefix(owner).strip(".")
    return source.error((*axes[owner], *(rest.split(".") if rest else ())), message)


def _in_a_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "{" + ", ".join(f"{name}: {part}" for name, part in value.items()) + "}"


def _allowed(model: type[BaseModel], loc: Location) -> list[str]:
    return sorted({name for part in _models_at(model, loc) for name in part.model_fields})


def _models_at(model: type[BaseModel], loc: Location) -> list[type[BaseModel]]:
    """Models that pydantic's location may mean: fields are followed, union tags choose, indices pass."""
    here = [model]
    for piece in loc:
        inner = [p for m in here if piece in m.model_fields for p in parts_in(m.model_fields[str(piece)].annotation)]
        tagged = [m for m in here if _tag(m) == piece]
        here = inner or tagged or here
    return here


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return str(kind.annotation.__args__[0]) if kind is not None and kind.annotation is not None else None


def _without_tags(model: type[BaseModel], loc: Location) -> Location:
    """Pydantic's location without the union tags that stand in no file."""
    kept: list[str | int] = []
    for depth, piece in enumerate(loc):
        is_tag = any(_tag(m) == piece for m in _models_at(model, loc[:depth]))
        if not is_tag or (depth == len(loc) - 1 and piece in _allowed(model, loc[:depth])):
            kept.append(piece)
    return tuple(kept)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a sweep spec, with every axis of the design space, so that editors complete it."""
    schema = SweepSpec.model_json_schema()
    design = Design.model_json_schema()
    schema.setdefault("$defs", {}).update(design.get("$defs", {}))
    ladder = {"type": "string", "enum": list(LADDER), "description": "A label of the ladder."}
    schema["properties"]["scales"]["items"] = {"anyOf": [ladder, {"$ref": "#/$defs/Scale"}]}
    for definition in schema["$defs"].values():
        if "kind" in definition.get("properties", {}):  # a variant given as an axis value may carry a name
            definition["properties"]["name"] = {"type": "string", "description": "Name in labels."}
    axes = {
        path.replace("*", "0"): {
            "type": "array",
            "minItems": 1,
            "description": field.description or "",
            **({"items": design["properties"][path]} if path in design["properties"] else {}),
        }
        for path, field in design_fields().items()
    }
    for owner in (schema, schema["$defs"]["Grid"]):
        owner["properties"]["axes"] |= {"properties": axes, "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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
