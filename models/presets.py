"""Base designs that a sweep can start from, by name. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from models.design import (
    AdamW,
    AssumedData,
    Design,
    Fps,
    Integration,
    InternVideo2,
    LearningRates,
    Mix,
    Muon,
    Perceiver,
    Siglip,
    Stage,
    TinyData,
    Uniform,
)


@dataclass(frozen=True)
class Preset:
    """A base design and its number of training samples."""

    design: Design
    samples: int
    """Number of training samples of a trial."""


_TINY = Design(
    data=TinyData(kind="tiny"),
    sampling=Uniform(kind="uniform", frames=8),
    encoders=(Siglip(kind="siglip", weights="tiny/image-encoder@2", layer=-2),),
    resampler=Perceiver(kind="perceiver", tokens_per_frame=2, heads=16, head_dim=16, kv_heads=8),
    integration=Integration(),
    schedule=(
        Stage(
            name="align",
            share=6 / 7,
            batch=64,
            mix=Mix(image=1.0),
            lr=LearningRates(connector=2e-2),
            max_questions=6,
        ),
        Stage(
            name="video",
            share=1 / 7,
            batch=16,
            mix=Mix(text=0.05, image=0.15, video=0.8),
            lr=LearningRates(connector=3e-3, llm=5e-3),
            max_questions=8,
        ),
    ),
    optimizer=Muon(kind="muon", weight_decay=0.05),
)

_APOLLO = Design(
    data=AssumedData(kind="assumed", benchmark="apollobench"),
    sampling=Fps(kind="fps", fps=2),
    encoders=(
        InternVideo2(kind="internvideo2", weights="OpenGVLab/InternVideo2-Stage2_1B-224p-f4"),
        Siglip(kind="siglip", weights="google/siglip-so400m-patch14-384"),
    ),
    resampler=Perceiver(kind="perceiver", tokens_per_frame=16),
    mix=Mix(text=0.15, image=0.25, multi_image=0.2, video=0.4),
    schedule=(
        Stage(name="align", share=0.2, batch=256, lr=LearningRates(connector=1e-4), max_questions=100),
        Stage(name="tune", share=0.8, batch=256, lr=LearningRates(connector=1e-4, llm=3e-5), max_questions=100),
    ),
    optimizer=AdamW(kind="adamw"),
)
"""Baseline of the paper's ablations (arXiv 2412.10360): Qwen2.5-3B, InternVideo2 + SigLIP, a Perceiver with 16 tokens
per frame, 2 fps, 750K samples (section 4), plain token integration (Table 1 and Table 2 have the same scores for their
baselines), the LLM's learning rate of Table 12's schedules, 3e-5 (2e-5 in Table 7 is the final 3B model's), AdamW at
batch 256 (Table 7), at most 200 clips as in the paper's fine-tuning. Assumed, since not published:
the two-stage schedule (row 5 of Table 12), its split of the samples, and row 2 of Table 13 as the mix."""

PRESETS: dict[str, Preset] = {
    # Alignment of the resampler on images, then training on the full mix; docs/tiny-study.md has the measurements.
    "tiny": Preset(_TINY, samples=22_750),
    "apollo": Preset(_APOLLO, samples=750_000),
}
