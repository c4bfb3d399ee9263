"""Scenes of the embedded study: events of a video, and the content of its frames.

The times of events are continuous and random, not aligned to any sampling grid. Scene i of a split depends only on
(world seed, split, i). Legend: `T` frame, `S` slot, `H`, `W` pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words

Floats = NDArray[np.float64]
WorldSplit = Literal["train", "test", "image", "text", "pretrain", "heldout", "multi_image"]
_SPLITS: tuple[WorldSplit, ...] = ("train", "test", "image", "text", "pretrain", "heldout", "multi_image")
"""The index of a split in this tuple seeds its stream: new splits go to the end."""

SIZE = 32
"""Width and height of a frame in px."""
FPS = 8.0
SHORTEST_S, LONGEST_S = 2.0, 16.0
"""Range of the durations of videos in s."""
RIGHT, BOTTOM = 28.0, 28.0
LEFT, TOP = 4.0, 12.0
"""Box in px that contains the centres of shapes: below the corners of the digit and the lamp."""
MIDDLE_X, MIDDLE_Y = 16.0, 20.0
LANE_MARGIN = 3.5
"""Distance in px of the mover's lane and of the still shape from the middle, on opposite sides, so that they never
overlap (shapes are about 7 px wide)."""
SPEEDS_PX_S = (1.5, 3.0, 6.0, 11.0)
SUN_PERIOD = 36.0
"""Period of the panorama in px; the sun is out of view for a ninth of a period."""
CAMERA_PX_S = (1.5, 5.0)


@dataclass(frozen=True, kw_only=True)
class Flash:
    """One flash of the lamp."""

    start_s: float
    length_s: float
    color: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The content of a video. Indices point into the pools of `words`."""

    duration_s: float
    colors: tuple[int, int]
    """Colours of the warm and of the cool shape, in `words.COLORS`."""
    shapes: tuple[int, int]
    mover: int
    """0: the warm shape moves, 1: the cool one."""
    axis: int
    """0: the mover moves back and forth along x, 1: along y."""
    lane: float
    """The mover's other coordinate, px."""
    end: float
    """The mover's coordinate along its axis at the end of the video, px."""
    heading: int
    """Direction of the mover at the end of the video, +1 or -1."""
    speed: int
    still: tuple[float, float]
    digits: tuple[int, ...]
    digit_starts_s: tuple[float, ...]
    flashes: tuple[Flash, ...]
    camera: int
    """Direction of the pan, in `words.WAYS`."""
    camera_px_s: float
    sun: tuple[float, float]
    """Position of the sun on the panorama at time 0, px from the corner of the view."""
    waves: Floats
    """(wave, 5): wave vector x, y (rad/px), phase, amplitude, colour channel's weight shift."""

    @property
    def num_frames(self) -> int:
        """Number of frames of the video at `FPS`."""
        return round(self.duration_s * FPS)


def generator(world_seed: int, split: WorldSplit, index: int) -> np.random.Generator:
    """Random generator of one item; those of different items are independent."""
    return np.random.default_rng([world_seed, _SPLITS.index(split), index])


def make_scene(rng: np.random.Generator, longest_s: float = LONGEST_S) -> Scene:
    """Draw a scene; every answer is uniform over its pool (tests/models/tiny/world/test_questions.py)."""
    duration = float(np.exp(rng.uniform(np.log(SHORTEST_S), np.log(longest_s))))
    duration = max(1, round(duration * FPS)) / FPS
    axis, below, right = (int(bit) for bit in rng.integers(2, size=3))
    end_xy = _draw_end(rng, axis, below, right)
    still_xy = _draw_still(rng, axis, below, right)
    shapes = rng.choice(len(words.SHAPES), size=2, replace=False)
    camera = int(rng.integers(len(words.WAYS)))
    digits = rng.choice(10, size=int(rng.integers(2, 5)), replace=False)
    return Scene(
        duration_s=duration,
        colors=(int(rng.integers(3)), 3 + int(rng.integers(3))),
        shapes=(int(shapes[0]), int(shapes[1])),
        mover=int(rng.integers(2)),
        axis=axis,
        lane=end_xy[1 - axis],
        end=end_xy[axis],
        heading=int(rng.choice([-1, 1])),
        speed=int(rng.integers(len(SPEEDS_PX_S))),
        still=still_xy,
        digits=tuple(int(digit) for digit in digits),
        digit_starts_s=tuple(_starts(rng, len(digits), duration, 0.12 * duration)),
        flashes=_make_flashes(rng, duration),
        camera=camera,
        camera_px_s=float(np.exp(rng.uniform(*np.log(CAMERA_PX_S)))),
        sun=_draw_sun(rng, camera),
        waves=_make_waves(rng),
    )


def _draw_end(rng: np.random.Generator, axis: int, below: int, right: int) -> tuple[float, float]:
    """The mover's centre at the end: at least the lane's margin from the middle across its axis, 2 px along it."""
    margins = (2.0, LANE_MARGIN) if axis == 0 else (LANE_MARGIN, 2.0)
    x = rng.uniform(MIDDLE_X + margins[0], RIGHT) if right else rng.uniform(LEFT, MIDDLE_X - margins[0])
    y = rng.uniform(MIDDLE_Y + margins[1], BOTTOM) if below else rng.uniform(TOP, MIDDLE_Y - margins[1])
    return float(x), float(y)


def _draw_still(rng: np.random.Generator, axis: int, below: int, right: int) -> tuple[float, float]:
    """Centre of the still shape: across the middle from the mover's lane, in either half along the mover's axis."""
    other = int(rng.integers(2))
    right, below = (other, 1 - below) if axis == 0 else (1 - right, other)
    x = rng.uniform(MIDDLE_X + LANE_MARGIN, RIGHT) if right else rng.uniform(LEFT, MIDDLE_X - LANE_MARGIN)
    y = rng.uniform(MIDDLE_Y + LANE_MARGIN, BOTTOM) if below else rng.uniform(TOP, MIDDLE_Y - LANE_MARGIN)
    return float(x), float(y)


def _starts(rng: np.random.Generator, num: int, duration_s: float, shortest_s: float) -> list[float]:
    """Starts in s of `num` spans that fill the video, each at least `shortest_s` long."""
    spans = shortest_s + rng.dirichlet(np.ones(num)) * (duration_s - num * shortest_s)
    return [0.0, *np.cumsum(spans)[:-1].tolist()]


def _make_flashes(rng: np.random.Generator, duration_s: float) -> tuple[Flash, ...]:
    """One to four flashes of 0.4-0.7 s, shortened if they would fill more than half of the video."""
    num = int(rng.integers(1, len(words.COUNTS) + 1))
    lengths = rng.uniform(0.4, 0.7, size=num)
    lengths *= min(1.0, 0.5 * duration_s / lengths.sum())
    pause = 0.25  # two frames: flashes stay apart
    free = duration_s - lengths.sum() - pause * (num - 1)
    gaps = rng.dirichlet(np.ones(num + 1))[:num] * free
    starts = np.cumsum(gaps + np.concatenate([[0.0], lengths[:-1] + pause]))
    colors = rng.integers(len(words.COLORS), size=num)
    return tuple(
        Flash(start_s=float(start), length_s=float(length), color=int(color))
        for start, length, color in zip(starts, lengths, colors, strict=True)
    )


def _draw_sun(rng: np.random.Generator, camera: int) -> tuple[float, float]:
    """Position of the sun: anywhere along the pan; across it within the view, so that each period shows it."""
    along, across = rng.uniform(0, SUN_PERIOD), rng.uniform(9 if camera < 2 else 2, SIZE - 2)
    return (float(along), float(across)) if camera < 2 else (float(across), float(along))


def _make_waves(rng: np.random.Generator) -> Floats:
    angle, length = rng.uniform(0, np.pi, size=3), rng.uniform(9, 24, size=3)
    number = 2 * np.pi / length
    phase, amplitude, tint = rng.uniform(0, 6.28, size=3), rng.uniform(5, 11, size=3), rng.integers(3, size=3)
    return np.stack([number * np.cos(angle), number * np.sin(angle), phase, amplitude, tint], axis=1)


# --- content of a frame -------------------------------------------------------------------------------


def frame_times(scene: Scene) -> Floats:
    """Time of each frame of the video in s: (T,)."""
    return np.arange(scene.num_frames) / FPS


def shape_centres(scene: Scene, times_s: Floats) -> Floats:
    """Centres of the warm and the cool shape in px: (T, 2, 2), last axis x, y."""
    low, high = (LEFT, RIGHT) if scene.axis == 0 else (TOP, BOTTOM)
    span = high - low
    along = scene.end - low - scene.heading * SPEEDS_PX_S[scene.speed] * (scene.duration_s - times_s)
    folded = span - np.abs(np.mod(along, 2 * span) - span)  # reflected at the walls of the box
    centres = np.empty((len(times_s), 2, 2))
    centres[:, 1 - scene.mover] = scene.still
    centres[:, scene.mover, scene.axis] = low + folded
    centres[:, scene.mover, 1 - scene.axis] = scene.lane
    return centres


def view_shift(scene: Scene, times_s: Floats) -> Floats:
    """Displacement of the camera in px: (T, 2), x to the right and y downwards."""
    unit = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))[scene.camera]
    return scene.camera_px_s * times_s[:, None] * np.array(unit)


def sun_centres(scene: Scene, times_s: Floats) -> Floats:
    """The sun's centre in px: (T, 2) in [-2, SUN_PERIOD - 2), partly beyond the view's edge."""
    return np.mod(np.array(scene.sun) - view_shift(scene, times_s) + 2.0, SUN_PERIOD) - 2.0


def digits_at(scene: Scene, times_s: Floats) -> NDArray[np.int64]:
    """The digit on each frame: (T,)."""
    return np.array(scene.digits)[np.searchsorted(scene.digit_starts_s, times_s, side="right") - 1]


def lamp_at(scene: Scene, times_s: Floats) -> NDArray[np.int64]:
    """Colour of the lamp, `words.LAMP_OFF` between flashes: (T,)."""
    lamp = np.full(len(times_s), words.LAMP_OFF)
    for flash in scene.flashes:
        lamp[(times_s >= flash.start_s) & (times_s < flash.start_s + flash.length_s)] = flash.color
    return lamp


def sun_visible(scene: Scene, times_s: Floats) -> NDArray[np.bool_]:
    """Whether the sun's centre is in view and not covered: (T,)."""
    sun = sun_centres(scene, times_s)
    inside = ((sun >= 0) & (sun < SIZE)).all(axis=1)
    in_corner = (sun[:, 1] < 8) & ((sun[:, 0] < 8) | (sun[:, 0] >= 24))
    distance = np.linalg.norm(shape_centres(scene, times_s) - sun[:, None], axis=2).min(axis=1)
    return inside & ~in_corner & (distance > 3.5)


def read_slots(scene: Scene, times_s: Floats) -> NDArray[np.int64]:
    """Content of the frames at these times, as indices into the words of `words.SLOTS`: (T, S)."""
    centres = shape_centres(scene, times_s)
    column = np.clip((centres[..., 0] - LEFT) // 2, 0, words.COLUMNS - 1)
    row = np.clip((centres[..., 1] - TOP) // 2, 0, words.ROWS - 1)
    visible = sun_visible(scene, times_s)[:, None]
    cell = np.clip(sun_centres(scene, times_s) * words.SUN_CELLS // SIZE, 0, words.SUN_CELLS - 1)
    sun = np.where(visible, cell, words.SUN_HIDDEN)
    rows: list[NDArray[Any]] = []
    for i in (0, 1):
        color, shape = np.full((2, len(times_s)), [[scene.colors[i] % 3], [scene.shapes[i]]])
        rows += [color, shape, column[:, i], row[:, i]]
    rows += [digits_at(scene, times_s), lamp_at(scene, times_s), sun[:, 0], sun[:, 1]]
    return np.stack(rows, axis=1).astype(np.int64)
