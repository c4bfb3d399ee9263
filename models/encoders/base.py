"""The base of all vision encoders: their attributes, and how frames are resized and normalised."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from itertools import chain
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.families import HALF, IMAGENET, Statistics


class VisionEncoder(nn.Module, metaclass=ABCMeta):
    """Clips -> features. An encoder pads, resizes and normalises frames itself, from the size at which they are read.

    A subclass sets the first three attributes below in its `__init__`. Published encoders set `resolution` too, and
    take the other four from their record in models/families.py.
    """

    frames: int
    """Frames of one clip."""
    grid: tuple[int, int, int]
    """Features of one clip in time, height and width: T, H, W."""
    width: int
    """Width of the features: D."""
    resolution: int
    """Side in pixels of the squares to which a published encoder resizes frames; they are read at another size."""
    normalisation: ClassVar[Statistics] = IMAGENET
    """Mean and standard deviation of RGB in [0, 1]."""
    interpolation: ClassVar[Literal["bicubic", "bilinear"]] = "bicubic"
    """Interpolation by which frames are resized."""
    antialias: ClassVar[bool] = True
    """Whether frames are smoothed where they shrink."""
    rounds: ClassVar[bool] = True
    """Whether resized frames are whole shades from 0 to 255, as Pillow and cv2 return them."""

    @abstractmethod
    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """uint8 RGB clips (B, `frames`, any height, any width, 3) -> features (B, T, H, W, D)."""

    def pixels(self, clips_BNHWC: Tensor, size: int) -> Tensor:
        """Normalised frames: uint8 clips (B, N, H, W, 3) -> (B, N, 3, size, size) in the dtype of the weights.

        Frames are padded to squares with the encoder's mean colour and resized from the size at which they were read,
        in fp32, as Apollo did.
        """
        frames_FCHW = _square(clips_BNHWC.flatten(0, 1).movedim(-1, 1), pad_rgb(self.normalisation)).float()
        side = frames_FCHW.shape[-1]
        if side != size:  # first the width, then the height: Pillow rounds and clamps between the two
            for shape in ((side, size), (size, size)) if self.antialias else ((size, size),):
                frames_FCHW = interpolate(frames_FCHW, shape, mode=self.interpolation, antialias=self.antialias)
                frames_FCHW = frames_FCHW.round_().clamp_(0, 255) if self.rounds else frames_FCHW
        if self.normalisation == HALF:
            frames_FCHW = frames_FCHW / 127.5 - 1
        else:
            mean, deviation = (
                torch.tensor(values, device=frames_FCHW.device).view(3, 1, 1) for values in self.normalisation
            )
            frames_FCHW = (frames_FCHW / 255 - mean) / deviation
        return frames_FCHW.to(weight_dtype(self)).unflatten(0, clips_BNHWC.shape[:2])


def weight_dtype(module: nn.Module) -> torch.dtype:
    """Dtype of a module's weights, or of its buffers if it has no weights; fp32 if it has neither."""
    tensors = chain(module.parameters(), (buffer for buffer in module.buffers() if buffer.is_floating_point()))
    return next((tensor.dtype for tensor in tensors), torch.float32)


def compute_dtype(module: nn.Module, device: torch.device) -> torch.dtype:
    """Dtype in which a module computes on a device: autocast's where it is on, else that of its weights."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return weight_dtype(module)


def _square(frames_FCHW: Tensor, rgb: tuple[int, int, int]) -> Tensor:
    """Frames padded with a colour on both sides of the shorter dimension: (F, 3, S, S)."""
    height, width = frames_FCHW.shape[-2:]
    if height == width:
        return frames_FCHW
    side = max(height, width)
    colour = torch.tensor(rgb, dtype=frames_FCHW.dtype, device=frames_FCHW.device).view(3, 1, 1)
    padded = colour.expand(len(frames_FCHW), 3, side, side).clone()
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, :, top : top + height, left : left + width] = frames_FCHW
    return padded


def pad_rgb(normalisation: Statistics) -> tuple[int, int, int]:
    """Colour with which frames are padded to a square: the tower's mean, rounded down (as Apollo pads)."""
    red, green, blue = (int(255 * channel) for channel in normalisation[0])
    return red, green, blue
