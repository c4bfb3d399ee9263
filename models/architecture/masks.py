"""Attention masks in the forms that the models of transformers expect.

Shapes: B row, L position in it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import PreTrainedModel

from models.architecture.flex import block_masks, uses_flex
from models.architecture.windows import by_layer_type, window_of
from models.data import Batch

Masks = Tensor | BlockMask | dict[str, Tensor] | dict[str, BlockMask]
"""A mask for all layers, or one for each layer type."""


def attention_masks(llm: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Masks:
    """Attention masks: block masks for FlexAttention on a GPU, else additive ones (B, 1, L, L).

    Where some layers have a sliding window, one for each layer type.

    Args:
        llm: whose layers get the masks; its attention is set to that of the device.
        batch: which positions attend to which.
        dtype: that of the attention's queries. Autocast would cast a mask of another dtype in every layer, and every
            layer would keep its copy for the backward pass.

    transformers does not apply the window to a mask that it gets, so it is applied here: by token positions, since
    packed branches all start behind their prefix.
    """
    if uses_flex(llm, batch.ids_BL.device):
        return block_masks(llm, batch)
    attends_BLL = batch.attends()

    def mask(has_window: bool) -> Tensor:
        if not has_window:
            return _additive(attends_BLL, dtype)
        distance_BLL = batch.positions_BL[:, :, None] - batch.positions_BL[:, None]
        return _additive(attends_BLL & (distance_BLL < (window_of(llm) or 0)), dtype)

    masks: Tensor | dict[str, Tensor] = by_layer_type(llm, mask)
    return masks


def _additive(attends_BLL: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attention is allowed, minus infinity elsewhere: (B, 1, L, L).

    From a boolean mask every layer would compute this tensor itself and keep it for the backward pass, which takes
    gigabytes for a long video.
    """
    return torch.zeros(attends_BLL.shape, dtype=dtype, device=attends_BLL.device).masked_fill_(
        ~attends_BLL, -torch.inf
    )[:, None]
