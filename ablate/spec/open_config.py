"""OpenConfig: the config of a trial of the user's own trainer, whose design is an open mapping."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ablate.spec.axes import put
from models.design import Part


class OpenConfig(Part):
    """Everything that a result of the user's own trainer may depend on."""

    design: dict[str, Any]
    """Nested design, without the changes of its scale: the same at every scale and seed."""
    scale: str
    """Label of the scale."""
    scale_set: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value: what the scale sets in the design."""
    seed: int = Field(ge=0, lt=2**32)
    samples: int | None = Field(default=None, ge=1)
    """Number of training samples, if the spec states one."""
    data: Any = None
    """The spec's `data`, with absolute paths."""
    data_digest: str | None = None
    """Digest of `data` with the content of the files that it names; None if it names none."""
    trainer: dict[str, Any]
    """Identity of the trainer: `{command, code}` with the digest of its code, or `{version}`."""

    def program_config(self) -> dict[str, Any]:
        """What the program reads as `{config}`: the design with the changes of its scale, and beside its entries
        `scale`, `seed`, `samples` (null if the spec states none), and `data` if the spec states it.

        Raises:
            KeyError: the design has no place for a change of its scale; the message says why.
        """
        design = self.design
        for path, value in sorted(self.scale_set.items(), key=lambda change: change[0].count(".")):
            design = put(design, path, value)
        data = {} if self.data is None else {"data": self.data}
        return design | {"scale": self.scale, "seed": self.seed, "samples": self.samples} | data
