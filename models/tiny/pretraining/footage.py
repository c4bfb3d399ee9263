"""Data for the pre-training of encoders: frames after the H.264 codec, clips of them, and the content of both.

The scenes are those of separate splits. No torch here. Legend: `F` frame, `V` video, `B` clip, `N` frame of a clip, `S`
slot.
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
    shape_centres,
    words,
)

Indices = NDArray[np.int64]

CLIP_FRAMES = 4
LONGEST_STEP_S = 4.0
"""Longest time between two frames of a clip; the shortest is one frame of the video, 0.125 s."""
STILL_SHARE, OVERRUN_SHARE = 0.15, 0.1
"""Share of clips that repeat one frame, like the clip of an image; share of clips that run past the end of the video
and repeat its last frame, like a last clip that is not full."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """All frames of some videos, and their content."""

    frames: NDArray[np.uint8]
    """RGB: (F, H, W, 3)."""
    slots: Indices
    """Indices into the words of `words.SLOTS`: (F, S)."""
    centres: NDArray[np.float64]
    """Centres of the warm and the cool thing in px: (F, 2, 2)."""
    first: Indices
    """Index of the first frame of each video: (V,)."""
    count: Indices
    """Number of frames of each video: (V,)."""
    mover: Indices
    """The thing that moves, 0: warm, 1: cool: (V,)."""
    camera: Indices
    """Direction of the camera, in `words.WAYS`: (V,)."""


@lru_cache(maxsize=2)
def film(split: WorldSplit, num_scenes: int, longest_s: float) -> Footage:
    """Render videos, then encode and decode them; about 1 ms per frame on one core."""
    frames, slots, centres, scenes = [], [], [], []
    for i in range(num_scenes):
        scene = make_scene(generator(0, split, i), longest_s)
        times = frame_times(scene)
        file = io.BytesIO()
        write_video(render(scene, times), file)
        file.seek(0)
        frames.append(read_video(file))
        slots.append(read_slots(scene, times))
        centres.append(shape_centres(scene, times))
        scenes.append(scene)
    count = np.array([len(video) for video in frames])
    return Footage(
        frames=np.concatenate(frames),
        slots=np.concatenate(slots),
        centres=np.concatenate(centres),
        first=np.cumsum(count) - count,
        count=count,
        mover=np.array([scene.mover for scene in scenes]),
        camera=np.array([scene.camera for scene in scenes]),
    )


def make_frames(split: WorldSplit, num_scenes: int, longest_s: float) -> tuple[NDArray[np.uint8], Indices]:
    """All frames of some videos after the codec (F, H, W, 3), and their slots (F, S)."""
    footage = film(split, num_scenes, longest_s)
    return footage.frames, footage.slots


# --- clips ----------------------------------------------------------------------------------------------

_CONSTANT = (0, 1, 4, 5)
"""Slots with the same value in all frames of a clip: colours and shapes."""
_VARYING = tuple(i for i in range(len(SLOTS)) if i not in _CONSTANT)
WAYS = (*words.WAYS, "none")
PACES_PX = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Bounds between the classes of the mover's displacement from one frame of a clip to the next."""
_STILL_PX = 0.2
"""Displacement from one frame to the next below which a thing counts as still."""


class ClipSlot(NamedTuple):
    """One attribute of a clip, and the number of its values."""

    name: str
    values: int


CLIP_SLOTS = (
    *(ClipSlot(SLOTS[i].name, len(SLOTS[i].words)) for i in _CONSTANT),
    *(ClipSlot(f"{SLOTS[i].name}_{n}", len(SLOTS[i].words)) for n in range(CLIP_FRAMES) for i in _VARYING),
    ClipSlot("mover", 3),  # warm, cool, none
    *(ClipSlot(f"way_{n}", len(WAYS)) for n in range(1, CLIP_FRAMES)),
    ClipSlot("pace", len(PACES_PX) + 1),
    ClipSlot("camera", len(WAYS)),
)
"""Attributes in the caption of a clip. `way_N` is the direction of the mover up to frame N. `pace` is in px per frame
of the clip, not px per second, since an encoder does not get the time between frames."""
MOTION_SLOTS = tuple(range(len(CLIP_SLOTS) - CLIP_FRAMES - 2, len(CLIP_SLOTS)))
SLOT_GROUPS = (
    tuple(range(len(_CONSTANT))),
    tuple(range(len(_CONSTANT), MOTION_SLOTS[0])),
    MOTION_SLOTS,
)
"""Slots that are constant in a clip, slots of single frames, slots of motion."""


class Clips(NamedTuple):
    """Clips as indices of frames."""

    frames_BN: Indices
    """Indices into all frames of a footage."""
    video_B: Indices
    """Index of the video of each clip."""


def draw_clips(footage: Footage, num: int, rng: np.random.Generator, videos: range | None = None) -> Clips:
    """Clips at random times of random videos, or of the videos of a range.

    The time between frames is log-uniform from one frame of the video to the longest that fits, at most
    `LONGEST_STEP_S`, so that no frame rate and no number of frames per video is favoured.
    """
    indices = videos or range(len(footage.count))
    video = rng.integers(indices.start, indices.stop, size=num)
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
    """Values of `CLIP_SLOTS` for clips: (B, S)."""
    frames, video = clips
    slots_BNS = footage.slots[frames]
    mover = footage.mover[video]
    way_BN, far_BN = _steps(footage.centres[frames, mover[:, None]])
    moves = (way_BN != len(words.WAYS)).any(axis=1)
    going = far_BN > _STILL_PX
    pace = np.where(going, far_BN, 0).sum(axis=1) / np.maximum(going.sum(axis=1), 1)
    columns = [
        slots_BNS[:, 0, _CONSTANT],
        slots_BNS[:, :, _VARYING].reshape(len(video), -1),
        np.where(moves, mover, 2)[:, None],
        way_BN,
        np.searchsorted(PACES_PX, pace)[:, None],
        np.where(frames[:, 0] != frames[:, -1], footage.camera[video], len(words.WAYS))[:, None],
    ]
    return np.concatenate(columns, axis=1).astype(np.int64)


def _steps(centres_BN2: NDArray[np.float64]) -> tuple[Indices, NDArray[np.float64]]:
    """Direction (in `WAYS`) and displacement (px) of a thing from frame to frame: (B, N - 1) each."""
    moved = np.diff(centres_BN2, axis=1)
    x, y = moved[..., 0], moved[..., 1]
    way = np.where(np.abs(x) > np.abs(y), np.where(x < 0, 0, 1), np.where(y < 0, 2, 3))
    far = np.abs(moved).max(axis=2)
    return np.where(far > _STILL_PX, way, len(words.WAYS)), far
