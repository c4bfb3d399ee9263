"""The video-LMM: encoders -> resampler -> visual tokens spliced into text -> LLM.

Shapes: B sequence, L position in it, C clip of the whole batch, N frame, T, H, W cell of the grid of features, V width
of features, R resampled token, D width of the LLM, K target token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.architecture.llm_source import LlmSource
from models.architecture.masks import attention_masks
from models.data import Batch
from models.design import TrialConfig
from models.encoders import CombinedEncoder, compute_dtype


@dataclass(frozen=True)
class ModelSource:
    """What a model was built from."""

    config: TrialConfig
    tokenizer: PreTrainedTokenizerBase


class ImagePath(nn.Module):
    """The separate path of images in a split design (Apollo, Table 8): encoders and resampler."""

    def __init__(self, encoders: tuple[int, ...], resampler: nn.Module) -> None:
        super().__init__()
        self.encoders = encoders
        """Indices of the encoders that take images."""
        self.resampler = resampler


class Separators(nn.Module):
    """Learned embeddings of `<vid_start>` and `<vid_end>`, in this order: (2, D).

    They belong to the connector and are not among the LLM's tokens, so they learn wherever visual tokens learn, also
    before a frozen LLM, and can never be an answer.
    """

    def __init__(self, embeddings_2D: Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(embeddings_2D.clone())


class VideoLMM(nn.Module):
    """A video large multimodal model of three parts with learning rates of their own: vision, connector, LLM."""

    def __init__(
        self,
        encoder: CombinedEncoder,
        resampler: nn.Module,
        llm: PreTrainedModel,
        image_path: ImagePath | None = None,
        separators: Separators | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.resampler = resampler
        self.llm: PreTrainedModel = llm
        self.image_path = image_path
        self.separators = separators
        self.llm_source: LlmSource | None = None
        """Where the LLM's weights are, if they are not read yet: see `load_weights`."""
        self.source: ModelSource | None = None
        """Config and tokenizer, of a model that `build` made."""
        self.is_spread = False
        """Whether several ranks share the work. Then each runs all resamplers in each micro-batch, on a clip of zeros
        if it has no media for one: all ranks must gather the same weights and sum the same gradients."""

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> VideoLMM:
        """Open a folder of `save_pretrained` or `ablate export`; errors as in `pretrained.open_model`.

        Returns:
            The model in fp32 on the CPU, in evaluation mode; its `source` has the tokenizer and the config.
        """
        from models.architecture.pretrained import open_model

        return open_model(Path(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model, its tokenizer and its config into a new folder that `from_pretrained` opens anywhere.

        Raises:
            CheckpointError: the files of a part that did not learn are no longer on this machine.
            ValueError: the model was not made by `build`.
        """
        from models.architecture.export import include_named
        from models.architecture.pretrained import save_learned

        save_learned(self, Path(folder))
        include_named(Path(folder))

    def parts(self) -> dict[str, nn.Module]:
        """The parts, by their names in a schedule's learning rates: `vision`, `connector`, `llm`."""
        connectors = [*self.resamplers(), *([self.separators] if self.separators else [])]
        return {"vision": self.encoder, "connector": nn.ModuleList(connectors), "llm": self.llm}

    def resamplers(self) -> list[nn.Module]:
        """The resampler of the video path, and that of a separate image path."""
        return [self.resampler, *([self.image_path.resampler] if self.image_path else [])]

    def unused(self, *, clips: bool, images: bool) -> Iterator[nn.Module]:
        """Encoders and resamplers that a step does not need.

        Args:
            clips: whether it has media on the video path.
            images: whether it has media on a separate image path.
        """
        of_images = self.image_path.encoders if self.image_path else ()
        if not clips:
            yield self.resampler
            yield from (one for i, one in enumerate(self.encoder.encoders) if not (images and i in of_images))
        if self.image_path and not images:
            yield self.image_path.resampler

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of the next token at each position that predicts a target: (K, vocabulary).

        Raises:
            ValueError: the resamplers return more or fewer tokens than the sequences have positions for.
        """
        embeddings = self.llm.get_input_embeddings()(batch.ids_BL)
        device = embeddings.device
        if batch.clips is not None:
            tokens = self.resampler(self.encoder(batch.clips))
            embeddings = _fill(embeddings, batch.is_video_BL, tokens)
        elif self.is_spread:
            embeddings = _with_nothing(embeddings, self.resampler(self.encoder.of_zeros(self.encoder.all, device)))
        if batch.images is not None:
            assert self.image_path is not None, "only a split design has a separate image path"
            features = self.encoder.of_images(self.image_path.encoders, batch.images)
            embeddings = _fill(embeddings, batch.is_image_BL, self.image_path.resampler(features))
        elif self.is_spread and self.image_path is not None:
            features = self.encoder.of_zeros(self.image_path.encoders, device)
            embeddings = _with_nothing(embeddings, self.image_path.resampler(features))
        if self.separators is not None:
            for where_BL, embedding_D in zip(
                (batch.is_start_BL, batch.is_end_BL), self.separators.embeddings.to(embeddings.dtype), strict=True
            ):
                embeddings = torch.where(where_BL[..., None], embedding_D, embeddings)
        hidden = self.llm.base_model(
            inputs_embeds=embeddings,
            attention_mask=attention_masks(self.llm, batch, compute_dtype(self.llm, device)),
            position_ids=batch.positions_BL,
            use_cache=False,
        ).last_hidden_state
        # The head runs only at positions that predict a target: with a real vocabulary it takes most of the memory.
        logits = self.llm.get_output_embeddings()(hidden.flatten(0, 1)[batch.target_at_K])
        return logits.float().log_softmax(-1)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the target tokens, in nats; 0 without targets, as a rank without work has none."""
        if not len(batch.targets_K):
            return self(batch).sum()
        return nn.functional.nll_loss(self(batch), batch.targets_K)

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that learn in the current stage."""
        return (p for p in self.parameters() if p.requires_grad)


def _with_nothing(embeddings_BLD: Tensor, tokens_CRD: Tensor) -> Tensor:
    """Embeddings (B, L, D) that depend on tokens, but not on their values: gradients of the tokens are zeros."""
    return embeddings_BLD + 0 * tokens_CRD.sum().to(embeddings_BLD.dtype)


def _fill(embeddings_BLD: Tensor, where_BL: Tensor, tokens_CRD: Tensor) -> Tensor:
    """Embeddings (B, L, D) with visual tokens at the positions of their placeholders, in order.

    Raises:
        ValueError: the number of tokens differs from the number of placeholders.
    """
    placeholders = int(where_BL.sum())
    if tokens_CRD.shape[:2].numel() != placeholders:
        raise ValueError(
            f"the resampler returned {tokens_CRD.shape[0]} x {tokens_CRD.shape[1]} visual tokens, but the sequences "
            f"have {placeholders} placeholders for them"
        )
    return embeddings_BLD.masked_scatter(where_BL[..., None], tokens_CRD.to(embeddings_BLD.dtype))
