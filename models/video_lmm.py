"""The composition: encoder -> resampler -> spliced into text -> LLM.

Shapes: B sequence, L place in it, C clip of the whole batch, T frame, P patch, V width of features, D width
of the LLM, K target token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.encoders.base import VisionEncoder


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length; video tokens are places that the resampler's output fills in order."""

    ids_BL: Tensor
    """Token ids; anything at the places of video tokens and of padding."""
    is_video_BL: Tensor
    """True where a video token stands."""
    positions_BL: Tensor
    """Position of each token: branches that share a prefix all start behind it."""
    sees_BLL: Tensor
    """True where a token (middle) may attend to another (last)."""
    clips: Tensor | None
    """Features (C, T, P, V) of a frozen encoder, or uint8 frames (C, T, H, W, 3); None without video."""
    target_at_K: Tensor
    """Flat place (b * L + l) whose output predicts each target token."""
    targets_K: Tensor
    """Token ids to be predicted."""
    padding: float
    """Share of places that is padding."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: t.to(device) for n, t in values.items() if isinstance(t, Tensor)}
        return replace(self, **moved)


class VideoLMM(nn.Module):
    """A video large multimodal model of three parts that learn at their own rates."""

    def __init__(self, encoder: VisionEncoder, resampler: nn.Module, llm: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.resampler = resampler
        self.llm: PreTrainedModel = llm

    def parts(self) -> dict[str, nn.Module]:
        """The parts by the names that a schedule's learning rates use."""
        return {"vision": self.encoder, "connector": self.resampler, "llm": self.llm}

    def features(self, frames_CTHWC: Tensor) -> Tensor:
        """Frames of clips (uint8) -> features (C, T, P, V)."""
        return self.encoder(frames_CTHWC.flatten(0, 1)).unflatten(0, frames_CTHWC.shape[:2])

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of the vocabulary where a target is to be predicted, (K, vocabulary)."""
        embeddings = self.llm.get_input_embeddings()(batch.ids_BL)
        if batch.clips is not None:
            clips = self.features(batch.clips) if batch.clips.dtype == torch.uint8 else batch.clips
            tokens = self.resampler(clips.float())
            if tokens.shape[:2].numel() != int(batch.is_video_BL.sum()):
                raise ValueError(
                    f"the resampler made {tokens.shape[0]} x {tokens.shape[1]} video tokens where the sequences "
                    f"have room for {int(batch.is_video_BL.sum())}"
                )
            embeddings = embeddings.masked_scatter(batch.is_video_BL[..., None], tokens.to(embeddings.dtype))
        hidden = self.llm.model(
            inputs_embeds=embeddings,
            attention_mask=batch.sees_BLL[:, None],
            position_ids=batch.positions_BL,
            use_cache=False,
        ).last_hidden_state
        # The head runs only where something is predicted: with a real vocabulary it is most of the memory.
        logits = self.llm.get_output_embeddings()(hidden.flatten(0, 1)[batch.target_at_K])
        return logits.float().log_softmax(-1)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the target tokens."""
        return nn.functional.nll_loss(self(batch), batch.targets_K)

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that learn in the current stage."""
        return (p for p in self.parameters() if p.requires_grad)
