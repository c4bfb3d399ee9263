"""What encoders read: each frame once, and where each encoder's clips find theirs.

Shapes: F frame, U unit (what an encoder takes at once: a frame, or a clip of its length), N frame of a unit, C clip, M
units of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class EncoderInput:
    """The units of one encoder, without repetitions, and the units of each clip."""

    frames_UN: tuple[Tensor, ...]
    """For each size of frames, which of them make each unit; empty if the features are stored."""
    features: Tensor | None
    """Stored features of the units, (U, T, H, W, D)."""
    units_CM: Tensor
    """Units of each clip, counted through all sizes: one clip of a video encoder, a frame for each instant of an image
    encoder."""
    is_plain: bool
    """Whether the units of the clips, one clip after the other, are all units in their order: none is repeated."""

    @classmethod
    def of(cls, frames_UN: tuple[Tensor, ...], features: Tensor | None, units_CM: Tensor) -> EncoderInput:
        """The input of these units, on the CPU: whether units repeat is not looked up on a GPU, which would wait."""
        num_units = sum(len(units) for units in frames_UN) if features is None else len(features)
        flat = units_CM.flatten()
        is_plain = len(flat) == num_units and torch.equal(flat, torch.arange(num_units))
        return cls(frames_UN, features, units_CM, is_plain)

    def to(self, device: torch.device) -> EncoderInput:
        """The same on a device."""
        return replace(
            self,
            frames_UN=tuple(one.to(device) for one in self.frames_UN),
            features=None if self.features is None else self.features.to(device),
            units_CM=self.units_CM.to(device),
        )


@dataclass(frozen=True)
class Visual:
    """The same clips for each encoder."""

    frames: tuple[Tensor, ...]
    """uint8 RGB frames (F, height, width, 3), one tensor for each size; no frame twice."""
    inputs: tuple[EncoderInput, ...]
    """One for each encoder that takes the clips, in the design's order."""

    def to(self, device: torch.device) -> Visual:
        """The same on a device."""
        return replace(
            self,
            frames=tuple(one.to(device) for one in self.frames),
            inputs=tuple(one.to(device) for one in self.inputs),
        )
