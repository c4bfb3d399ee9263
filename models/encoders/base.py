"""What every vision encoder offers to the rest of the model, and what all of them do to pixels first."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of RGB in [0, 1]; likewise the two below."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


class VisionEncoder(nn.Module, metaclass=ABCMeta):
    """Clips -> features. Resizing and normalisation are the encoder's own affair.

    A subclass sets the first four attributes below in its `__init__`.
    """

    frames: int
    """Frames of one clip that it takes."""
    grid: tuple[int, int, int]
    """Features of one clip in time, height and width: T, H, W."""
    width: int
    """Width of its features: D."""
    resolution: int
    """Height and width in pixels at which frames are best read; others are resized."""
    normalisation: ClassVar[Statistics] = IMAGENET
    """Mean and deviation of RGB in [0, 1]."""
    interpolation: ClassVar[Literal["bicubic", "bilinear"]] = "bicubic"
    """How frames are resized."""
    antialias: ClassVar[bool] = True
    """Whether frames are smoothed where they shrink: Apollo's towers for videos were run without (cv2's linear)."""

    @abstractmethod
    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """uint8 RGB clips (B, `frames`, any height, any width, 3) -> features (B, T, H, W, D)."""

    def pixels(self, clips_BNHWC: Tensor, size: int) -> Tensor:
        """Frames as towers take them: float (B, N, 3, size, size), normalised.

        Frames of another size are resized without keeping their shape; models/data/corpus.py pads them to squares first.
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
    """What frames are padded with to a square: the tower's mean colour, cut to whole numbers (as Apollo pads)."""
    red, green, blue = (int(255 * channel) for channel in normalisation[0])
    return red, green, blue
