"""The composition: encoders -> resampler -> spliced into text -> LLM.

Shapes: B sequence, L place in it, C clip of the whole batch, N frame, T, H, W place of the grid of features, V width
of features, D width of the LLM, K target token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.encoders.combine import CombinedEncoder

Visual = tuple[Tensor, ...]
"""The same clips as each encoder takes them: uint8 frames (C, N, height, width, 3), or features (C, T, H, W, V) of a
frozen encoder."""


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length; visual tokens are places that the resampler's output fills in order."""

    ids_BL: Tensor
    """Token ids; anything at the places of visual tokens and of padding."""
    is_video_BL: Tensor
    """True where a token of the video's path stands."""
    is_image_BL: Tensor
    """True where a token of the image's own path stands."""
    positions_BL: Tensor
    """Position of each token: branches that share a prefix all start behind it."""
    sees_BLL: Tensor
    """True where a token (middle) may attend to another (last)."""
    clips: Visual | None
    """What takes the video's path; None where nothing does."""
    images: Visual | None
    """What takes the image's own path, by the encoders of images alone; None where nothing does."""
    target_at_K: Tensor
    """Flat place (b * L + l) whose output predicts each target token."""
    targets_K: Tensor
    """Token ids to be predicted."""
    padding: float
    """Share of places that is padding."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value


class ImagePath(nn.Module):
    """The path of images in a split design (Apollo, Table 8): which encoders see them, and their resampler."""

    def __init__(self, encoders: tuple[int, ...], resampler: nn.Module) -> None:
        super().__init__()
        self.encoders = encoders
        """Places of the encoders of images."""
        self.resampler = resampler


class VideoLMM(nn.Module):
    """A video large multimodal model of three parts that learn at their own rates."""

    def __init__(
        self,
        encoder: CombinedEncoder,
        resampler: nn.Module,
        llm: PreTrainedModel,
        image_path: ImagePath | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.resampler = resampler
        self.llm: PreTrainedModel = llm
        self.image_path = image_path

    def parts(self) -> dict[str, nn.Module]:
        """The parts by the names that a schedule's learning rates use."""
        connectors = [self.resampler, *([self.image_path.resampler] if self.image_path else [])]
        return {"vision": self.encoder, "connector": nn.ModuleList(connectors), "llm": self.llm}

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of the vocabulary where a target is to be predicted, (K, vocabulary)."""
        embeddings = self.llm.get_input_embeddings()(batch.ids_BL)
        if batch.clips is not None:
            tokens = self.resampler(self.encoder(batch.clips))
            embeddings = _filled(embeddings, batch.is_video_BL, tokens)
        if batch.images is not None:
            assert self.image_path is not None, "images have a path of their own in a split design alone"
            features = self.encoder.of_images(self.image_path.encoders, batch.images)
            embeddings = _filled(embeddings, batch.is_image_BL, self.image_path.resampler(features))
        hidden = self.llm.base_model(
            inputs_embeds=embeddings,
            attention_mask=_masks(self.llm, batch, embeddings.dtype),
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


def _masks(llm: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """What attention adds to its scores, (B, 1, L, L); by the kind of layer where some look back over a window alone.

    transformers leaves a mask as it is given, so that the window is ours to cut: by positions, as packed branches all
    start behind their prefix.
    """
    window = getattr(llm.config, "sliding_window", None)
    if window is None:
        return _additive(batch.sees_BLL, dtype)
    near = batch.sees_BLL & (batch.positions_BL[:, :, None] - batch.positions_BL[:, None] < window)
    if not getattr(llm.config, "layer_types", None):
        return _additive(near, dtype)
    return {"full_attention": _additive(batch.sees_BLL, dtype), "sliding_attention": _additive(near, dtype)}


def _additive(sees_BLL: Tensor, dtype: torch.dtype) -> Tensor:
    """0 or minus infinity. Made once: of a boolean mask every layer would make one of its own and keep it for the
    backward pass, gigabytes for a long video."""
    return torch.zeros(sees_BLL.shape, dtype=dtype, device=sees_BLL.device).masked_fill_(~sees_BLL, -torch.inf)[:, None]


def _filled(embeddings_BLD: Tensor, where_BL: Tensor, tokens_CRD: Tensor) -> Tensor:
    """Sequences with visual tokens at their places.

    Raises:
        ValueError: there are more or fewer tokens than places.
    """
    room = int(where_BL.sum())
    if tokens_CRD.shape[:2].numel() != room:
        raise ValueError(
            f"the resampler made {tokens_CRD.shape[0]} x {tokens_CRD.shape[1]} visual tokens where the sequences have "
            f"room for {room}"
        )
    return embeddings_BLD.masked_scatter(where_BL[..., None], tokens_CRD.to(embeddings_BLD.dtype))
