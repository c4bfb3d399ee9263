"""FlexAttention on GPUs: block masks from a batch's table, built once for all layers of a micro-batch.

Not on CPUs, where FlexAttention has no backward pass. Never flash attention: its integration in transformers guesses
documents from position ids, and would cut a branch off from its prefix.

Shapes: B row, L position in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import PreTrainedModel

from models.architecture.windows import by_layer_type, window_of
from models.data import Batch

FLEX, DENSE = "flex_attention", "sdpa"
MaskFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""Names of the dropout of attention in configs; FlexAttention has none."""


def mask_function(batch: Batch, window: int | None = None) -> MaskFunction:
    """The mask as a function (row, head, query, key) -> whether the query attends to the key, for FlexAttention.

    `Batch.attends` is the same as a tensor.

    Args:
        batch: which positions attend to which.
        window: number of token positions of a sliding window; no window if None.
    """
    document_BL, branch_BL, branch_end_BL = batch.document_BL, batch.branch_BL, batch.branch_end_BL
    positions_BL = batch.positions_BL

    def attends(b: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        branch = branch_BL[b, query]
        same_document = document_BL[b, query] == document_BL[b, key]
        same_path = (branch_BL[b, key] <= branch) & (branch < branch_end_BL[b, key])
        return same_document & same_path & (key <= query)

    def attends_within_window(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert window is not None
        return attends(b, head, query, key) & (positions_BL[b, query] - positions_BL[b, key] < window)

    return attends if window is None else attends_within_window


def uses_flex(llm: PreTrainedModel, device: torch.device) -> bool:
    """Set the attention of an LLM for a device, and return whether it is FlexAttention.

    It is on `cuda`, unless the model has none or drops attention weights.
    """
    has_dropout = any(getattr(llm.config, name, 0) for name in DROPOUTS)
    chosen = FLEX if device.type == "cuda" and llm._supports_flex_attn and not has_dropout else DENSE
    if {llm.config._attn_implementation, chosen} == {FLEX, DENSE}:
        llm.set_attn_implementation(chosen)
    return bool(llm.config._attn_implementation == FLEX)


def block_masks(llm: PreTrainedModel, batch: Batch) -> BlockMask | dict[str, BlockMask]:
    """Block masks for FlexAttention; one for each layer type where some layers have a sliding window."""
    return by_layer_type(llm, lambda has_window: _block_mask(batch, window_of(llm) if has_window else None))


def _block_mask(batch: Batch, window: int | None) -> BlockMask:
    rows, length = batch.ids_BL.shape
    device = batch.ids_BL.device
    make = _compiled_create_block_mask() if device.type == "cuda" else create_block_mask
    mask: BlockMask = make(mask_function(batch, window), rows, None, length, length, str(device))
    return mask


@lru_cache(maxsize=1)
def _compiled_create_block_mask() -> Any:
    """Compiled, since the whole mask of a long row, which it computes otherwise, takes gigabytes."""
    return torch.compile(create_block_mask)
