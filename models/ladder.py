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
    llm_lr_factor: float = Field(default=1.0, gt=0)
    """Multiplies a schedule's learning rates of the LLM: good rates fall with its width, as 1/width (muP, Yang et
    al., arXiv 2203.03466). Here 64/width for those wider than the 0.15M one, at which the rates were measured."""
    cpus: float = Field(default=1, ge=0)
    """CPU cores of one trial."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of one trial."""


LADDER: dict[str, Rung] = {
    label: Rung(label=label, llm=f"tiny/llm-{label}@2", llm_lr_factor=factor)
    for label, factor in (("0.05M", 1.0), ("0.15M", 1.0), ("0.4M", 64 / 96), ("0.7M", 64 / 112))
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
