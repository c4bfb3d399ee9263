"""Rendering of a scene: 32x32 RGB frames by numpy. Legend: `T` frame, `H`, `W` pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.tiny.world import words
from models.tiny.world.scene import SIZE, Floats, Scene, digits_at, lamp_at, shape_centres, sun_centres, view_shift

Pixels = NDArray[np.float32]

_RGB = {
    "red": (225, 30, 30),
    "yellow": (240, 225, 40),
    "pink": (240, 90, 220),
    "blue": (40, 60, 235),
    "green": (30, 170, 50),
    "cyan": (60, 225, 235),
}
_COLORS_RGB = np.array([*(_RGB[color] for color in words.COLORS), (70, 70, 70)], dtype=np.float32)
"""Colours of shapes and of the lamp; the last is that of the lamp when it is off."""
_SKY_RGB = np.array((105, 110, 120), dtype=np.float32)
_SUN_RGB = np.array((255, 250, 235), dtype=np.float32)
_GLYPH_ROWS = (  # 5x7 px, one hexadecimal pair a row
    "0E11131519110E 040C040404040E 0E11010204081F 1F02040201110E 02060A121F0202 "
    "1F101E0101110E 0608101E11110E 1F010204080808 0E11110E11110E 0E11110F01020C"
)
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5  # centres of pixels: (H, W) each


def _glyphs() -> Pixels:
    """White digits on black, in the 8x8 px of the upper left corner: (10, 8, 8)."""
    boxes = np.zeros((10, 8, 8), dtype=np.float32)
    for digit, rows in enumerate(_GLYPH_ROWS.split()):
        for i, byte in enumerate(bytes.fromhex(rows)):
            boxes[digit, i, 1:6] = [255.0 * (byte >> (4 - bit) & 1) for bit in range(5)]
    return boxes


_GLYPHS_255 = _glyphs()


def _distance_outside(shape: str, dx: Pixels, dy: Pixels) -> Pixels:
    """Distance in px from a shape's edge, negative inside; dx, dy from its centre: (T, H, W)."""
    ax, ay = np.abs(dx), np.abs(dy)
    match shape:
        case "circle":
            return np.hypot(dx, dy) - np.float32(3.4)
        case "square":
            return np.maximum(ax, ay) - np.float32(3.0)
        case "triangle":
            return np.maximum(dy - 2.8, ax * 0.87 - (dy + 3.8) * 0.5)
        case "plus":
            return np.minimum(np.maximum(ax - 3.8, ay - 1.2), np.maximum(ax - 1.2, ay - 3.8))
    raise AssertionError(shape)


def render(scene: Scene, times_s: Floats) -> NDArray[np.uint8]:
    """Frames at these times: (T, H, W, 3)."""
    frames = _background(scene, times_s)
    centres = shape_centres(scene, times_s).astype(np.float32)
    for i, (color, shape) in enumerate(zip(scene.colors, scene.shapes, strict=True)):
        x_T, y_T = centres[:, i, 0], centres[:, i, 1]
        outside = _distance_outside(words.SHAPES[shape], _X - x_T[:, None, None], _Y - y_T[:, None, None])
        _paint(frames, np.clip(0.5 - outside, 0, 1), _COLORS_RGB[color])
    frames[:, :8, :8] = _GLYPHS_255[digits_at(scene, times_s)][..., None]
    frames[:, :8, 24:] = 0
    glass = np.clip(3.9 - np.hypot(_X[:8, 24:] - 28, _Y[:8, 24:] - 4), 0, 1)[..., None]
    frames[:, :8, 24:] += glass * _COLORS_RGB[lamp_at(scene, times_s)][:, None, None, :]
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


def _background(scene: Scene, times_s: Floats) -> Pixels:
    """Soft waves and a sun, both fixed to the panorama across which the camera pans: (T, H, W, 3)."""
    shift = view_shift(scene, times_s).astype(np.float32)
    x = _X + shift[:, 0, None, None]
    y = _Y + shift[:, 1, None, None]
    frames = np.broadcast_to(_SKY_RGB, (*x.shape, 3)).copy()
    for kx, ky, phase, amplitude, channel in scene.waves.astype(np.float32):
        wave = amplitude * np.sin(kx * x + ky * y + phase)
        frames += 0.5 * wave[..., None]
        frames[..., int(channel)] += wave
    sun = sun_centres(scene, times_s).astype(np.float32)
    squared = (_X - sun[:, 0, None, None]) ** 2 + (_Y - sun[:, 1, None, None]) ** 2
    _paint(frames, np.exp(-squared / np.float32(2 * 2.2**2)), _SUN_RGB)
    return frames


def _paint(frames: Pixels, cover: Pixels, rgb: Pixels) -> None:
    """Blend a colour into the frames in place, with opacity `cover` (T, H, W) in [0, 1]."""
    frames += cover[..., None] * (rgb - frames)
