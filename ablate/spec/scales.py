"""The scales of a spec: labels of the ladder, or the user's own labels, each with its LLM."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ablate.errors import UsageError
from models.ladder import LADDER, own_scale_card, scale_card

SCALE_LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Pattern of a scale's label, which is part of file names."""


class Scale(BaseModel):
    """A size of the LLM: a label of the ladder, or a label of your own with its LLM."""

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

    @model_validator(mode="before")
    @classmethod
    def _label_alone(cls, entry: Any) -> Any:
        if isinstance(entry, str):
            scale_card(entry)
            return {"label": entry}
        if not isinstance(entry, dict):
            raise ValueError(f"a scale is a label or {{label: ..., llm: ...}}, not {entry!r}")
        label = entry.get("label")
        if isinstance(label, str) and not entry.get("llm") and set(entry) <= set(cls.model_fields):
            try:
                scale_card(label)
            except ValueError as error:
                raise ValueError(f"a label of your own needs its `llm`: a hub id or a folder ({error})") from None
        return entry

    @model_validator(mode="after")
    def _llm_is_known(self) -> Scale:
        if self.llm is not None:
            try:
                own_scale_card(self.label, self.llm)
            except FileNotFoundError as error:
                raise ValueError(str(error)) from None
        return self


def selected(labels: list[str], declared: Any) -> list[Any]:
    """The scales with these labels: first those that the file declares, in its order, then others of the ladder.

    Raises:
        UsageError: a label is neither declared nor on the ladder.
    """
    entries = declared if isinstance(declared, list) else []
    own = {str(entry["label"]): entry for entry in entries if isinstance(entry, dict) and "label" in entry}
    order = [entry.get("label") if isinstance(entry, dict) else entry for entry in entries]
    for label in labels:
        if label not in own:
            try:
                scale_card(label, own)
            except ValueError as error:
                raise UsageError(f"--scales: {error}") from None
    in_order = sorted(labels, key=lambda label: order.index(label) if label in order else len(order))
    return [own.get(label, label) for label in in_order]
