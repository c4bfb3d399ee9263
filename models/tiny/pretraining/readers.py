"""Classifiers of slots from features, for the caption objective and for probes.

Each slot has a learned query that attends to the features, as a captioner's decoder would, and predicts the slot's
value. Legend: `B` frame or clip, `P` patch or tubelet, `D` width, `S` slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from models.tiny.pretraining.footage import CLIP_SLOTS, draw_clips, film, make_frames, read_clips
from models.tiny.pretraining.learning import Learner
from models.tiny.pretraining.reference_towers import WIDTH, frozen_features
from models.tiny.world import SLOTS

FRAME_VALUES = tuple(len(slot.words) for slot in SLOTS)
CLIP_VALUES = tuple(slot.values for slot in CLIP_SLOTS)
BATCH = 128


class SlotReader(nn.Module):
    """A learned query for each slot that attends to features, and a classifier of the slot's value."""

    def __init__(self, values: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query_embed = nn.Parameter(torch.randn(len(values), WIDTH) * 0.5)
        self.attend = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.choose_embed = nn.ModuleList(nn.Linear(WIDTH, num) for num in values)

    def forward(self, features_BPD: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each slot's values: S tensors (B, values)."""
        features = self.norm(features_BPD)
        queries = self.query_embed.expand(len(features), -1, -1)
        read_BSD = self.attend(queries, features, features, need_weights=False)[0]
        return [choose(read_BSD[:, i]) for i, choose in enumerate(self.choose_embed)]


def slot_losses(logits: list[torch.Tensor], target_BS: torch.Tensor) -> list[torch.Tensor]:
    """Cross-entropy of each slot, in nats."""
    return [functional.cross_entropy(row, target_BS[:, i]) for i, row in enumerate(logits)]


def probe_frames(tower: PreTrainedModel, layer: int, num_scenes: int = 600, steps: int = 300) -> dict[str, float]:
    """Accuracy in percent of each slot of a frame, predicted by a new `SlotReader` from the frozen features of a layer.

    The reader is trained on half of the held-out scenes and tested on the other half.
    """
    torch.manual_seed(1)
    frames, slots = make_frames("heldout", num_scenes, longest_s=2.0)
    features, target = frozen_features(tower, frames, layer), torch.from_numpy(slots)
    half = len(features) // 2
    right = _probe(features, target, half, FRAME_VALUES, steps)
    return {slot.name: share for slot, share in zip(SLOTS, right, strict=True)}


def probe_clips(
    tower: PreTrainedModel, layer: int, num_scenes: int = 200, num_clips: int = 3000, steps: int = 300
) -> dict[str, float]:
    """The same for clips of 4 frames and `CLIP_SLOTS`; the result is the mean over the frames of a slot."""
    torch.manual_seed(1)
    footage, rng = film("heldout", num_scenes, longest_s=16.0), np.random.default_rng(1)
    halves = [draw_clips(footage, num_clips, rng, videos) for videos in halve(num_scenes)]
    features = torch.cat([frozen_features(tower, footage.frames[clips.frames_BN], layer) for clips in halves])
    target = torch.from_numpy(np.concatenate([read_clips(footage, clips) for clips in halves]))
    right = _probe(features, target, num_clips, CLIP_VALUES, steps)
    shares: dict[str, list[float]] = {}
    for slot, share in zip(CLIP_SLOTS, right, strict=True):
        shares.setdefault(slot.name.rstrip("_0123456789"), []).append(share)
    return {name: sum(rows) / len(rows) for name, rows in shares.items()}


def halve(num: int) -> tuple[range, range]:
    """Indices of the first and of the second half of `num` scenes."""
    return range(num // 2), range(num // 2, num)


def _probe(
    features: torch.Tensor, target_BS: torch.Tensor, num_train: int, values: Sequence[int], steps: int
) -> list[float]:
    """Train a reader on the first `num_train` rows; returns the accuracy of each slot on the others, in percent."""
    reader = SlotReader(values)
    learner = Learner([reader], steps=steps, muon_lr=0.01, adamw_lr=1e-2)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        batch = torch.from_numpy(rng.integers(num_train, size=BATCH))
        learner.step(torch.stack(slot_losses(reader(features[batch]), target_BS[batch])).mean())
    with torch.no_grad():
        predicted_BS = torch.stack([logits.argmax(1) for logits in reader(features[num_train:])], dim=1)
    return ((predicted_BS == target_BS[num_train:]).double().mean(0) * 100).tolist()
