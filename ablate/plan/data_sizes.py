"""Sizes of training data: durations of videos, text tokens, numbers of questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from ablate.paths import cache_root
from ablate.plan.video_durations import video_durations
from models.data import (
    Kind,
    TrainingIndex,
    dialogue_lengths,
    facts_stamp,
    letters_characters,
    load_facts,
    open_records,
    open_training,
)
from models.design import AssumedData, Data, ManifestData, TinyData

CHARACTERS_PER_TOKEN = 4.0
"""Characters per token of English text with a Qwen tokenizer: assumed, since a plan loads no tokenizer."""
MAX_DURATIONS = 64
"""Most durations that represent the videos of a manifest."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the samples of a data set, for plans."""

    video_s: tuple[float, ...]
    """Durations of videos in seconds, equally likely."""
    text_tokens: dict[Kind, tuple[float, float]]
    """Kind -> text tokens of a question with its answer, and of the answer alone."""
    turns: dict[Kind, float]
    """Kind -> questions per sample."""
    images: float
    """Images per sample of kind `multi_image`."""
    videos: float = 1.0
    """Videos per sample of kind `video`."""
    dialogues: Mapping[Kind, Mapping[int, int]] = field(default_factory=dict)
    """Kind -> number of turns -> number of conversations whose turns are not independent."""
    timestamp_tokens: int = 16
    """Text tokens of `clip from MM:SS-MM:SS: `; assumed for Qwen's tokenizer."""
    note: str | None = None
    """What is assumed or estimated, in a sentence; None if nothing is."""


def sizes_of(data: Data) -> Sizes:
    """Sizes of the samples of a data set; computed once for each content, and for each check of its media.

    Raises:
        ManifestError: a manifest is missing or wrong.
    """
    match data:
        case TinyData():
            return TINY
        case AssumedData():
            tokens = (data.text_tokens, data.text_tokens / 2)
            return Sizes(
                video_s=data.video_s,
                text_tokens=dict.fromkeys(KINDS, tokens),
                turns=dict.fromkeys(KINDS, 1.0),
                images=data.images,
                note=f"{data.benchmark}: durations ({', '.join(f'{s:g}' for s in data.video_s)} s, equally likely) and "
                f"{data.text_tokens} text tokens a sample, half of them targets, are assumed",
            )
        case ManifestData():
            return _sizes_of_manifest(data, facts_stamp(Path(data.folder), cache_root()))
        case _:
            assert_never(data)


def _tiny_durations() -> tuple[float, ...]:
    """64 quantiles of the distribution in models/tiny/world/scene.py: log-uniform from 2 to 16 s, in eighths."""
    return tuple(round(2 * 8 ** ((i + 0.5) / 64) * 8) / 8 for i in range(64))


TINY = Sizes(
    video_s=_tiny_durations(),
    text_tokens={"text": (123.7, 2.0), "image": (10.4, 2.7), "multi_image": (11.7, 2.0), "video": (10.5, 2.0)},
    turns={"text": 1.0, "image": 7.4, "multi_image": 20.0, "video": 13.0},
    images=2.5,
    timestamp_tokens=14,
)
"""Sizes of the embedded study, counted with its tokenizer on world seed 1."""


@lru_cache(maxsize=64)
def _sizes_of_manifest(data: ManifestData, _checked: tuple[int, ...]) -> Sizes:
    folder, cache = Path(data.folder), cache_root()
    index = open_records(folder, cache, data.max_bad).train if data.max_bad else open_training(folder, cache)
    all_questions, all_answers = _characters(index, data)
    text_tokens: dict[Kind, tuple[float, float]] = {}
    turns: dict[Kind, float] = {}
    for kind in KINDS:
        of_kind = index.of_kind(kind)
        num_turns, question, answer = (
            float(column[of_kind].sum()) for column in (index.column("turns"), all_questions, all_answers)
        )
        answer_tokens = answer / max(1.0, num_turns) / CHARACTERS_PER_TOKEN + 1
        text_tokens[kind] = (question / max(1.0, num_turns) / CHARACTERS_PER_TOKEN + answer_tokens, answer_tokens)
        turns[kind] = num_turns / max(1, len(of_kind))
    num_media = np.bincount(index.media_of_records()[0], minlength=len(index))
    albums, videos = (num_media[index.of_kind(kind)] for kind in ("multi_image", "video"))
    durations, how = video_durations(index, load_facts(folder, cache))
    return Sizes(
        video_s=_quantiles(durations),
        text_tokens=text_tokens,
        turns=turns,
        images=float(albums.mean()) if len(albums) else 0.0,
        videos=float(videos.mean()) if len(videos) else 1.0,
        dialogues=dialogue_lengths(index),
        note=f"{folder.name}: text tokens are estimated at {CHARACTERS_PER_TOKEN:g} characters each{how}",
    )


def _characters(index: TrainingIndex, data: ManifestData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Characters of all questions and of all answers of each record, as the prompt shows them."""
    questions, answers = index.column("question_characters"), index.column("answer_characters")
    if data.scoring == "text":
        return questions, answers
    choices = index.column("choices")
    listed = letters_characters(index.column("options"), choices, data.instruction)
    questions = questions + index.column("option_characters") + listed
    return questions, answers - index.column("chosen_characters") + choices


def _quantiles(seconds: NDArray[np.float64]) -> tuple[float, ...]:
    """At most `MAX_DURATIONS` quantiles, with the maximum, which decides the memory."""
    rising = np.sort(seconds)
    if len(rising) > MAX_DURATIONS:
        rising = rising[np.round(np.linspace(0, len(rising) - 1, MAX_DURATIONS)).astype(int)]
    return tuple(rising.tolist())
