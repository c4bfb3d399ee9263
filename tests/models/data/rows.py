"""Rows of samples with realistic lengths, drawn from a seed: what packing is measured on."""

from __future__ import annotations

import numpy as np

from models.data import RowSize
from models.design import Design, Stage
from models.video import num_clips


def realistic_sizes(design: Design, stage: Stage, count: int, seed: int) -> list[RowSize]:
    """Sizes of training samples: kinds as in the stage's mix, durations of videos log-uniform from 5 to 180 s, 1 to 12
    questions with their answers, each of 15 to 90 tokens."""
    rng = np.random.default_rng(seed)
    mix = design.mix_of(stage)
    kinds = ("text", "image", "multi_image", "video")
    sizes = []
    for kind in rng.choice(kinds, count, p=[getattr(mix, kind) for kind in kinds]):
        text = int(rng.integers(15, 91, rng.integers(1, 13)).sum())
        images = {"text": 0, "image": 1, "multi_image": int(rng.integers(2, 6)), "video": 0}[str(kind)]
        seconds = float(np.exp(rng.uniform(np.log(5), np.log(180))))
        clips = num_clips(seconds, design.sampling, design.clip_frames) if kind == "video" else 0
        visual = clips * design.tokens_per_clip + images * design.tokens_per_image
        sizes.append(RowSize(text + visual, clips * design.clip_frames + images))
    return sizes
