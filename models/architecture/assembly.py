"""Config -> module: one `match` for each choice, so that the type checker is the registry."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from models.architecture.llm import load_llm, load_tokenizer, refuse_unpackable
from models.architecture.lora import add_adapters
from models.architecture.resamplers import ConvPoolResampler, MlpPoolResampler, PerceiverResampler
from models.architecture.video_lmm import ImagePath, Separators, VideoLMM
from models.design import ConvPool, Design, MlpPool, Perceiver, Resampler, Split, TrialConfig, Unified
from models.encoders import CombinedEncoder, build_encoder
from models.ladder import scale_card_of
from models.video import largest, pooled_shape

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


def build_separators(design: Design, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Separators | None:
    """The embeddings of `<vid_start>` and `<vid_end>`; None in a design without them.

    They start as the LLM's own, if its tokenizer has these tokens (as that of the embedded study), else near the mean
    of all embeddings, with noise of a tenth of their standard deviation from torch's global generator.
    """
    if not design.integration.separators:
        return None
    rows_VD = llm.get_input_embeddings().weight.detach()
    vocabulary = tokenizer.get_vocab()
    if all(token in vocabulary for token in SEPARATORS):
        return Separators(rows_VD[[vocabulary[token] for token in SEPARATORS]])
    mean_D, deviation_D = rows_VD.float().mean(0), rows_VD.float().std(0)
    noise_2D = 0.1 * deviation_D * torch.randn(len(SEPARATORS), len(mean_D))
    return Separators((mean_D + noise_2D).to(rows_VD.dtype))


def build(config: TrialConfig) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model of a trial, in evaluation mode, and its tokenizer. New weights are drawn from torch's global generator.

    Raises:
        CheckpointError: the files of an encoder or of the LLM cannot be used.
    """
    weights = scale_card_of(config).llm
    disable_progress_bar()  # a worker has no terminal
    llm = load_llm(weights)
    tokenizer = load_tokenizer(weights, llm)
    design, width = config.design, llm.get_input_embeddings().embedding_dim
    encoder = CombinedEncoder([build_encoder(one) for one in design.encoders])
    resampler = build_resampler(design.resampler, encoder.width, width, encoder.grid, design.tokens_per_clip)
    image_path, separators = build_image_path(design, encoder, width), build_separators(design, llm, tokenizer)
    if design.lora:  # last: a design without adapters draws the same new weights
        add_adapters(llm, design.lora)
    model = VideoLMM(encoder, resampler, llm, image_path, separators).eval()
    refuse_unpackable(weights, model)
    return model, tokenizer
