"""How ablate's own trainer runs a trial: what it saves meanwhile and keeps, and whether it compiles. Not in the key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ablate.spec.limits import Duration


class Checkpoint(BaseModel):
    """When a running trial saves its position, from which its next attempt goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    every: Duration = 600.0
    """Time between two checkpoints, as in `10m`. The end of a stage is saved too, where a minute of work or more would
    be lost."""


Keep = Literal["weights", "none"]
"""Whether the final weights of a trial are kept."""
