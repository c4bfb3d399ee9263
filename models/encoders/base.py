"""The base of all vision encoders: their attributes, and how frames are resized and normalised."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.families import HALF, IMAGENET, Statistics


class VisionEncoder(nn.Module, metaclass=ABCMeta):
    """Clips -> features. An encoder resizes and normalises frames itself.

    A subclass sets the first four attributes below in its `__init__`. Published encoders take the other three from
    their record in models/families.py.
    """

    frames: int
    """Frames of one clip."""
    grid: tuple[int, int, int]
    """Features of one clip in time, height and width: T, H, W."""
    width: int
    """Width of the features: D."""
    resolution: int
    """Height and width in pixels at which frames are best read; frames of another size are resized."""
    normalisation: ClassVar[Statistics] = IMAGENET
    """Mean and standard deviation of RGB in [0, 1]."""
    interpolation: ClassVar[Literal["bicubic", "bilinear"]] = "bicubic"
    """Interpolation by which frames are resized."""
    antialias: ClassVar[bool] = True
    """Whether frames are smoothed where they shrink."""

    @abstractmethod
    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """uint8 RGB clips (B, `frames`, any height, any width, 3) -> features (B, T, H, W, D)."""

    def pixels(self, clips_BNHWC: Tensor, size: int) -> Tensor:
        """Normalised frames: uint8 clips (B, N, H, W, 3) -> float (B, N, 3, size, size).

        Frames of another size are resized without keeping their aspect ratio: models/data/corpus.py pads them first.
        """
        frames_FCHW = clips_BNHWC.flatten(0, 1).movedim(-1, 1).float()
        if frames_FCHW.shape[-2:] != (size, size):
            frames_FCHW = nn.functional.interpolate(
                frames_FCHW, size=(size, size), mode=self.interpolation, antialias=self.antialias
            ).clamp(0, 255)
        if self.normalisation == HALF:
            return (frames_FCHW / 127.5 - 1).unflatten(0, clips_BNHWC.shape[:2])
        mean, deviation = (
            torch.tensor(values, device=frames_FCHW.device).view(3, 1, 1) for values in self.normalisation
        )
        return ((frames_FCHW / 255 - mean) / deviation).unflatten(0, clips_BNHWC.shape[:2])


def pad_rgb(normalisation: Statistics) -> tuple[int, int, int]:
    """Colour with which frames are padded to a square: the tower's mean, rounded down (as Apollo pads)."""
    red, green, blue = (int(255 * channel) for channel in normalisation[0])
    return red, green, blue
