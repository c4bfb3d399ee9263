"""The scales of a spec: labels of the ladder, or of the user's own with the LLM that they mean."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ablate.errors import UsageError
from models.ladder import own_scale_card, scale_card

LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Of a scale: it stands in names of files."""


class Scale(BaseModel):
    """A size of the LLM: a label of the ladder, or a label of your own with the LLM that it means."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={"required": ["label", "llm"]},
    )

    label: str = Field(pattern=LABEL)
    """Its name in tables and figures; none of the ladder's."""
    llm: str | None = None
    """A hub id, or a folder in transformers' format."""

    @model_validator(mode="before")
    @classmethod
    def _label_alone(cls, given: Any) -> Any:
        if isinstance(given, str):
            scale_card(given)
            return {"label": given}
        if not isinstance(given, dict):
            raise ValueError(f"a scale is a label or {{label: ..., llm: ...}}, not {given!r}")
        if "label" in given and not given.get("llm") and set(given) <= {"label", "llm"}:
            raise ValueError("a label of your own needs its `llm`: a hub id or a folder")
        return given

    @model_validator(mode="after")
    def _llm_is_known(self) -> Scale:
        if self.llm is not None:
            try:
                own_scale_card(self.label, self.llm)
            except FileNotFoundError as error:
                raise ValueError(str(error)) from None
        return self


def selected(labels: list[str], declared: Any) -> list[Any]:
    """The scales of these labels, as the file declares its own and in its order; others of the ladder come last.

    Raises:
        UsageError: there is no such scale.
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
    wanted = sorted(labels, key=lambda label: order.index(label) if label in order else len(order))
    return [own.get(label, label) for label in wanted]
