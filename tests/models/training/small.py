"""A small random model with data of all kinds, on which training is tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from models.architecture import VideoLMM
from models.architecture.resamplers import PerceiverResampler
from models.data import Corpus, Prompter, Question, TestItem, TrainingSample, Turn, VisualReader
from models.design import Design, Perceiver, TrialConfig, Uniform
from models.encoders import CombinedEncoder
from models.encoders.siglip import SiglipEncoder
from models.presets import PRESETS
from models.training import Engine
from models.video import Medium, Stored
from models.weights import locate_tokenizer

CPU = torch.device("cpu")
ENGINE = Engine(CPU)
DESIGN = PRESETS["tiny"].design.model_copy(update={"sampling": Uniform(kind="uniform", frames=3)})
RESAMPLER = Perceiver(kind="perceiver", tokens_per_frame=2, heads=2, head_dim=8, kv_heads=1)
FIRST, LAST = "what is the first digit", "what is the last digit"
CLIP = Medium(path="v.mp4", kind="video")
PICTURES = tuple(Medium(path=path, kind="image") for path in ("i.png", "j.png"))
VIDEO = TrainingSample("v", "video", (CLIP,), (Turn((0, FIRST), "two"), Turn((LAST,), "four")), True)
PAIR = TrainingSample("p", "multi_image", PICTURES, (Turn((0, 1, FIRST), "three"),), True)
IMAGE = TrainingSample("i", "image", PICTURES[:1], (Turn((0, FIRST), "three"),), True)
TEXT = TrainingSample("t", "text", (), (Turn((FIRST,), "three"), Turn((LAST,), "one")), False)
ITEM = TestItem(
    "v",
    "video",
    (CLIP,),
    (
        Question("q1", (0, FIRST), ("one", "two", "three", "four"), 1, "ocr", "first"),
        Question("q2", (0, LAST), ("four", "one two", "three", "two"), 0, "ocr", "last"),
    ),
)


def small_prompter() -> Prompter:
    return Prompter(AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm")))


def small_model(prompter: Prompter, folder: Path) -> VideoLMM:
    """The model, the same each time; its encoder's weights are written to the folder."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    SiglipVisionModel(vision).save_pretrained(folder / "siglip")
    encoder = SiglipEncoder(DESIGN.encoders[0].model_copy(update={"weights": str(folder / "siglip")}))
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(prompter._tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        )
    )
    return VideoLMM(CombinedEncoder([encoder]), PerceiverResampler(RESAMPLER, 16, 32, 2), llm).eval()


def small_corpus(model: VideoLMM, prompter: Prompter) -> Corpus:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 32, 32, 3), np.uint8)
    index = {"v.mp4": (0, 8), "i.png": (8, 1), "j.png": (9, 1)}
    source = Stored(index, np.append(np.arange(8) / 4, [0.0, 0.0]), frames)
    return Corpus(prompter, [VIDEO, IMAGE, TEXT, PAIR], [ITEM], VisualReader(DESIGN, model.encoder, source))


def with_design(corpus: Corpus, design: Design) -> Corpus:
    return replace(corpus, visual=replace(corpus.visual, design=design))


def config(**changes: object) -> TrialConfig:
    return TrialConfig(design=DESIGN, scale="0.15M", seed=0, samples=64).model_copy(update=changes)
