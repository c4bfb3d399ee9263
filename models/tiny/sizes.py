"""Sizes of the shipped language models. No torch here."""

from __future__ import annotations

from typing import NamedTuple


class LlmSize(NamedTuple):
    """Sizes of a Qwen2 decoder, shipped in the folder `llm-LABEL`."""

    label: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    steps: int = 1300
    """Number of steps of pre-training."""


LLM_SIZES = {
    size.label: size
    for size in (
        LlmSize("0.05M", 48, 2, 4, 4, 128),
        LlmSize("0.15M", 64, 3, 4, 4, 192),
        LlmSize("0.4M", 96, 4, 4, 4, 256, steps=2000),
        LlmSize("0.7M", 112, 5, 4, 4, 320),
    )
}
"""The 1:10,000 image of 0.5B / 1.5B / 4B / 7B; the label is about the number of parameters without embeddings. The 0.4M
one learned to read digits late: after 1,300 steps its alignment failed in two of three seeds, after 2,000 in none."""
