"""Attention masks in the form that transformers' models add to their scores."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.data import Batch


def _masks(llm: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """What attention adds to its scores, (B, 1, L, L); by the kind of layer where some look back over a window alone.

    transformers leaves a mask as it is given, so that the window is ours to cut: by positions, as packed branches all
    start behind their prefix.
    """
    window = getattr(llm.config, "sliding_window", None)
    if window is None:
        return _additive(batch.attends_BLL, dtype)
    near = batch.attends_BLL & (batch.positions_BL[:, :, None] - batch.positions_BL[:, None] < window)
    if not getattr(llm.config, "layer_types", None):
        return _additive(near, dtype)
    return {"full_attention": _additive(batch.attends_BLL, dtype), "sliding_attention": _additive(near, dtype)}


def _additive(attends_BLL: Tensor, dtype: torch.dtype) -> Tensor:
    """0 or minus infinity. Made once: of a boolean mask every layer would make one of its own and keep it for the
    backward pass, gigabytes for a long video."""
    return torch.zeros(attends_BLL.shape, dtype=dtype, device=attends_BLL.device).masked_fill_(
        ~attends_BLL, -torch.inf
    )[:, None]
