"""Pre-training of an encoder without language: masked autoencoding of frames (He et al., arXiv 2111.06377) and of
clips (Tong et al., arXiv 2203.12602; masked at random in space and time as by Feichtenhofer et al., arXiv 2205.09113).

The encoder takes a quarter of the patches; a small decoder, which is discarded, predicts the others. Legend: `B` frame
or clip, `N` frame of a clip, `P` patch or tubelet, `K` visible ones, `D` width, `V` values of a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import SiglipVisionModel, VideoMAEModel

from models.tiny.pretraining.captions import LONGEST_S, NUM_SCENES, NUM_VIDEOS
from models.tiny.pretraining.footage import draw_clips, film, make_frames
from models.tiny.pretraining.learning import Learner, report
from models.tiny.pretraining.reference_towers import (
    PATCH,
    PATCHES,
    TUBELET,
    TUBELETS,
    WIDTH,
    new_image_tower,
    new_video_tower,
    normalise,
    normalise_clips,
)
from models.training import Muon32

VISIBLE = 0.25
"""Share of the patches that the encoder takes, as in MAE."""
_FLOOR = 0.02
"""Added to the variance of a patch before normalisation, so that the codec's noise in flat sky is not amplified."""


class Painter(nn.Module):
    """Features of the visible patches -> values of all patches: two transformer layers with learned positions."""

    def __init__(self, patches: int, values: int) -> None:
        super().__init__()
        self.enter = nn.Linear(WIDTH, WIDTH)
        self.mask_embed = nn.Parameter(torch.randn(WIDTH) * 0.02)
        self.position_embed = nn.Parameter(torch.randn(patches, WIDTH) * 0.5)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, 4, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.paint_embed = nn.Linear(WIDTH, values)

    def forward(self, features_BKD: torch.Tensor, visible_BK: torch.Tensor) -> torch.Tensor:
        """Values of all patches: (B, P, V)."""
        canvas = self.mask_embed.expand(len(features_BKD), len(self.position_embed), -1)
        canvas = canvas.scatter(1, visible_BK[..., None].expand(-1, -1, WIDTH), self.enter(features_BKD))
        canvas = canvas + self.position_embed
        for layer in self.layers:
            canvas = layer(canvas)
        return self.paint_embed(self.norm(canvas))


def choose_visible(num: int, patches: int, rng: np.random.Generator) -> torch.Tensor:
    """Indices of the visible patches of each frame or clip, ascending: (B, K)."""
    order = rng.random((num, patches)).argsort(axis=1)
    return torch.from_numpy(np.sort(order[:, : int(VISIBLE * patches)], axis=1))


def cut(pixels_BN3HW: torch.Tensor, tubelet: int) -> torch.Tensor:
    """Pixels cut into normalised patches of `tubelet` frames, in the order of the towers' features: (B, P, V)."""
    cells = pixels_BN3HW.unflatten(4, (-1, PATCH)).unflatten(3, (-1, PATCH)).unflatten(1, (-1, tubelet))
    patches = cells.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4).flatten(1, 3)  # B, (N, H, W), V
    mean = patches.mean(-1, keepdim=True)
    return (patches - mean) / (patches.var(-1, keepdim=True) + _FLOOR).sqrt()


def painting_loss(painted_BPV: torch.Tensor, target_BPV: torch.Tensor, visible_BK: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the hidden patches."""
    error_BP = (painted_BPV - target_BPV).square().mean(-1)
    hidden_BP = torch.ones_like(error_BP).scatter(1, visible_BK, 0.0)
    return (error_BP * hidden_BP).sum() / hidden_BP.sum()


def encode_frames(tower: SiglipVisionModel, pixels: torch.Tensor, visible_BK: torch.Tensor) -> torch.Tensor:
    """Features of a SigLIP tower that takes only the visible patches: (B, K, D)."""
    visible = tower.embeddings(pixels).gather(1, visible_BK[..., None].expand(-1, -1, WIDTH))
    return tower.post_layernorm(tower.encoder(inputs_embeds=visible).last_hidden_state)


def encode_clips(tower: VideoMAEModel, pixels: torch.Tensor, visible_BK: torch.Tensor) -> torch.Tensor:
    """Features of a VideoMAE tower that takes only the visible tubelets: (B, K, D)."""
    hidden_BP = torch.ones(len(pixels), TUBELETS, dtype=torch.bool).scatter(1, visible_BK, value=False)
    return tower(pixel_values=pixels, bool_masked_pos=hidden_BP).last_hidden_state


def pretrain_image_mae(steps: int = 900, num_scenes: int = NUM_SCENES) -> SiglipVisionModel:
    """Train `image-mae`; about 2 minutes on one core."""
    torch.manual_seed(0)
    frames, _ = make_frames("pretrain", num_scenes, longest_s=2.0)
    encoder, painter = new_image_tower(), Painter(PATCHES, PATCH * PATCH * 3)
    learner = Learner([encoder, painter], steps=steps, muon_lr=0.01, adamw_lr=4e-3, muon=Muon32)
    rng = np.random.default_rng(0)
    for step in range(steps):
        pixels = normalise(frames[rng.integers(len(frames), size=128)])
        visible = choose_visible(len(pixels), PATCHES, rng)
        painted = painter(encode_frames(encoder, pixels, visible), visible)
        loss = painting_loss(painted, cut(pixels[:, None], 1), visible)
        learner.step(loss)
        report("image-mae", step, steps, loss, "squared error per normalised pixel")
    return encoder.eval()


def pretrain_video_mae(steps: int = 1700, num_videos: int = NUM_VIDEOS) -> VideoMAEModel:
    """Train `video-mae`; about 4 minutes on one core. After 900 steps its features contained no motion."""
    torch.manual_seed(0)
    footage = film("pretrain", num_videos, LONGEST_S)
    encoder, painter = new_video_tower(), Painter(TUBELETS, TUBELET * PATCH * PATCH * 3)
    learner = Learner([encoder, painter], steps=steps, muon_lr=0.01, adamw_lr=4e-3, muon=Muon32)
    rng = np.random.default_rng(0)
    for step in range(steps):
        pixels = normalise_clips(footage.frames[draw_clips(footage, 64, rng).frames_BN])
        visible = choose_visible(len(pixels), TUBELETS, rng)
        painted = painter(encode_clips(encoder, pixels, visible), visible)
        loss = painting_loss(painted, cut(pixels, TUBELET), visible)
        learner.step(loss)
        report("video-mae", step, steps, loss, "squared error per normalised pixel")
    return encoder.eval()
