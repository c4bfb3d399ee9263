"""The scales of a spec: labels of the ladder, or the user's own labels, each with its LLM; or those of own trainers."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ablate.errors import UsageError
from ablate.spec.resources import Resources
from models.ladder import LADDER, own_scale_card, scale_card

SCALE_LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Pattern of a scale's label, which is part of file names."""


def is_open(info: ValidationInfo) -> bool:
    """Whether the spec that is validated has a trainer of the user's own."""
    return bool(info.context and info.context.get("is_open"))


class Scale(BaseModel):
    """A size of the LLM: a label of the ladder, or a label of your own with its LLM. With a trainer of your own, any
    label, and what it sets."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "required": ["label"],
            "anyOf": [{"required": ["llm"]}, {"properties": {"label": {"enum": list(LADDER)}}}],
        },
    )

    label: str = Field(pattern=SCALE_LABEL)
    """Its name in tables and figures. With `llm`, it is not one of the ladder's; without, it is."""
    llm: str | None = None
    """A hub id, or a folder in the format of transformers."""
    llm_lr_factor: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    """Factor of the schedule's learning rates of the LLM at this scale; that of the ladder's rule if omitted."""
    set: dict[str, Any] = Field(default_factory=dict)
    """With a trainer of your own: dotted path -> value, what this scale sets in every design."""
    resources: Resources = Resources()
    """Resources of a trial at this scale, where they differ from the `resources` of the spec."""

    @model_validator(mode="before")
    @classmethod
    def _label_alone(cls, entry: Any, info: ValidationInfo) -> Any:
        if isinstance(entry, str):
            if not is_open(info):
                scale_card(entry)
            return {"label": entry}
        if not isinstance(entry, dict):
            fields = "set" if is_open(info) else "llm"
            raise ValueError(f"a scale is a label or {{label: ..., {fields}: ...}}, not {entry!r}")
        if is_open(info):
            return entry
        label = entry.get("label")
        if isinstance(label, str) and not entry.get("llm") and entry.keys() <= cls.model_fields.keys():
            try:
                scale_card(label)
            except ValueError as error:
                raise ValueError(f"a label of your own needs its `llm`: a hub id or a folder ({error})") from None
        return entry

    @field_validator("set")
    @classmethod
    def _is_of_own_trainer(cls, changes: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if changes and not is_open(info):
            raise ValueError(
                "only with a `trainer` of your own: ablate's trainer compares the same design at all scales, where the "
                "LLM alone differs"
            )
        return changes

    @field_validator("llm", "llm_lr_factor")
    @classmethod
    def _is_of_ablates_trainer(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and is_open(info):
            raise ValueError("only for ablate's own trainer; use `set` for what your trainer reads")
        return value

    @model_validator(mode="after")
    def _llm_is_known(self) -> Scale:
        if self.llm is not None:
            try:
                own_scale_card(self.label, self.llm)
            except FileNotFoundError as error:
                raise ValueError(str(error)) from None
        return self


def selected(labels: list[str], declared: Any, *, is_open: bool) -> list[Any]:
    """The scales with these labels: first those that the file declares, in its order, then others of the ladder.

    Args:
        labels: as on the command line.
        declared: `scales` of the file.
        is_open: whether the spec has a trainer of the user's own, for which there is no ladder.

    Raises:
        UsageError: a label is neither declared nor on the ladder.
    """
    entries = declared if isinstance(declared, list) else []
    own = {str(entry["label"]): entry for entry in entries if isinstance(entry, dict) and "label" in entry}
    order = [entry.get("label") if isinstance(entry, dict) else entry for entry in entries]
    for label in labels:
        if is_open and label not in order:
            names = [str(name) for name in order]
            near = get_close_matches(label, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"--scales: this spec has no scale {label!r}; {hint}its scales: {', '.join(names)}")
        if not is_open and label not in own:
            try:
                scale_card(label, own)
            except ValueError as error:
                raise UsageError(f"--scales: {error}") from None
    in_order = sorted(labels, key=lambda label: order.index(label) if label in order else len(order))
    return [own.get(label, label) for label in in_order]
