"""Config -> module: one `match` a choice, so that the type checker is the registry."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from models.design import Encoder, MlpPool, Perceiver, Resampler, Siglip, TrialConfig
from models.encoders.base import VisionEncoder
from models.encoders.siglip import SiglipEncoder
from models.ladder import rung
from models.resamplers import MlpPoolResampler, PerceiverResampler
from models.video_lmm import VideoLMM
from models.weights import locate, locate_tokenizer


def build_encoder(config: Encoder) -> VisionEncoder:
    """The encoder with its weights."""
    match config:
        case Siglip():
            return SiglipEncoder(config)
        case _:
            assert_never(config)


def build_resampler(config: Resampler, features: int, width: int, clip_frames: int) -> nn.Module:
    """A resampler with fresh weights.

    Args:
        config: which.
        features: width of the encoder's features.
        width: width of the LLM.
        clip_frames: frames of one clip.
    """
    match config:
        case Perceiver():
            return PerceiverResampler(config, features, width, clip_frames)
        case MlpPool():
            return MlpPoolResampler(config, features, width)
        case _:
            assert_never(config)


def build(config: TrialConfig) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model of a trial, in evaluation mode, and its tokenizer. Fresh weights come from torch's generator."""
    weights = rung(config.scale).llm
    disable_progress_bar()  # a worker has no terminal
    llm = AutoModelForCausalLM.from_pretrained(locate(weights), dtype=torch.float32, attn_implementation="sdpa")
    encoder_config = config.design.encoders[0]
    encoder = build_encoder(encoder_config)
    width = llm.config.hidden_size
    resampler = build_resampler(config.design.resampler, encoder.width, width, encoder_config.clip_frames)
    return VideoLMM(encoder, resampler, llm).eval(), AutoTokenizer.from_pretrained(locate_tokenizer(weights))
