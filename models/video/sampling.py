"""Which frames of a video are seen: uniform, at a constant rate, in clips. No file is opened here.

Reading is `models/video/decoder.py`; it gives the presentation times that `sample` takes. All is reckoned in
seconds, never in frame numbers, so that a variable frame rate is right. One rule serves both kinds of
sampling: an instant is the middle of the stretch of time for which it stands, and shows the frame that
a viewer would see then, which is the frame begun last.

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
"""Matroska rounds times to 1 ms, decord's are float32: a frame that begins this little after an instant
counts as begun, and a duration that lacks this little counts as whole."""


@dataclass(frozen=True)
class Clip:
    """What an encoder takes at once."""

    frames: tuple[int, ...]
    """Indices into the frames of the video, non-decreasing; a repeated frame is an index repeated."""
    start_s: float
    """Begin of the time that the clip stands for, from the video's first frame."""
    end_s: float
    """End of that time; never past the end of the video."""


def duration(times_s: ArrayLike) -> float:
    """Duration of a video in seconds: its last frame is shown for the median interval of the others.

    Args:
        times_s: presentation times (T,), relative to the first frame.

    Returns:
        Seconds; 0 for a single frame, whose interval nobody knows.

    Raises:
        ValueError: there is no frame, or the times are not finite, do not begin at 0, or fall.
    """
    times_s = _checked(times_s)
    return float(times_s[-1] + np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def num_clips(duration_s: float, sampling: Uniform | Fps, clip_frames: int) -> int:
    """Count the clips that `sample` makes of a video, from its duration alone.

    Uniform: the frames asked for, in clips of `clip_frames`, the last one filled up. Fps: as many as
    hold `duration_s * fps` frames (rounded, at least one frame), the last one filled up, at most
    `max_clips`.

    Raises:
        ValueError: `duration_s` is negative or not finite, or `clip_frames` is below 1.
    """
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise ValueError(f"a video's duration must be finite and at least 0 s, not {duration_s}")
    wanted = _clips_wanted(duration_s, sampling, clip_frames)
    return min(wanted, sampling.max_clips) if isinstance(sampling, Fps) else wanted


def sample(times_s: ArrayLike, sampling: Uniform | Fps, clip_frames: int) -> list[Clip]:
    """Choose the frames of a video.

    Uniform: the centres of equal spans of the duration, so that one frame is the centre frame; a video
    of fewer frames repeats some. A last clip that is not full repeats its last frame.

    Fps: clips follow each other from the start; instants past the end of the video repeat its last
    frame. A video that needs more than `max_clips` gets `max_clips` clips, each at the centre of one
    of as many equal spans; the rate inside a clip is unchanged (Apollo, section 4.1).

    Args:
        times_s: presentation times of all frames (T,) in seconds, relative to the first.
        sampling: how to choose.
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
    shown_CN = np.searchsorted(times_s, instants_CN + TOLERANCE_S, side="right") - 1
    return [
        Clip(tuple(frames), start_s, end_s)
        for frames, start_s, end_s in zip(
            shown_CN.tolist(), starts_C.tolist(), np.minimum(ends_C, duration_s).tolist(), strict=True
        )
    ]


def image_clip(clip_frames: int) -> Clip:
    """Return the clip of an image: its one frame repeated, at no time (Apollo's unified path).

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
        raise ValueError(f"presentation times must be relative to the first frame, not begin at {times_s[0]} s")
    if (np.diff(times_s) < 0).any():
        raise ValueError("presentation times must not fall")
    return times_s


def _check_clip_frames(clip_frames: int) -> None:
    if clip_frames < 1:
        raise ValueError(f"clip_frames must be at least 1, not {clip_frames}")


def _clips_wanted(duration_s: float, sampling: Uniform | Fps, clip_frames: int) -> int:
    """Count the clips that hold every frame asked for, whatever `max_clips` says."""
    _check_clip_frames(clip_frames)
    match sampling:
        case Uniform():
            frames = sampling.frames
        case Fps():
            # A frame stands for 1 / fps seconds; it is taken if its middle lies in the video.
            frames = max(1, math.floor((duration_s + TOLERANCE_S) * sampling.fps + 0.5))
        case _:
            assert_never(sampling)
    return -(-frames // clip_frames)


def _uniform(duration_s: float, sampling: Uniform, clip_frames: int) -> tuple[Seconds, Seconds, Seconds]:
    """Return instants (C, N), starts (C,) and ends (C,) of the clips."""
    clips = num_clips(duration_s, sampling, clip_frames)
    span_s = duration_s / sampling.frames
    frames_CN = np.minimum(np.arange(clips * clip_frames), sampling.frames - 1).reshape(clips, clip_frames)
    starts_C = frames_CN[:, 0] * span_s
    ends_C = (frames_CN[:, -1] + 1) * span_s
    return (frames_CN + 0.5) * span_s, starts_C, ends_C


def _fps(duration_s: float, sampling: Fps, clip_frames: int) -> tuple[Seconds, Seconds, Seconds]:
    """Return instants (C, N), starts (C,) and ends (C,) of the clips; both may lie past the video's end."""
    clips = num_clips(duration_s, sampling, clip_frames)
    length_s = clip_frames / sampling.fps
    if clips == _clips_wanted(duration_s, sampling, clip_frames):
        starts_C = np.arange(clips) * length_s
    else:
        starts_C = (np.arange(clips) + 0.5) * (duration_s / clips) - length_s / 2
    instants_CN = starts_C[:, None] + (np.arange(clip_frames) + 0.5) / sampling.fps
    return instants_CN, starts_C, starts_C + length_s
