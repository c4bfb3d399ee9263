"""Sampling of frames: a uniform number or a constant rate, in clips. No file is opened here.

`models/video/decoder.py` reads frames and the presentation times that `sample` takes. Everything is computed in
seconds, never in frame numbers, so that variable frame rates are correct. Both kinds of sampling have one rule: an
instant is the middle of the span of time that it represents, and its frame is the one on display then, which is the
last that has begun.

Legend: T frames of the video, C clips, N frames of one clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import numpy as np

from models.design import Fps, Uniform

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike, NDArray

    Seconds = NDArray[np.floating[Any]]

TOLERANCE_S = 1e-3
"""Matroska rounds times to 1 ms, and decord's are float32: a frame that begins at most this long after an instant
counts as begun, and a duration that is shorter by at most this counts as whole."""


@dataclass(frozen=True)
class Clip:
    """Frames that an encoder takes at once."""

    frames: tuple[int, ...]
    """Indices into the frames of the video, non-decreasing; a repeated frame is an index repeated."""
    start_s: float
    """Start of the span of time that the clip represents, from the video's first frame."""
    end_s: float
    """End of that span; never past the end of the video."""


def duration(times_s: ArrayLike) -> float:
    """Duration of a video in seconds: its last frame is taken to last for the median interval of the others.

    Args:
        times_s: presentation times (T,), relative to the first frame.

    Returns:
        Seconds; 0 for a single frame, whose interval is unknown.

    Raises:
        ValueError: there is no frame, or the times are not finite, do not start at 0, or decrease.
    """
    times_s = _checked(times_s)
    return float(times_s[-1] + np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def num_clips(duration_s: float, sampling: Uniform | Fps, clip_frames: int) -> int:
    """Number of clips that `sample` makes of a video, from its duration alone.

    Uniform: clips of `clip_frames` frames for all requested frames, the last one filled up. Fps: clips for
    `duration_s * fps` frames (rounded, at least one frame), the last one filled up, at most `max_clips`.

    Raises:
        ValueError: `duration_s` is negative or not finite, or `clip_frames` is below 1.
    """
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise ValueError(f"a video's duration must be finite and at least 0 s, not {duration_s}")
    clips = _all_clips(duration_s, sampling, clip_frames)
    return min(clips, sampling.max_clips) if isinstance(sampling, Fps) else clips


def sample(times_s: ArrayLike, sampling: Uniform | Fps, clip_frames: int) -> list[Clip]:
    """Choose the frames of a video.

    Uniform: the centres of equal spans of the duration, so that one frame is the centre frame; videos
    of fewer frames repeat some. A last clip that is not full repeats its last frame.

    Fps: clips are consecutive from the start; instants past the end of the video repeat its last
    frame. A video that needs more than `max_clips` clips has `max_clips`, each at the centre of one
    of as many equal spans; the rate inside a clip is unchanged (Apollo, section 4.1).

    Args:
        times_s: presentation times of all frames (T,) in seconds, relative to the first.
        sampling: the design's sampling.
        clip_frames: frames of one clip, set by the encoder.

    Returns:
        `num_clips(duration(times_s), sampling, clip_frames)` clips of `clip_frames` indices into `times_s`.

    Raises:
        ValueError: as `duration`, or `clip_frames` is below 1.
    """
    times_s = _checked(times_s)
    duration_s = duration(times_s)
    match sampling:
        case Uniform():
            instants_CN, starts_C, ends_C = _uniform(duration_s, sampling, clip_frames)
        case Fps():
            instants_CN, starts_C, ends_C = _fps(duration_s, sampling, clip_frames)
        case _:
            assert_never(sampling)
    frames_CN = np.searchsorted(times_s, instants_CN + TOLERANCE_S, side="right") - 1
    return [
        Clip(tuple(frames), start_s, end_s)
        for frames, start_s, end_s in zip(
            frames_CN.tolist(), starts_C.tolist(), np.minimum(ends_C, duration_s).tolist(), strict=True
        )
    ]


def image_clip(clip_frames: int) -> Clip:
    """The clip of an image: its one frame repeated, with a span of 0 s (Apollo's unified path).

    Raises:
        ValueError: `clip_frames` is below 1.
    """
    _check_clip_frames(clip_frames)
    return Clip((0,) * clip_frames, 0.0, 0.0)


def _checked(times_s: ArrayLike) -> NDArray[np.float64]:
    times_s = np.asarray(times_s, dtype=np.float64)
    if times_s.ndim != 1 or times_s.size == 0:
        raise ValueError(f"presentation times must be of shape (T,) with T at least 1, not {times_s.shape}")
    if not np.isfinite(times_s).all():
        raise ValueError("presentation times must be finite")
    if times_s[0] != 0:
        raise ValueError(f"presentation times must be relative to the first frame, not start at {times_s[0]} s")
    if (np.diff(times_s) < 0).any():
        raise ValueError("presentation times must not decrease")
    return times_s


def _check_clip_frames(clip_frames: int) -> None:
    if clip_frames < 1:
        raise ValueError(f"clip_frames must be at least 1, not {clip_frames}")


def _all_clips(duration_s: float, sampling: Uniform | Fps, clip_frames: int) -> int:
    """Number of clips for all frames, without the limit `max_clips`."""
    _check_clip_frames(clip_frames)
    match sampling:
        case Uniform():
            frames = sampling.frames
        case Fps():
            # A frame represents 1 / fps seconds; it is sampled if their middle lies in the video.
            frames = max(1, math.floor((duration_s + TOLERANCE_S) * sampling.fps + 0.5))
        case _:
            assert_never(sampling)
    return -(-frames // clip_frames)


def _uniform(duration_s: float, sampling: Uniform, clip_frames: int) -> tuple[Seconds, Seconds, Seconds]:
    """Instants (C, N), starts (C,) and ends (C,) of the clips in seconds."""
    clips = num_clips(duration_s, sampling, clip_frames)
    span_s = duration_s / sampling.frames
    frames_CN = np.minimum(np.arange(clips * clip_frames), sampling.frames - 1).reshape(clips, clip_frames)
    starts_C = frames_CN[:, 0] * span_s
    ends_C = (frames_CN[:, -1] + 1) * span_s
    return (frames_CN + 0.5) * span_s, starts_C, ends_C


def _fps(duration_s: float, sampling: Fps, clip_frames: int) -> tuple[Seconds, Seconds, Seconds]:
    """Instants (C, N), starts (C,) and ends (C,) of the clips in seconds; all may lie past the video's end."""
    clips = num_clips(duration_s, sampling, clip_frames)
    length_s = clip_frames / sampling.fps
    if clips == _all_clips(duration_s, sampling, clip_frames):
        starts_C = np.arange(clips) * length_s
    else:
        starts_C = (np.arange(clips) + 0.5) * (duration_s / clips) - length_s / 2
    instants_CN = starts_C[:, None] + (np.arange(clip_frames) + 0.5) / sampling.fps
    return instants_CN, starts_C, starts_C + length_s
