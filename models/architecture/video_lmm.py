"""The composition: encoders -> resampler -> spliced into text -> LLM.

Shapes: B sequence, L place in it, C clip of the whole batch, N frame, T, H, W place of the grid of features, V width
of features, D width of the LLM, K target token.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel

from models.architecture.masks import _masks
from models.data import Batch
from models.encoders import CombinedEncoder


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
