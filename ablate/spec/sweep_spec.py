"""SweepSpec: a validated sweep spec. Its errors name file, line and the fix."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from ablate.paths import STUDY_NAME
from ablate.spec.scales import Scale
from ablate.spec.source import Source
from models.ladder import scale_card

Values = Annotated[list[Any], Field(min_length=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Resources(_Spec):
    """Resources of one trial, where they differ from the default of its scale."""

    cpus: float | None = Field(default=None, gt=0)
    """CPU cores of one trial, and its number of threads."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of one trial."""


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
    base: str
    """The base design: a preset (`tiny`) or another spec's path, relative to this file."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value: changes of the base in every trial."""
    grids: list[Grid] = Field(default_factory=list)
    """Several grids in one sweep: their union runs, and trials that they share run once."""
    scales: list[Scale] = Field(min_length=1)
    """Sizes of the LLM. Labels of the ladder: 0.05M, 0.15M, 0.4M and 0.7M are embedded, 0.5B to 7B published LLMs.
    `{label: 1.7B, llm: Qwen/Qwen3-1.7B}` declares a label of your own for a hub id or a folder.
    `{label: 0.5B, llm_lr_factor: 3.0}` states the factor of the LLM's learning rates at a scale."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0], min_length=1)
    """Random seeds: every design is trained once with each."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Training samples of each trial; those of the base if omitted."""
    metric: str | None = None
    """`benchmark/category` to rank by; the overall score of the data's benchmark if omitted."""
    resources: Resources = Resources()
    """Resources of a trial that differ from the default of its scale."""

    _source: Source = PrivateAttr()
    _base: dict[str, Any] = PrivateAttr()
    _trial_samples: int = PrivateAttr()

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
        label_of_llm: dict[str, str] = {}
        for scale in (value for value in values if isinstance(value, Scale)):
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
    def trial_samples(self) -> int:
        """Number of training samples of each trial: the spec's `samples`, or those of its base."""
        return self._trial_samples
