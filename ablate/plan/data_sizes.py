"""Sizes of training and test data: durations of videos, text tokens, numbers of questions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never, get_args

from models.data import Kind, Record, load_train
from models.design import AssumedData, Data, ManifestData, TinyData

CHARACTERS_PER_TOKEN = 4.0
"""Of English text with a Qwen tokenizer: assumed, for manifests, whose tokenizer a plan does not load."""
MOST_DURATIONS = 64
PROBED = 16
"""Videos of a manifest that are opened where it does not say how long they are."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a plan knows of the data."""

    video_s: tuple[float, ...]
    """Durations, equally likely."""
    asked: dict[Kind, tuple[float, float]]
    """Kind -> text tokens of a question and its answer, and those of the answer."""
    turns: dict[Kind, float]
    """Kind -> questions of a record."""
    images: float
    """Of a record of several."""
    timestamp_tokens: int = 16
    """Text tokens of `clip from MM:SS-MM:SS: `; with Qwen's tokenizer, assumed."""
    separator_tokens: int = 8
    """Text tokens of both separators; with Qwen's tokenizer, assumed."""
    note: str | None = None


# --- what is known of the data ---------------------------------------------------------------------------


@lru_cache(maxsize=64)
def sizes_of(data: Data) -> Sizes:
    """Durations and lengths of the samples of some data."""
    match data:
        case TinyData():
            return TINY
        case AssumedData():
            asked = (data.text_tokens, data.text_tokens / 2)
            return Sizes(
                video_s=data.video_s,
                asked=dict.fromkeys(KINDS, asked),
                turns=dict.fromkeys(KINDS, 1.0),
                images=data.images,
                note=f"{data.benchmark}: durations ({', '.join(f'{s:g}' for s in data.video_s)} s, equally likely) and "
                f"{data.text_tokens} text tokens a sample, half of them learned, are assumed",
            )
        case ManifestData():
            return _of_manifest(Path(data.folder))
        case _:
            assert_never(data)


def _tiny_durations() -> tuple[float, ...]:
    """The law of models/tiny/world/scene.py: log-uniform from 2 to 16 s, in eighths; 64 quantiles."""
    return tuple(round(2 * 8 ** ((i + 0.5) / 64) * 8) / 8 for i in range(64))


TINY = Sizes(
    video_s=_tiny_durations(),
    asked={"text": (123.7, 2.0), "image": (10.4, 2.7), "multi_image": (11.7, 2.0), "video": (10.5, 2.0)},
    turns={"text": 1.0, "image": 7.4, "multi_image": 20.0, "video": 13.0},
    images=2.5,
    timestamp_tokens=14,
    separator_tokens=2,
)
"""Of the embedded study, counted with its tokenizer on world seed 1."""


def _of_manifest(folder: Path) -> Sizes:
    records = load_train(folder)
    asked: dict[Kind, tuple[float, float]] = {}
    turns: dict[Kind, float] = {}
    for kind in KINDS:
        own: list[Record] = [record for record in records if record.kind == kind]
        said = [(len(q), len(a)) for record in own for q, a in record.turns] or [(0, 0)]
        answer = sum(a for _, a in said) / len(said) / CHARACTERS_PER_TOKEN + 1
        asked[kind] = (sum(q for q, _ in said) / len(said) / CHARACTERS_PER_TOKEN + answer, answer)
        turns[kind] = sum(len(record.turns) for record in own) / max(1, len(own))
    several = [len(record.media) for record in records if record.kind == "multi_image"] or [0]
    durations, how = _durations(folder, [record for record in records if record.kind == "video"])
    return Sizes(
        video_s=durations,
        asked=asked,
        turns=turns,
        images=sum(several) / len(several),
        note=f"{folder.name}: text tokens are reckoned at {CHARACTERS_PER_TOKEN:g} characters each{how}",
    )


def _quantiles(seconds: list[float]) -> tuple[float, ...]:
    """At most 64 that stand for all, the longest among them: memory goes by it."""
    rising = sorted(seconds)
    if len(rising) <= MOST_DURATIONS:
        return tuple(rising)
    return tuple(rising[round(i * (len(rising) - 1) / (MOST_DURATIONS - 1))] for i in range(MOST_DURATIONS))


def _durations(folder: Path, videos: list[Any]) -> tuple[tuple[float, ...], str]:
    """Durations as the manifest tells them; where it does not, of some videos that are opened."""
    from models.video import Decoder, VideoError, duration

    if not videos:
        return (0.0,), ""
    told = [record.duration_s for record in videos]
    if all(told):
        return _quantiles(told), ""
    step = max(1, math.ceil(len(videos) / PROBED))
    found: list[float] = []
    with Decoder() as decoder:
        for record in videos[::step]:
            try:
                found.append(duration(decoder.times(folder / record.media[0])))
            except (VideoError, RuntimeError):  # a trial that meets it says so; a plan looks at the others
                continue
    how = f"; durations are those of {len(found)} of {len(videos)} videos (give records a `duration`)"
    return tuple(found) or (60.0,), how if found else "; no video could be opened: 60 s each is assumed"
