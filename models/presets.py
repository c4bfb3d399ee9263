"""Base designs that a sweep can start from, by name. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from models.design import (
    Design,
    Integration,
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
    """A base design and the budget that it is meant for."""

    design: Design
    samples: int
    """Training samples of a trial."""


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

PRESETS: dict[str, Preset] = {
    # Alignment of the resampler on images, then training on the full mix: recipe measured in docs/tiny-study.md.
    "tiny": Preset(_TINY, samples=22_750),
}
