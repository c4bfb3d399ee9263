"""Scale label -> the LLM behind it and what a trial at that scale asks for. No torch here.

The embedded ladder is the 1:10,000 image of the paper's 0.5B / 1.5B / 4B / 7B (docs/tiny-study.md).
"""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import Field

from models.design import Part


class Rung(Part):
    """One step of the ladder. `cpus` and `gpus` are about execution and enter no key."""

    label: str
    llm: str
    """Weights of the LLM: a folder in transformers' format, a hub id, or `tiny/NAME@VERSION`."""
    cpus: float = Field(default=1, ge=0)
    """CPU cores of one trial."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of one trial."""


LADDER: dict[str, Rung] = {
    label: Rung(label=label, llm=f"tiny/llm-{label}@1") for label in ("0.05M", "0.15M", "0.4M", "0.7M")
}


def rung(label: str) -> Rung:
    """The ladder's step of this label.

    Raises:
        ValueError: there is no such scale; the message lists those that there are.
    """
    if label in LADDER:
        return LADDER[label]
    near = get_close_matches(label, LADDER, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown scale {label!r}{hint} Known scales: {', '.join(LADDER)}")
