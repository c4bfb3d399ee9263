"""Resources of one trial, as a spec states them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Resources(BaseModel):
    """Resources of one trial, where they differ from the default of its scale."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    cpus: float | None = Field(default=None, gt=0, strict=True)
    """CPU cores of one trial on each of its nodes, and its number of threads."""
    gpus: float | None = Field(default=None, ge=0, strict=True)
    """GPUs of one trial on each of its nodes: a whole number, or a part of one GPU."""
    nodes: int | None = Field(default=None, ge=1, strict=True)
    """Nodes of one trial; one if omitted."""

    @field_validator("gpus")
    @classmethod
    def _is_whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and not gpus.is_integer():
            raise ValueError(
                f"{gpus:g} is not possible: a part of one GPU is below 1, and above it are whole GPUs; write "
                f"{int(gpus)} or {int(gpus) + 1}"
            )
        return gpus

    @model_validator(mode="after")
    def _has_whole_gpus_on_several_nodes(self) -> Resources:
        if (self.nodes or 1) > 1 and not float(self.gpus or 0).is_integer():
            raise ValueError(f"{self.nodes} nodes with {self.gpus:g} GPUs each: several nodes need whole GPUs, or none")
        return self

    def updated(self, other: Resources) -> Resources:
        """These resources with those that the other states.

        Raises:
            ValueError: the two do not go together.
        """
        return Resources.model_validate(self.model_dump() | other.model_dump(exclude_none=True))
