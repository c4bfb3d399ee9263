"""Clips as encoders read them, for tests that have their frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.encoders import CombinedEncoder, EncoderInput, Visual


def visual_of(encoder: CombinedEncoder, clips: Sequence[Tensor]) -> Visual:
    """The same clips for each encoder: uint8 frames (C, N, H, W, 3), every frame counted as another; or features of a
    frame each (C, N, H, W, D)."""
    frames = tuple(one.flatten(0, 1) for one in clips if one.dtype == torch.uint8)
    inputs, size = [], 0
    for tower, one in zip(encoder.encoders, clips, strict=True):
        units = one.shape[1] // tower.frames
        units_CM = torch.arange(len(one) * units).view(len(one), units)
        if one.dtype != torch.uint8:
            inputs.append(EncoderInput.of((), one.flatten(0, 1)[:, None], units_CM))
            continue
        frames_UN = [torch.zeros(0, tower.frames, dtype=torch.int64) for _ in frames]
        frames_UN[size] = torch.arange(len(frames[size])).view(-1, tower.frames)
        inputs.append(EncoderInput.of(tuple(frames_UN), None, units_CM))
        size += 1
    return Visual(frames, tuple(inputs))
