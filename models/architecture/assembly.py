"""Config -> module: one `match` for each choice, so that the type checker is the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from models.architecture.llm import load_empty_llm, load_llm, load_tokenizer, refuse_unpackable_kind
from models.architecture.llm_source import materialise, names_on_meta, read_weights
from models.architecture.lora import add_adapters
from models.architecture.resamplers import ConvPoolResampler, MlpPoolResampler, PerceiverResampler
from models.architecture.video_lmm import ImagePath, ModelSource, Separators, VideoLMM
from models.design import ConvPool, Design, MlpPool, Perceiver, Resampler, Split, TrialConfig, Unified
from models.encoders import CombinedEncoder, build_encoder, encoder_geometry
from models.ladder import scale_card_of
from models.video import largest, pooled_shape
from models.weights import one_sentence_errors

Grid = tuple[int, int, int]
SEPARATORS = ("<vid_start>", "<vid_end>")
"""Names of the separators' tokens in a tokenizer that has them."""


def build_resampler(config: Resampler, features: int, width: int, grid: Grid, tokens: int) -> nn.Module:
    """A resampler with new random weights.

    Args:
        config: the resampler's config.
        features: width of the encoders' features.
        width: width of the LLM.
        grid: features of a clip in time, height and width.
        tokens: number of tokens that the LLM gets for a clip.

    Raises:
        ValueError: the grid cannot be pooled to that number of tokens.
    """
    match config:
        case Perceiver():
            return PerceiverResampler(config, features, width, tokens)
        case MlpPool():
            return MlpPoolResampler(features, width, pooled_shape(tokens, grid))
        case ConvPool():
            return ConvPoolResampler(features, width, pooled_shape(tokens, grid))
        case _:
            assert_never(config)


def build_image_path(design: Design, encoder: CombinedEncoder, width: int) -> ImagePath | None:
    """The image path of a split design; None where images take the video path."""
    match design.image_path:
        case Unified():
            return None
        case Split(tokens_per_image=tokens):
            image_encoders = [encoder.encoders[index] for index in design.image_encoders]
            grid = largest([one.grid for one in image_encoders])
            features = sum(one.width for one in image_encoders)
            resampler = build_resampler(design.resampler, features, width, grid, tokens)
            return ImagePath(tuple(design.image_encoders), resampler)
        case _:
            assert_never(design.image_path)


def build_separators(
    design: Design, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows_VD: Tensor | None = None
) -> Separators | None:
    """The embeddings of `<vid_start>` and `<vid_end>`; None in a design without them.

    They start as the LLM's own, if its tokenizer has these tokens (as that of the embedded study), else near the mean
    of all embeddings, with noise of a tenth of their standard deviation from torch's global generator.

    Args:
        design: says whether there are any.
        llm: whose embeddings they join.
        tokenizer: the LLM's.
        rows_VD: the LLM's embeddings, if those of `llm` are on the meta device.
    """
    if not design.integration.separators:
        return None
    rows_VD = llm.get_input_embeddings().weight.detach() if rows_VD is None else rows_VD
    vocabulary = tokenizer.get_vocab()
    if all(token in vocabulary for token in SEPARATORS):
        return Separators(rows_VD[[vocabulary[token] for token in SEPARATORS]])
    mean_D, deviation_D = rows_VD.float().mean(0), rows_VD.float().std(0)
    noise_2D = 0.1 * deviation_D * torch.randn(len(SEPARATORS), len(mean_D))
    return Separators((mean_D + noise_2D).to(rows_VD.dtype))


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How the weights of a model are brought in. It changes results by rounding only."""

    is_llm_deferred: bool = False
    """Whether the LLM's parameters stay on the meta device until `load_weights`, which is called when the model is
    placed: then no process holds all of them."""
    frozen_dtype: torch.dtype = torch.float32
    """Dtype of the encoders' weights where they learn in no stage."""
    stored_encoders: frozenset[int] = frozenset()
    """Indices of encoders whose features are all stored: their weights are not loaded."""


def build(config: TrialConfig, options: BuildOptions = BuildOptions()) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model of a trial, in evaluation mode, and its tokenizer. New weights are drawn from torch's global generator.

    Args:
        config: of the trial.
        options: how weights are brought in.

    Raises:
        CheckpointError: the files of an encoder or of the LLM cannot be used.
    """
    weights = scale_card_of(config).llm
    disable_progress_bar()  # a worker has no terminal
    llm, source = load_empty_llm(weights) if options.is_llm_deferred else (load_llm(weights), None)
    tokenizer = load_tokenizer(weights, llm)
    design, width = config.design, llm.get_input_embeddings().embedding_dim
    encoder = build_encoders(design, options)
    resampler = build_resampler(design.resampler, encoder.width, width, encoder.grid, design.tokens_per_clip)
    image_path = build_image_path(design, encoder, width)
    rows_VD = source.input_embeddings(llm) if source and design.integration.separators else None
    separators = build_separators(design, llm, tokenizer, rows_VD)
    if design.lora:  # last: a design without adapters draws the same new weights
        add_adapters(llm, design.lora)
    model = VideoLMM(encoder, resampler, llm, image_path, separators).eval()
    model.llm_source = source
    refuse_unpackable_kind(weights, llm.config)
    model.source = ModelSource(config, tokenizer)
    return model, tokenizer


def build_encoders(design: Design, options: BuildOptions = BuildOptions()) -> CombinedEncoder:
    """The encoders of a design.

    Raises:
        CheckpointError: the files of an encoder cannot be used.
    """
    is_frozen = all(stage.lr.vision == 0 for stage in design.schedule)
    dtype = options.frozen_dtype if is_frozen else torch.float32
    return CombinedEncoder(
        [
            (encoder_geometry(one) if index in options.stored_encoders else build_encoder(one)).to(dtype)
            for index, one in enumerate(design.encoders)
        ]
    )


def load_weights(model: VideoLMM, device: torch.device) -> list[str]:
    """Put a model whose LLM `build` deferred on its device, and read the LLM's weights; any other stays unchanged.

    Each process reads what it holds: of a parameter that FSDP2 has sharded, its own shard. LLMs whose files are no
    safetensors, or whose tensors transformers computes from those of the files (Mixtral's experts), are loaded on the
    CPU in the dtype of the file, one rank after the other.

    Args:
        model: from `build`; its LLM may have been frozen, checkpointed, compiled and sharded (`fully_shard`) since.
        device: of this process.

    Returns:
        Names of the LLM's parameters on the meta device that its files do not have (those of adapters): their values
        are arbitrary, and must be set.

    Raises:
        CheckpointError: the files cannot be read.
    """
    source = model.llm_source
    if source is None:
        return []
    empty = names_on_meta(model.llm)
    materialise(model, device)
    with one_sentence_errors(source.weights, option="llm"):
        left_out = read_weights(model.llm, source, empty)
    model.llm_source = None
    return left_out
