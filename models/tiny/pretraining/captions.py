"""Pre-training of an encoder with language: predict the words of each slot of a frame or a clip.

Readers (readers.py) at two layers predict the words and are discarded. Scenes are those of the split `pretrain`. Clips
have steps of 0.125 to 4 s (footage.py), so that the encoder favours neither sampling by time nor by count. The slots
include the positions in each frame: VideoMAE's position embeddings are fixed, and an encoder of this size that is not
trained to predict positions does not represent them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import SiglipVisionModel, VideoMAEModel

from models.tiny.pretraining.footage import SLOT_GROUPS, draw_clips, film, make_frames, read_clips
from models.tiny.pretraining.learning import Learner, report
from models.tiny.pretraining.readers import CLIP_VALUES, FRAME_VALUES, SlotReader, slot_losses
from models.tiny.pretraining.reference_towers import (
    LAYERS_READ,
    new_image_tower,
    new_video_tower,
    normalise,
    normalise_clips,
    states,
)
from models.training import Muon32

NUM_SCENES = 4000
"""Number of scenes for frames, of at most 2 s each."""
NUM_VIDEOS = 1200
"""Number of scenes for clips, of 2 to 16 s as in the study."""
LONGEST_S = 16.0


def pretrain_image_encoder(steps: int = 1500, num_scenes: int = NUM_SCENES) -> SiglipVisionModel:
    """Train `image-encoder`; about 2 minutes on one core."""
    torch.manual_seed(0)
    frames, slots = make_frames("pretrain", num_scenes, longest_s=2.0)
    encoder = new_image_tower()
    readers = nn.ModuleList(SlotReader(FRAME_VALUES) for _ in LAYERS_READ)
    learner = Learner([encoder, readers], steps=steps, muon_lr=0.01, adamw_lr=4e-3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        batch = rng.integers(len(frames), size=128)
        features = states(encoder, normalise(frames[batch]))
        target = torch.from_numpy(slots[batch])
        losses = [
            loss
            for layer, reader in zip(LAYERS_READ, readers, strict=True)
            for loss in slot_losses(reader(features[layer]), target)
        ]
        loss = torch.stack(losses).mean()
        learner.step(loss)
        report("image-encoder", step, steps, loss, "nat per slot")
    return encoder.eval()


def pretrain_video_encoder(steps: int = 800, num_videos: int = NUM_VIDEOS) -> VideoMAEModel:
    """Train `video-encoder`; about 3 minutes on one core. The groups of `SLOT_GROUPS` have equal weights."""
    torch.manual_seed(0)
    footage = film("pretrain", num_videos, LONGEST_S)
    encoder = new_video_tower()
    readers = nn.ModuleList(SlotReader(CLIP_VALUES) for _ in LAYERS_READ)
    learner = Learner([encoder, readers], steps=steps, muon_lr=0.01, adamw_lr=4e-3, muon=Muon32)
    rng = np.random.default_rng(0)
    for step in range(steps):
        clips = draw_clips(footage, 64, rng)
        features = states(encoder, normalise_clips(footage.frames[clips.frames_BN]))
        target = torch.from_numpy(read_clips(footage, clips))
        losses = []
        for layer, reader in zip(LAYERS_READ, readers, strict=True):
            by_slot = torch.stack(slot_losses(reader(features[layer]), target))
            losses += [by_slot[list(group)].mean() for group in SLOT_GROUPS]
        loss = torch.stack(losses).mean()
        learner.step(loss)
        report("video-encoder", step, steps, loss, "nat per slot")
    return encoder.eval()
