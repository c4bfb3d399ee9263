"""Token integration: text around the visual tokens of each clip (Apollo, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.design import Integration
from models.video import Clip

VIDEO_TOKEN = -1
"""Placeholder in a list of token ids for one token of the resampler's output."""
IMAGE_TOKEN = -2
"""The same for an image on a separate image path."""
START_TOKEN, END_TOKEN = -3, -4
"""Placeholders of `<vid_start>` and `<vid_end>`, whose embeddings belong to the connector: they are no tokens of the
LLM, so no text contains them and no answer consists of them."""


def timestamp(seconds: float) -> str:
    """`MM:SS`, with minutes above 59 for an hour or more."""
    whole = int(seconds)
    return f"{whole // 60:02d}:{whole % 60:02d}"


def splice(
    clips: Sequence[Clip],
    tokens_per_clip: int,
    config: Integration,
    encode: Callable[[str], list[int]],
    *,
    is_video: bool = True,
    token: int = VIDEO_TOKEN,
) -> list[int]:
    """Token ids of a video, or of an image, which gets no timestamps, with placeholders for visual tokens.

    Args:
        clips: the sampled clips, in order.
        tokens_per_clip: number of visual tokens of each clip.
        config: separators and timestamps.
        encode: text -> token ids, without adding special tokens.
        is_video: whether timestamps apply.
        token: placeholder of a visual token.
    """
    ids: list[int] = []
    for clip in clips:
        if config.timestamps and is_video:
            ids += encode(f"clip from {timestamp(clip.start_s)}-{timestamp(clip.end_s)}: ")
        start, end = ([START_TOKEN], [END_TOKEN]) if config.separators else ([], [])
        ids += [*start, *[token] * tokens_per_clip, *end]
    return ids
