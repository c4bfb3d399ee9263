"""Pre-training of an image encoder by matching frames with captions: SigLIP's sigmoid loss (arXiv 2303.15343).

A caption is the bag of its slots' words; its tower and the pooling of frames are discarded. Legend: `B` frame or
caption, `P` patch, `D` width, `S` slot.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import SiglipVisionModel

from models.tiny.pretraining.captions import NUM_SCENES
from models.tiny.pretraining.footage import make_frames
from models.tiny.pretraining.learning import Learner, report
from models.tiny.pretraining.readers import FRAME_VALUES
from models.tiny.pretraining.reference_towers import WIDTH, new_image_tower, normalise
from models.training import Muon32

BATCH = 256


class CaptionTower(nn.Module):
    """Slots of a caption -> a unit vector: the sum of its words' embeddings through an MLP."""

    first_S: torch.Tensor
    """Index of each slot's first word among the words of all slots."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embed = nn.Embedding(sum(FRAME_VALUES), 2 * WIDTH)
        self.register_buffer("first_S", torch.tensor([0, *np.cumsum(FRAME_VALUES)[:-1]]))
        self.mix = nn.Sequential(nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, 2 * WIDTH), nn.GELU())
        self.project = nn.Linear(2 * WIDTH, 2 * WIDTH)

    def forward(self, slots_BS: torch.Tensor) -> torch.Tensor:
        """Unit vectors of captions: (B, 2 D)."""
        words = self.word_embed(slots_BS + self.first_S).sum(1)
        return functional.normalize(self.project(words + self.mix(words)), dim=-1)


class FramePool(nn.Module):
    """Features of a frame -> a unit vector, by learned queries that attend to them, like SigLIP's head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query_embed = nn.Parameter(torch.randn(4, WIDTH) * 0.5)
        self.attend = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(4 * WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, 2 * WIDTH))

    def forward(self, features_BPD: torch.Tensor) -> torch.Tensor:
        """Unit vectors of frames: (B, 2 D)."""
        features = self.norm(features_BPD)
        queries = self.query_embed.expand(len(features), -1, -1)
        read = self.attend(queries, features, features, need_weights=False)[0]
        return functional.normalize(self.mix(read.flatten(1)), dim=-1)


class SigmoidLoss(nn.Module):
    """Binary loss for each pair of a frame and a caption: do they match? Temperature and bias are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, frames_BD: torch.Tensor, captions_BD: torch.Tensor) -> torch.Tensor:
        """Loss per frame, in nats."""
        logits = self.log_scale.exp() * frames_BD @ captions_BD.T + self.bias
        sign = 2 * torch.eye(len(logits)) - 1
        return -functional.logsigmoid(sign * logits).sum() / len(logits)


def pretrain_image_contrastive(steps: int = 600, num_scenes: int = NUM_SCENES) -> SiglipVisionModel:
    """Train `image-contrastive`; about 2 minutes on one core."""
    torch.manual_seed(0)
    frames, slots = make_frames("pretrain", num_scenes, longest_s=2.0)
    encoder, pool, captions, match = new_image_tower(), FramePool(), CaptionTower(), SigmoidLoss()
    learner = Learner([encoder, pool, captions, match], steps=steps, muon_lr=0.01, adamw_lr=4e-3, muon=Muon32)
    rng = np.random.default_rng(0)
    for step in range(steps):
        batch = rng.integers(len(frames), size=BATCH)
        frame_vectors = pool(encoder(pixel_values=normalise(frames[batch])).last_hidden_state)
        loss = match(frame_vectors, captions(torch.from_numpy(slots[batch])))
        learner.step(loss)
        report("image-contrastive", step, steps, loss, "nat per frame")
    return encoder.eval()
