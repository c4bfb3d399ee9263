"""Sizes of training data: durations of videos, text tokens, numbers of questions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never, get_args

from models.data import Kind, TrainingSample, Turn, dialogue_lengths, load_train, question_text, with_options
from models.design import AssumedData, Data, ManifestData, TinyData

CHARACTERS_PER_TOKEN = 4.0
"""Characters per token of English text with a Qwen tokenizer: assumed, since a plan loads no tokenizer."""
MAX_DURATIONS = 64
"""Most durations that represent the videos of a manifest."""
OPENED_VIDEOS = 16
"""Most videos of a manifest that are opened if its records give no durations."""
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
    dialogues: Mapping[Kind, Mapping[int, int]] = field(default_factory=dict)
    """Kind -> number of turns -> number of conversations whose turns are not independent."""
    timestamp_tokens: int = 16
    """Text tokens of `clip from MM:SS-MM:SS: `; assumed for Qwen's tokenizer."""
    note: str | None = None
    """What is assumed or estimated, in a sentence; None if nothing is."""


@lru_cache(maxsize=64)
def sizes_of(data: Data) -> Sizes:
    """Sizes of the samples of a data set.

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
            return _sizes_of_manifest(data)
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


def _characters(turn: Turn, data: ManifestData) -> tuple[int, int]:
    """Characters of a question and of its answer, as the prompt shows them."""
    if turn.options and data.scoring == "letters":
        return len(question_text(with_options(turn.question, turn.options, data.instruction))), 1
    return len(turn.text), len(turn.answer)


def _sizes_of_manifest(data: ManifestData) -> Sizes:
    folder = Path(data.folder)
    samples = load_train(folder)
    text_tokens: dict[Kind, tuple[float, float]] = {}
    turns: dict[Kind, float] = {}
    for kind in KINDS:
        of_kind: list[TrainingSample] = [sample for sample in samples if sample.kind == kind]
        characters = [_characters(turn, data) for sample in of_kind for turn in sample.turns] or [(0, 0)]
        answer = sum(a for _, a in characters) / len(characters) / CHARACTERS_PER_TOKEN + 1
        question = sum(q for q, _ in characters) / len(characters) / CHARACTERS_PER_TOKEN
        text_tokens[kind] = (question + answer, answer)
        turns[kind] = sum(len(sample.turns) for sample in of_kind) / max(1, len(of_kind))
    albums = [len(sample.media) for sample in samples if sample.kind == "multi_image"] or [0]
    durations, how = _durations(folder, [sample for sample in samples if sample.kind == "video"])
    return Sizes(
        video_s=durations,
        text_tokens=text_tokens,
        turns=turns,
        images=sum(albums) / len(albums),
        dialogues=dialogue_lengths(samples),
        note=f"{folder.name}: text tokens are estimated at {CHARACTERS_PER_TOKEN:g} characters each{how}",
    )


def _quantiles(seconds: list[float]) -> tuple[float, ...]:
    """At most `MAX_DURATIONS` quantiles, with the maximum, which decides the memory."""
    rising = sorted(seconds)
    if len(rising) <= MAX_DURATIONS:
        return tuple(rising)
    return tuple(rising[round(i * (len(rising) - 1) / (MAX_DURATIONS - 1))] for i in range(MAX_DURATIONS))


def _durations(folder: Path, videos: list[Any]) -> tuple[tuple[float, ...], str]:
    """Durations in seconds from the manifest, or from some videos if it lacks any; and a note on their source."""
    from models.video import Decoder, VideoError, duration

    if not videos:
        return (0.0,), ""
    seconds = [sample.duration_s for sample in videos]
    if all(seconds):
        return _quantiles(seconds), ""
    step = max(1, math.ceil(len(videos) / OPENED_VIDEOS))
    measured: list[float] = []
    with Decoder() as decoder:
        for sample in videos[::step]:
            try:
                measured.append(duration(decoder.times(folder / sample.media[0].path)))
            except (VideoError, RuntimeError):  # the trial that reads it reports it; a plan uses the others
                continue
    how = f"; durations are those of {len(measured)} of {len(videos)} videos (give each record a `duration`)"
    return tuple(measured) or (60.0,), how if measured else "; no video could be opened: 60 s each is assumed"
