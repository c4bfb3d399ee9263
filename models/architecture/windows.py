"""Which layers of an LLM have a sliding window, so that they need another mask than the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from transformers import PreTrainedModel

Mask = TypeVar("Mask")


def window_of(llm: PreTrainedModel) -> int | None:
    """Token positions that a layer with a sliding window attends to; None without such layers."""
    window: int | None = getattr(llm.config, "sliding_window", None)
    return window


def by_layer_type(llm: PreTrainedModel, mask: Callable[[bool], Mask]) -> Mask | dict[str, Mask]:
    """The mask of all layers, or one for each layer type, as the models of transformers take them.

    Args:
        llm: the LLM.
        mask: builds a mask, with the window or without.
    """
    if window_of(llm) is None:
        return mask(False)
    if not getattr(llm.config, "layer_types", None):
        return mask(True)
    return {"full_attention": mask(False), "sliding_attention": mask(True)}
