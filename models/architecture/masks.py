"""Attention masks in the additive form that the models of transformers expect.

Shapes: B sequence, L position.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.data import Batch


def attention_masks(llm: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Additive attention masks (B, 1, L, L); one per layer type where some layers have a sliding window.

    Args:
        llm: whose layers get the masks.
        batch: which positions attend to which.
        dtype: that of the attention's queries. Autocast would cast a mask of another dtype in every layer, and every
            layer would keep its copy for the backward pass.

    transformers does not apply the window to a mask that it gets, so it is applied here: by token positions, since
    packed branches all start behind their prefix.
    """
    window = getattr(llm.config, "sliding_window", None)
    if window is None:
        return _additive(batch.attends_BLL, dtype)
    within_window = batch.attends_BLL & (batch.positions_BL[:, :, None] - batch.positions_BL[:, None] < window)
    if not getattr(llm.config, "layer_types", None):
        return _additive(within_window, dtype)
    return {
        "full_attention": _additive(batch.attends_BLL, dtype),
        "sliding_attention": _additive(within_window, dtype),
    }


def _additive(attends_BLL: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attention is allowed, minus infinity elsewhere: (B, 1, L, L).

    From a boolean mask every layer would compute this tensor itself and keep it for the backward pass, which takes
    gigabytes for a long video.
    """
    return torch.zeros(attends_BLL.shape, dtype=dtype, device=attends_BLL.device).masked_fill_(
        ~attends_BLL, -torch.inf
    )[:, None]
