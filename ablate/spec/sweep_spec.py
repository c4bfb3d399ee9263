"""SweepSpec: a validated sweep spec. Its errors name file, line and the fix."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ablate.paths import STUDY_NAME
from ablate.spec.execution import Checkpoint, Keep
from ablate.spec.limits import Limits, Retries
from ablate.spec.resources import Resources
from ablate.spec.scales import Scale, is_open
from ablate.spec.source import Location, Source
from ablate.spec.trainer import Cost, Metric, Trainer
from ablate.spec.user_trainer import Stated, UserTrainer
from models.ladder import scale_card

Values = Annotated[list[Any], Field(min_length=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Grid(_Spec):
    """Axes that are crossed or varied one at a time, tied axes, and cells to exclude."""

    axes: dict[str, Values] = Field(default_factory=dict)
    """Dotted path into the design -> its values. A mapping may have a `name` for labels;
    `{name: X, value: V}` names a plain value."""
    zip: list[dict[str, Values]] = Field(default_factory=list)
    """Tied axes, which vary together: in each entry all lists have the same length."""
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = Field(default_factory=list)
    """Cells to exclude: each entry maps axes (or `scale`, `seed`) to a value, a name or a list of them."""
    vary: Literal["grid", "one_at_a_time"] = "grid"
    """`grid` crosses all axes; `one_at_a_time` varies each alone around the base."""

    @field_validator("zip")
    @classmethod
    def _same_lengths(cls, groups: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
        for group in groups:
            if not group:
                raise ValueError("an empty entry: give it axes with equally many values")
            lengths = {path: len(values) for path, values in group.items()}
            if len(set(lengths.values())) > 1:
                lists = ", ".join(f"{path} has {n}" for path, n in lengths.items())
                raise ValueError(f"tied axes need equally many values: {lists}")
        return groups


class SweepSpec(Grid):
    """A sweep: variations of a base design that answer one question, at some scales and seeds."""

    study: str
    """The study (MLflow experiment) that the trials belong to."""
    question: str = ""
    """The question that this sweep answers, in a sentence."""
    base: str | None = Field(default=None, validate_default=True)
    """The base design: a preset (`tiny`) or another spec's path, relative to this file. With a trainer of your own, a
    spec that has one, too, whose `trainer`, `data`, `metric` and `cost` count where this one has none."""
    trainer: Trainer | None = None
    """A training program of your own, which runs instead of ablate's. Any dotted path is then an axis."""
    data: Any = None
    """With a trainer of your own: the data, passed on to it; files and folders that it names enter keys by content."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value: changes of the base in every trial."""
    grids: list[Grid] = Field(default_factory=list)
    """Several grids in one sweep: their union runs, and trials that they share run once."""
    scales: list[Scale] = Field(min_length=1)
    """Sizes of the LLM. Labels of the ladder: 0.05M, 0.15M, 0.4M and 0.7M are embedded, 0.5B to 7B published LLMs.
    `{label: 1.7B, llm: Qwen/Qwen3-1.7B}` declares a label of your own for a hub id or a folder.
    `{label: 0.5B, llm_lr_factor: 3.0}` states the factor of the LLM's learning rates at a scale.
    With a trainer of your own any label, smaller ones first: `{label: 7B, set: {model.name: x}, resources: {gpus: 8}}`.
    """
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    """Random seeds: every design is trained once with each."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Training samples of each trial; those of the base if omitted."""
    metric: Metric | None = None
    """`benchmark/category` to rank by, or `{name: benchmark/category, lower_is_better: true}`. If omitted, the overall
    score of the data's benchmark; a trainer of your own needs it."""
    cost: Cost | None = None
    """With a trainer of your own: what a trial costs at each scale, until finished trials show it."""
    resources: Resources = Resources()
    """Resources of a trial that differ from the default of its scale."""
    limits: Limits = Limits()
    """What ends an attempt of a trial, or the sweep."""
    retries: Retries = Retries()
    """How often failed trials are retried, by the class of the failure."""
    checkpoint: Checkpoint = Checkpoint()
    """With ablate's own trainer: when a running trial saves its position, from which its next attempt goes on."""
    keep: Keep = "none"
    """With ablate's own trainer: whether final weights are kept, for `ablate evaluate`, `export` and `ask`."""
    compile: bool = False
    """With ablate's own trainer: whether the LLM's layers are compiled. Results change by rounding only."""

    _source: Source = PrivateAttr()
    _base: dict[str, Any] = PrivateAttr()
    _trial_samples: int | None = PrivateAttr()
    _stated: dict[str, Stated] = PrivateAttr(default_factory=dict)
    _scale_sets: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict)
    _user_trainer: UserTrainer | None = PrivateAttr(default=None)

    @field_validator("study")
    @classmethod
    def _study_is_a_name(cls, study: str) -> str:
        if not STUDY_NAME.fullmatch(study):
            raise ValueError("use letters, digits, '_', '-' and '.', a letter or digit first")
        if study == "apollo":
            raise ValueError("'apollo' is the built-in study of published tables; choose another name")
        return study

    @field_validator("base")
    @classmethod
    def _base_is_needed(cls, base: str | None, info: ValidationInfo) -> str | None:
        if base is None and not is_open(info):
            raise ValueError("missing; give it a value")
        return base

    @field_validator("data", "cost", mode="before")
    @classmethod
    def _is_of_own_trainer(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not is_open(info):
            fix = "; for ablate's own, set the design's: `set: {data: ...}`" if info.field_name == "data" else ""
            raise ValueError(f"only with a `trainer` of your own{fix}")
        return value

    @field_validator("checkpoint", "keep", "compile", mode="before")
    @classmethod
    def _is_of_ablates_trainer(cls, value: Any, info: ValidationInfo) -> Any:
        if is_open(info):
            raise ValueError("only with ablate's own trainer: a `trainer` of your own saves what it needs itself")
        return value

    @field_validator("metric", mode="before")
    @classmethod
    def _name_alone(cls, metric: Any) -> Any:
        return {"name": metric} if isinstance(metric, str) else metric

    @field_validator("scales", "seeds")
    @classmethod
    def _no_repeats(cls, values: list[Any], info: ValidationInfo) -> list[Any]:
        plain = [value.label if isinstance(value, Scale) else value for value in values]
        repeated = sorted({value for value in plain if plain.count(value) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]} is given twice; more replicates are more seeds, e.g. [0, 1, 2]")
        label_of_llm: dict[str, str] = {}
        for scale in (value for value in values if isinstance(value, Scale) and not is_open(info)):
            llm = scale.llm or scale_card(scale.label).llm
            if llm in label_of_llm:
                raise ValueError(f"{label_of_llm[llm]} and {scale.label} are the same LLM, {llm}; give one of them")
            label_of_llm[llm] = scale.label
        return values

    @model_validator(mode="after")
    def _has_axes(self) -> SweepSpec:
        if self.grids and (self.axes or self.zip or self.exclude or self.vary != "grid"):
            raise ValueError("with `grids`, write `axes`, `zip`, `exclude` and `vary` inside each of them")
        for grid in self.all_grids():
            if not grid.axes and not grid.zip:
                raise ValueError("an empty grid: give at least one axis with values under `axes` or `zip`")
        return self

    @field_validator("seeds", "samples", mode="before")
    @classmethod
    def _whole_numbers(cls, values: Any) -> Any:
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bool | str):
                raise ValueError(f"{value!r} is not a whole number")
        return values

    def all_grids(self) -> list[Grid]:
        """The grids of this sweep: those under `grids`, or the one at the top level."""
        return self.grids or [self]

    @property
    def labels(self) -> list[str]:
        """Labels of the scales, in the order of the file."""
        return [scale.label for scale in self.scales]

    @property
    def llms(self) -> dict[str, str]:
        """The user's own labels -> the LLM of each."""
        return {scale.label: scale.llm for scale in self.scales if scale.llm is not None}

    @property
    def llm_lr_factors(self) -> dict[str, float]:
        """Labels -> the factor of the LLM's learning rates that the spec states there."""
        return {scale.label: scale.llm_lr_factor for scale in self.scales if scale.llm_lr_factor is not None}

    @property
    def source(self) -> Source:
        """The spec's file, for errors that name the line."""
        return self._source

    @property
    def base_design(self) -> dict[str, Any]:
        """The base with `set` applied, as plain data."""
        return self._base

    @property
    def trial_samples(self) -> int | None:
        """Number of training samples of each trial: the spec's `samples`, or those of its base. None only with a
        trainer of the user's own."""
        return self._trial_samples

    @property
    def user_trainer(self) -> UserTrainer | None:
        """The user's own trainer; None for ablate's."""
        return self._user_trainer

    @property
    def stated(self) -> dict[str, Stated]:
        """`trainer`, `data`, `metric` and `cost` with the file that states them, this one or its base; empty for
        ablate's own trainer."""
        return self._stated

    @property
    def is_open(self) -> bool:
        """Whether the trainer is the user's own, so that any dotted path is an axis."""
        return "trainer" in self._stated

    def scale_set(self, label: str) -> dict[str, Any]:
        """Dotted path -> value: what a scale sets in every design."""
        return self._scale_sets.get(label, {})

    def axis_paths(self) -> list[str]:
        """Dotted paths of the axes of all grids, in the order of the file."""
        grids = self.all_grids()
        return list(dict.fromkeys(p for grid in grids for p in (*grid.axes, *(p for tied in grid.zip for p in tied))))

    @property
    def declared_labels(self) -> list[str]:
        """Labels of the scales in the file, also of those that `--scales` leaves out."""
        declared = self.source.data.get("scales")
        entries = declared if isinstance(declared, list) else []
        return [str(entry.get("label") if isinstance(entry, dict) else entry) for entry in entries]

    def scale(self, label: str) -> Scale:
        """The scale with a label of this spec."""
        return next(scale for scale in self.scales if scale.label == label)

    def scale_location(self, label: str) -> Location:
        """Where the file declares a scale."""
        declared = self.source.data.get("scales")
        entries = declared if isinstance(declared, list) else []
        labels = [entry.get("label") if isinstance(entry, dict) else entry for entry in entries]
        return ("scales", labels.index(label)) if label in labels else ("scales",)

    def resources_at(self, label: str) -> Resources:
        """What the spec states on the resources of a trial at a scale.

        Raises:
            SpecError: those of the spec and of the scale do not go together.
        """
        try:
            return self.resources.updated(self.scale(label).resources)
        except ValueError as error:
            reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
            location = (*self.scale_location(label), "resources")
            raise self.source.error(location, reason.removeprefix("Value error, ")) from None
