"""Token integration: what stands around the video tokens of each clip (Apollo, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.design import Integration
from models.video import Clip

VIDEO_TOKEN = -1
"""Stands in a list of token ids for one token of the resampler's output."""
IMAGE_TOKEN = -2
"""Likewise for one of an image that has a path of its own."""


def timestamp(seconds: float) -> str:
    """`MM:SS`, minutes going on past 59."""
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
    """Token ids of a video (or of an image, which has no timestamps), with placeholders for visual tokens.

    Args:
        clips: the sampled clips, in order.
        tokens_per_clip: tokens that the resampler makes of each.
        config: which of the four forms.
        encode: text -> token ids, without special tokens of its own.
        is_video: whether time means anything.
        token: the placeholder.
    """
    ids: list[int] = []
    for clip in clips:
        if config.timestamps and is_video:
            ids += encode(f"clip from {timestamp(clip.start_s)}-{timestamp(clip.end_s)}: ")
        start, end = (encode("<vid_start>"), encode("<vid_end>")) if config.separators else ([], [])
        ids += [*start, *[token] * tokens_per_clip, *end]
    return ids
