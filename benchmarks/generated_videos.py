"""Trials on generated videos: random frames or stored random features, and a random VideoLMM of real width.

For `gpu_check`. Nothing is decoded: the videos are arrays in memory, read through the same `VisualReader` as others.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.random_models import flops_of, random_llm, sizes_of
from models.cards import EncoderCard, LlmCard, encoder_card
from models.costs import Learning, Load, Model
from models.design import AdamW, Design, Fps, LearningRates, Mix, Perceiver, Siglip, Stage, TrialConfig, Uniform
from models.presets import PRESETS

if TYPE_CHECKING:
    import torch

    from models.architecture import VideoLMM
    from models.data import Corpus, Row
    from models.encoders import CombinedEncoder

WORDS = "what is the first digit of the last number that the red ball shows"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A model and its data."""

    size: str
    """Label of the LLM (`random_models.sizes_of`)."""
    steps: int
    batch: int
    """Samples of a step."""
    seconds: tuple[int, ...]
    """Durations of the videos, equally likely; one frame a second of them is stored."""
    fps: float = 1.0
    questions: int = 6
    side: int = 384
    """Pixels of a side of the encoder's input; a patch has 14, of the tiny one 16."""
    width: int = 1152
    """Width of the encoder's features: SigLIP-SO400M's by default."""
    tokens_per_frame: int = 16

    @property
    def card(self) -> LlmCard:
        """Sizes of the LLM."""
        return sizes_of(self.size)

    @property
    def patch(self) -> int:
        """Pixels of a side of a patch."""
        return 14 if self.side == 384 else 16

    @property
    def design(self) -> Design:
        """Connector and LLM learn, from stored features of one image encoder, by AdamW."""
        stage = Stage(
            name="tune",
            share=1.0,
            batch=self.batch,
            mix=Mix(video=1.0),
            lr=LearningRates(connector=1e-4, llm=1e-5),
        )
        return PRESETS["tiny"].design.model_copy(
            update={
                "sampling": Fps(kind="fps", fps=self.fps) if self.size != "tiny" else Uniform(kind="uniform", frames=2),
                "encoders": (Siglip(kind="siglip", weights="random", layer=-2),),
                "resampler": Perceiver(
                    kind="perceiver", tokens_per_frame=self.tokens_per_frame, heads=8, head_dim=96, kv_heads=4
                ),
                "schedule": (stage,),
                "optimizer": AdamW(kind="adamw"),
            }
        )

    @property
    def trial(self) -> TrialConfig:
        """The trial; its scale only decides the factor of the learning rate."""
        return TrialConfig(design=self.design, scale="0.15M", seed=0, samples=self.batch * self.steps)


def random_encoder(scenario: Scenario) -> tuple[CombinedEncoder, EncoderCard]:
    """An image encoder of two random layers of the real width, whose features are stored, and its card."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from models.encoders import CombinedEncoder, build_encoder

    sizes = SiglipVisionConfig(
        hidden_size=scenario.width,
        intermediate_size=2 * scenario.width,
        num_hidden_layers=2,
        num_attention_heads=max(1, scenario.width // 72),
        image_size=scenario.side,
        patch_size=scenario.patch,
    )
    with tempfile.TemporaryDirectory() as folder:
        SiglipVisionModel(sizes).save_pretrained(folder)
        config = scenario.design.encoders[0].model_copy(update={"weights": folder})
        return CombinedEncoder([build_encoder(config)]), encoder_card(config)


def random_model(scenario: Scenario, device: torch.device) -> tuple[VideoLMM, Model]:
    """The VideoLMM in fp32 on the device, and its sizes for formulas."""
    from models.architecture import VideoLMM, build_resampler

    encoder, card = random_encoder(scenario)
    llm, design = random_llm(scenario.card, device), scenario.design
    resampler = build_resampler(
        design.resampler, encoder.width, scenario.card.hidden, encoder.grid, design.tokens_per_clip
    )
    sizes = Model(
        encoders=(card,),
        takes=(1,),
        resampler=design.resampler,
        grid=encoder.grid,
        tokens_per_clip=design.tokens_per_clip,
        llm=scenario.card,
        has_separators=False,
    )
    return VideoLMM(encoder, resampler, llm).eval(), sizes


def generated_corpus(scenario: Scenario, encoder: CombinedEncoder) -> Corpus:
    """Videos whose stored features are random, with independent questions."""
    from transformers import AutoTokenizer

    from models.data import Corpus, Prompter, TrainingSample, Turn, VisualReader
    from models.video import Medium, Stored
    from models.weights import locate_tokenizer

    rng = np.random.default_rng(0)
    longest = max(scenario.seconds)
    index = {f"{number}.mp4": (0, seconds) for number, seconds in enumerate(scenario.seconds)}
    times = np.arange(longest, dtype=np.float64)
    frames = Stored(index, times, np.zeros((longest, 8, 8, 3), np.uint8))
    different = rng.standard_normal((8, *encoder.grid[1:], encoder.width), np.float32).astype(np.float16)
    features = Stored(index, times, different[np.arange(longest) % len(different)])
    words = WORDS.split()
    samples = []
    for number in range(max(scenario.batch, len(index))):
        path = f"{number % len(index)}.mp4"
        turns = [Turn((" ".join(rng.choice(words, 12).tolist()),), "two four") for _ in range(scenario.questions)]
        turns[0] = replace(turns[0], question=(0, *turns[0].question))
        medium = Medium(path=path, kind="video")
        samples.append(TrainingSample(f"{number}", "video", (medium,), tuple(turns), True))
    prompter = Prompter(AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm")))
    return Corpus(prompter, samples, [], VisualReader(scenario.design, encoder, frames, {0: features}))


def step_rows(scenario: Scenario, corpus: Corpus) -> list[Row]:
    """The rows of a step."""
    rng = np.random.default_rng(0)
    return [corpus.training_row(one, None, rng) for one in corpus.train[: scenario.batch]]


def load_of(rows: list[Row]) -> Load:
    """The mean sample of some rows, for formulas."""
    from models.data import VIDEO_TOKEN

    count = len(rows)
    visual = sum(row.count(VIDEO_TOKEN) for row in rows)
    return Load(
        clips=sum(len(one.clips) for row in rows for one in row.visual) / count,
        visual=visual / count,
        text=(sum(row.length for row in rows) - visual) / count,
        targets=sum(row.num_targets for row in rows) / count,
    )


def model_flops(model: Model, rows: list[Row]) -> float:
    """FLOPs of a step with stored features in which connector and LLM learn: connector by the plan's formula, LLM by
    `llm_step_flops`."""
    connector = model.forward(load_of(rows))["connector"].times(len(rows))
    learned = connector.total + connector.backward(learns=True, upstream=False)
    return learned + flops_of(model.llm, rows)


LEARNING = Learning(vision=False, connector=True, llm=True)
