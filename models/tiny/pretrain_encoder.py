"""Pre-training of the image encoder with language: name what each frame shows, slot by slot.

Each slot of a caption (models/tiny/words.py) has a learned query that attends to the patch features,
as a captioner's decoder would, and chooses the slot's word. Frames come from scenes of their own
(split `pretrain`), through the H.264 codec. Legend: `B` frame, `P` patch, `D` width, `S` slot.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import SiglipVisionConfig, SiglipVisionModel

from models.tiny.codec import read_video, write_video
from models.tiny.learning import Learner
from models.tiny.render import render
from models.tiny.words import SLOTS
from models.tiny.world import SIZE, Split, frame_times, generator, make_scene, read_slots

PATCH = 8
WIDTH = 64
LAYERS = 4
LAYERS_READ = (-2, -1)
"""Hidden states whose features are trained to be readable."""
NUM_SCENES = 4000
STEPS = 1500
BATCH = 128


def new_encoder() -> SiglipVisionModel:
    """SigLIP architecture, about 147k parameters, without the pooling head."""
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


def normalise(frames: NDArray[np.uint8]) -> torch.Tensor:
    """RGB bytes (B, H, W, 3) to SigLIP's input (B, 3, H, W) in [-1, 1]."""
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def make_frames(split: Split, num_scenes: int, longest_s: float) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All frames of some videos, after the codec (B, H, W, 3), and what they show (B, S)."""
    frames, slots = [], []
    for i in range(num_scenes):
        scene = make_scene(generator(0, split, i), longest_s)
        times = frame_times(scene)
        file = io.BytesIO()
        write_video(render(scene, times), file)
        file.seek(0)
        frames.append(read_video(file))
        slots.append(read_slots(scene, times))
    return np.concatenate(frames), np.concatenate(slots)


class SlotReader(nn.Module):
    """A learned query for each slot attends to patch features and chooses the slot's word."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query_embed = nn.Parameter(torch.randn(len(SLOTS), WIDTH) * 0.5)
        self.attend = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.choose_embed = nn.ModuleList(nn.Linear(WIDTH, len(slot.words)) for slot in SLOTS)

    def forward(self, features_BPD: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each slot's words: S tensors (B, words)."""
        features = self.norm(features_BPD)
        queries = self.query_embed.expand(len(features), -1, -1)
        read_BSD = self.attend(queries, features, features, need_weights=False)[0]
        return [choose(read_BSD[:, i]) for i, choose in enumerate(self.choose_embed)]


def pretrain_encoder(steps: int = STEPS) -> SiglipVisionModel:
    """Train a new encoder; about 2 minutes of one core."""
    torch.manual_seed(0)
    frames, slots = make_frames("pretrain", NUM_SCENES, longest_s=2.0)
    encoder = new_encoder()
    readers = nn.ModuleList(SlotReader() for _ in LAYERS_READ)
    learner = Learner([encoder, readers], steps=steps, muon_lr=0.01, adamw_lr=4e-3)
    rng = np.random.default_rng(0)
    for step in range(steps):
        batch = rng.integers(len(frames), size=BATCH)
        states = encoder(pixel_values=normalise(frames[batch]), output_hidden_states=True).hidden_states
        target = torch.from_numpy(slots[batch])
        losses = [
            functional.cross_entropy(logits, target[:, i])
            for layer, reader in zip(LAYERS_READ, readers, strict=True)
            for i, logits in enumerate(reader(states[layer]))
        ]
        loss = torch.stack(losses).mean()
        learner.step(loss)
        if step % 100 == 0 or step == steps - 1:
            print(f"image-encoder step {step}: {loss.item():.3f} nat a slot", flush=True)
    return encoder.eval()


def probe(encoder: SiglipVisionModel, layer: int, num_scenes: int = 600, steps: int = 300) -> dict[str, float]:
    """Accuracy in percent of each slot, read by a new `SlotReader` from one layer's frozen features.

    The reader learns on half of some new scenes and is measured on the other half.
    """
    torch.manual_seed(1)
    frames, slots = make_frames("heldout", num_scenes, longest_s=2.0)
    features, target = frozen_features(encoder, frames, layer), torch.from_numpy(slots)
    half = len(features) // 2
    reader = SlotReader()
    learner = Learner([reader], steps=steps, muon_lr=0.01, adamw_lr=1e-2)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        batch = torch.from_numpy(rng.integers(half, size=BATCH))
        logits = reader(features[batch])
        losses = [functional.cross_entropy(logits[i], target[batch, i]) for i in range(len(SLOTS))]
        learner.step(torch.stack(losses).mean())
    with torch.no_grad():
        told = torch.stack([logits.argmax(1) for logits in reader(features[half:])], dim=1)
    right = (told == target[half:]).double().mean(0) * 100
    return {slot.name: float(share) for slot, share in zip(SLOTS, right, strict=True)}


@torch.no_grad()
def frozen_features(encoder: SiglipVisionModel, frames: NDArray[np.uint8], layer: int) -> torch.Tensor:
    """Features of one hidden state: (B, P, D)."""
    parts = np.array_split(frames, max(1, len(frames) // 256))
    states = [encoder(pixel_values=normalise(part), output_hidden_states=True).hidden_states for part in parts]
    return torch.cat([state[layer] for state in states])
