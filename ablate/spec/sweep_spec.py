"""SweepSpec: the YAML that asks one question, validated; errors name file, line and the mend."""

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
    samples: Annotated[int, Field(ge=1)] | None = None
    """Training samples of each trial; the preset's own where it is left out."""
    metric: str | None = None
    """`benchmark/category` to rank by; the data's benchmark overall where it is left out."""
    resources: Resources = Resources()
    """Overrides of what a trial asks for."""

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
        meant: dict[str, str] = {}
        for scale in (value for value in values if isinstance(value, Scale)):
            llm = scale.llm or scale_card(scale.label).llm
            if llm in meant:
                raise ValueError(f"{meant[llm]} and {scale.label} are the same LLM, {llm}; give one of them")
            meant[llm] = scale.label
        return values

    @model_validator(mode="after")
    def _asks_something(self) -> SweepSpec:
        if self.grids and (self.axes or self.zip or self.exclude or self.vary != "grid"):
            raise ValueError("with `grids`, `axes`, `zip`, `exclude` and `vary` stand inside each of them")
        for grid in self.all_grids():
            if not grid.axes and not grid.zip:
                raise ValueError("an empty grid: give at least one axis with values under `axes` or `zip`")
        return self

    @field_validator("seeds", "samples", mode="before")
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
    def trial_samples(self) -> int:
        """Training samples of each trial: the spec's `samples`, or those of its base."""
        return self._trial_samples
