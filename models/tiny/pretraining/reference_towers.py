"""Untrained encoders of the embedded study, and their features of frames.

Legend: `B` frame or clip, `N` frame of a clip, `P` patch or tubelet, `D` width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, SiglipVisionConfig, SiglipVisionModel, VideoMAEConfig, VideoMAEModel

from models.families import IMAGENET
from models.tiny.pretraining.footage import CLIP_FRAMES
from models.tiny.world import SIZE

PATCH = 8
TUBELET = 2
WIDTH = 64
LAYERS = 4
PATCHES = (SIZE // PATCH) ** 2
TUBELETS = PATCHES * CLIP_FRAMES // TUBELET
LAYERS_READ = (-2, -1)
"""Hidden states whose features are trained and probed."""


def new_image_tower() -> SiglipVisionModel:
    """SigLIP architecture, 147,392 parameters, without the pooling head."""
    config = SiglipVisionConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        vision_use_head=False,
    )
    return SiglipVisionModel(config)


def new_video_tower() -> VideoMAEModel:
    """VideoMAE architecture, 158,400 parameters: 2 x 4 x 4 tubelets of 2 frames and 8 x 8 px."""
    config = VideoMAEConfig(
        image_size=SIZE,
        patch_size=PATCH,
        num_frames=CLIP_FRAMES,
        tubelet_size=TUBELET,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        use_mean_pooling=False,
    )
    return VideoMAEModel(config)


def normalise(frames: NDArray[np.uint8]) -> torch.Tensor:
    """RGB bytes (B, H, W, 3) to SigLIP's input (B, 3, H, W) in [-1, 1]."""
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def normalise_clips(clips: NDArray[np.uint8]) -> torch.Tensor:
    """RGB bytes (B, N, H, W, 3) to VideoMAE's input (B, N, 3, H, W), by the mean and standard deviation of ImageNet."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return (torch.from_numpy(clips).movedim(-1, 2).float() / 255 - mean) / deviation


def states(tower: PreTrainedModel, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All hidden states of a tower: (B, P, D) each."""
    return tower(pixel_values=pixels, output_hidden_states=True).hidden_states


@torch.no_grad()
def frozen_features(tower: PreTrainedModel, media: NDArray[np.uint8], layer: int) -> torch.Tensor:
    """One hidden state for frames (B, H, W, 3) or clips (B, N, H, W, 3), without gradients: (B, P, D)."""
    prepare = normalise if media.ndim == 4 else normalise_clips
    parts = np.array_split(media, max(1, len(media) // 256))
    return torch.cat([states(tower, prepare(part))[layer] for part in parts])
