"""What encoders are pre-trained on: frames of scenes of their own after the H.264 codec, clips of them, and what
both show. No torch here. Legend: `F` frame, `V` video, `B` clip, `N` frame of a clip, `S` slot.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.tiny.files import read_video, write_video
from models.tiny.world import (
    FPS,
    SLOTS,
    WorldSplit,
    frame_times,
    generator,
    make_scene,
    read_slots,
    render,
    shape_places,
    words,
)

Indices = NDArray[np.int64]

CLIP_FRAMES = 4
LONGEST_STEP_S = 4.0
"""Most time between two frames of a clip; the least is one frame of the video, 0.125 s."""
STILL_SHARE, OVERRUN_SHARE = 0.15, 0.1
"""Shares of clips that repeat one frame, as an image's does, and that run over the video's end, whose last
frame they repeat as a last clip does that is not full."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """All frames of some videos, and what they show."""

    frames: NDArray[np.uint8]
    """RGB: (F, H, W, 3)."""
    slots: Indices
    """Indices into the words of `words.SLOTS`: (F, S)."""
    places: NDArray[np.float64]
    """Centres of the warm and the cool thing in px: (F, 2, 2)."""
    first: Indices
    """First frame of each video: (V,)."""
    count: Indices
    """Frames of each video: (V,)."""
    mover: Indices
    """Which thing moves: (V,)."""
    camera: Indices
    """Where the camera pans to, in `words.WAYS`: (V,)."""


@lru_cache(maxsize=2)
def film(split: WorldSplit, num_scenes: int, longest_s: float) -> Footage:
    """Render some videos and send them through the codec; about 1 ms of one core a frame."""
    frames, slots, places, scenes = [], [], [], []
    for i in range(num_scenes):
        scene = make_scene(generator(0, split, i), longest_s)
        times = frame_times(scene)
        file = io.BytesIO()
        write_video(render(scene, times), file)
        file.seek(0)
        frames.append(read_video(file))
        slots.append(read_slots(scene, times))
        places.append(shape_places(scene, times))
        scenes.append(scene)
    count = np.array([len(video) for video in frames])
    return Footage(
        frames=np.concatenate(frames),
        slots=np.concatenate(slots),
        places=np.concatenate(places),
        first=np.cumsum(count) - count,
        count=count,
        mover=np.array([scene.mover for scene in scenes]),
        camera=np.array([scene.camera for scene in scenes]),
    )


def make_frames(split: WorldSplit, num_scenes: int, longest_s: float) -> tuple[NDArray[np.uint8], Indices]:
    """All frames of some videos, after the codec (F, H, W, 3), and what they show (F, S)."""
    footage = film(split, num_scenes, longest_s)
    return footage.frames, footage.slots


# --- clips ----------------------------------------------------------------------------------------------

_LASTING = (0, 1, 4, 5)
"""Slots that are the same in all frames of a clip: colours and shapes."""
_PASSING = tuple(i for i in range(len(SLOTS)) if i not in _LASTING)
WAYS = (*words.WAYS, "none")
PACES_PX = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Bounds between the classes of how far the mover gets from one frame of a clip to the next."""
_STANDS_PX = 0.2
"""What moves less from one frame to the next counts as standing."""


class ClipSlot(NamedTuple):
    """One thing that a clip shows, and how many values it can have."""

    name: str
    values: int


CLIP_SLOTS = (
    *(ClipSlot(SLOTS[i].name, len(SLOTS[i].words)) for i in _LASTING),
    *(ClipSlot(f"{SLOTS[i].name}_{n}", len(SLOTS[i].words)) for n in range(CLIP_FRAMES) for i in _PASSING),
    ClipSlot("mover", 3),  # warm, cool, none
    *(ClipSlot(f"way_{n}", len(WAYS)) for n in range(1, CLIP_FRAMES)),
    ClipSlot("pace", len(PACES_PX) + 1),
    ClipSlot("camera", len(WAYS)),
)
"""What a caption of a clip says. `way_N` is where the mover goes up to frame N. `pace` is px a frame of the clip, not
px a second: an encoder is not told how much time lies between frames."""
MOTION_SLOTS = tuple(range(len(CLIP_SLOTS) - CLIP_FRAMES - 2, len(CLIP_SLOTS)))
SLOT_GROUPS = (
    tuple(range(len(_LASTING))),
    tuple(range(len(_LASTING), MOTION_SLOTS[0])),
    MOTION_SLOTS,
)
"""What lasts, what frames show, what moves."""


class Clips(NamedTuple):
    """Clips by their frames."""

    frames_BN: Indices
    """Into all frames of a footage."""
    video_B: Indices


def draw_clips(footage: Footage, num: int, rng: np.random.Generator, videos: range | None = None) -> Clips:
    """Clips at random times of random videos.

    The time between frames is log-uniform from one frame of the video up to the longest that fits, at most
    `LONGEST_STEP_S`: no rate and no number of frames a video is favoured.
    """
    chosen = videos or range(len(footage.count))
    video = rng.integers(chosen.start, chosen.stop, size=num)
    count = footage.count[video]
    longest = np.minimum((count - 1) // (CLIP_FRAMES - 1), int(LONGEST_STEP_S * FPS))
    step = np.exp(rng.uniform(size=num) * np.log(longest + 1)).astype(np.int64)
    step[rng.random(num) < STILL_SHARE] = 0
    last_start = count - 1 - (CLIP_FRAMES - 1) * step
    start = (rng.random(num) * (last_start + 1)).astype(np.int64)
    over = rng.random(num) < OVERRUN_SHARE
    start = np.where(over, count - 1 - (rng.random(num) * ((CLIP_FRAMES - 1) * step + 1)).astype(np.int64), start)
    within = np.minimum(start[:, None] + step[:, None] * np.arange(CLIP_FRAMES), count[:, None] - 1)
    return Clips(footage.first[video][:, None] + within, video)


def read_clips(footage: Footage, clips: Clips) -> Indices:
    """What clips show, as values of `CLIP_SLOTS`: (B, S)."""
    frames, video = clips
    shown = footage.slots[frames]  # B, N, S
    mover = footage.mover[video]
    way_BN, far_BN = _steps(footage.places[frames, mover[:, None]])
    moves = (way_BN != len(words.WAYS)).any(axis=1)
    going = far_BN > _STANDS_PX
    pace = np.where(going, far_BN, 0).sum(axis=1) / np.maximum(going.sum(axis=1), 1)
    columns = [
        shown[:, 0, _LASTING],
        shown[:, :, _PASSING].reshape(len(video), -1),
        np.where(moves, mover, 2)[:, None],
        way_BN,
        np.searchsorted(PACES_PX, pace)[:, None],
        np.where(frames[:, 0] != frames[:, -1], footage.camera[video], len(words.WAYS))[:, None],
    ]
    return np.concatenate(columns, axis=1).astype(np.int64)


def _steps(places_BN2: NDArray[np.float64]) -> tuple[Indices, NDArray[np.float64]]:
    """Where and how far (px) a thing goes from frame to frame: (B, N - 1) each; the ways are `WAYS`."""
    moved = np.diff(places_BN2, axis=1)
    x, y = moved[..., 0], moved[..., 1]
    way = np.where(np.abs(x) > np.abs(y), np.where(x < 0, 0, 1), np.where(y < 0, 2, 3))
    far = np.abs(moved).max(axis=2)
    return np.where(far > _STANDS_PX, way, len(words.WAYS)), far
