"""LanguageBind's towers for images and videos (Zhu et al., arXiv 2310.01852), with the names of the published files.

A CLIP vision transformer; the video tower attends over time too in each block (V1.5, fully fine-tuned). Shapes: B clip,
N frame, F frame of all clips, L position in a frame (class token first), D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, scaled_dot_product_attention

from models.design import LanguageBindImage, LanguageBindVideo
from models.encoders.base import VisionEncoder
from models.families import FAMILIES
from models.weights import (
    LANGUAGEBIND_IMAGE,
    LANGUAGEBIND_VIDEO,
    CheckpointError,
    LanguageBindSizes,
    Layout,
    blocks_read,
    find_file,
    languagebind_sizes,
    load_strictly,
    shapes_of,
    tower_tensors,
    without_blocks,
)


class PatchWeight(nn.Module):
    """The weight of the projection of patches, over space or over time too, without a bias."""

    def __init__(self, width: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 3, *kernel))


class Embeddings(nn.Module):
    """Patches, class token and positions of single frames."""

    def __init__(self, sizes: LanguageBindSizes) -> None:
        super().__init__()
        kernel = (1, sizes.patch, sizes.patch) if sizes.is_conv3d else (sizes.patch, sizes.patch)
        self.class_embedding = nn.Parameter(torch.zeros(*([sizes.frames] if sizes.is_conv3d else []), sizes.width))
        self.patch_embedding = PatchWeight(sizes.width, kernel)
        self.position_embedding = nn.Embedding((sizes.image // sizes.patch) ** 2 + 1, sizes.width)

    def forward(self, pixels_BNCHW: Tensor) -> Tensor:
        """Returns (B * N, L, D)."""
        weight = self.patch_embedding.weight
        kernel = weight[:, :, 0] if weight.ndim == 5 else weight
        patches = conv2d(pixels_BNCHW.flatten(0, 1), kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        clips, frames = pixels_BNCHW.shape[:2]
        cls_ND = self.class_embedding.expand(frames, -1)  # one for all frames, or one for each frame
        cls = cls_ND.repeat(clips, 1)[:, None]
        return torch.cat([cls, patches], dim=1) + self.position_embedding.weight


class Attention(nn.Module):
    """Self-attention with biases everywhere."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        q, k, v = (
            p(x_BLD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU, or its quick approximation, between them."""

    def __init__(self, sizes: LanguageBindSizes) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.mlp), nn.Linear(sizes.mlp, sizes.width)
        self.is_quick = sizes.is_quick

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        x = self.fc1(x_BLD)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.is_quick else gelu(x))


class Layer(nn.Module):
    """Attention over time (in video towers), attention within each frame, MLP: each normed first, with a residual."""

    def __init__(self, sizes: LanguageBindSizes) -> None:
        super().__init__()
        self.frames = sizes.frames
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.layer_norm1 = nn.LayerNorm(sizes.width, eps=1e-5)
        self.mlp = Mlp(sizes)
        self.layer_norm2 = nn.LayerNorm(sizes.width, eps=1e-5)
        if sizes.frames > 1:
            self.temporal_embedding = nn.Parameter(torch.zeros(1, sizes.frames, sizes.width))
            self.temporal_attn = Attention(sizes.width, sizes.heads)
            self.temporal_layer_norm1 = nn.LayerNorm(sizes.width, eps=1e-5)

    def forward(self, x_FLD: Tensor) -> Tensor:
        """Frames of all clips (B * N, L, D) -> (B * N, L, D)."""
        if self.frames > 1:
            x_FLD = self._over_time(x_FLD)
        x_FLD = x_FLD + self.self_attn(self.layer_norm1(x_FLD))
        return x_FLD + self.mlp(self.layer_norm2(x_FLD))

    def _over_time(self, x_FLD: Tensor) -> Tensor:
        x_BNLD = x_FLD.unflatten(0, (-1, self.frames)) + self.temporal_embedding[:, :, None]
        x_BLND = x_BNLD.transpose(1, 2)
        attended = self.temporal_attn(self.temporal_layer_norm1(x_BLND.flatten(0, 1))).view_as(x_BLND)
        return (x_BLND + attended).transpose(1, 2).flatten(0, 1)


class Layers(nn.Module):
    """The blocks, under their name in the files."""

    def __init__(self, sizes: LanguageBindSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))


class LanguageBindTower(nn.Module):
    """The published tower, without the prefix `vision_model.`."""

    def __init__(self, sizes: LanguageBindSizes) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.pre_layrnorm = nn.LayerNorm(sizes.width, eps=1e-5)  # spelt like this in the files
        self.encoder = Layers(sizes)
        self.post_layernorm: nn.Module = nn.LayerNorm(sizes.width, eps=1e-5)

    def forward(self, pixels_BNCHW: Tensor) -> Tensor:
        """Hidden states (B * N, L, D) after the last block, class token first. There is no final norm."""
        x_FLD = self.pre_layrnorm(self.embeddings(pixels_BNCHW))
        for layer in self.encoder.layers:
            x_FLD = layer(x_FLD)
        return x_FLD


class _LanguageBindEncoder(VisionEncoder):
    """The base of both: loading, and features without class tokens."""

    def __init__(self, weights: str, layer: int, layout: Layout) -> None:
        super().__init__()
        path = find_file(weights, layout)
        tensors = tower_tensors(path, layout)
        sizes = languagebind_sizes(shapes_of(tensors), path)
        blocks = blocks_read(layer, sizes.depth, weights)
        with torch.device("meta"):
            self.tower = LanguageBindTower(replace(sizes, depth=blocks))
        load_strictly(self.tower, without_blocks(tensors, "encoder.layers.", blocks), path)
        self.tower.post_layernorm = nn.Identity()  # of the pooled class token, which no feature needs
        side = sizes.image // sizes.patch
        self.frames, self.grid, self.width = sizes.frames, (sizes.frames, side, side), sizes.width
        self.resolution = sizes.image

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        states_FLD = self.tower(self.pixels(clips_BNHWC, self.resolution))
        return states_FLD[:, 1:].unflatten(1, self.grid[1:]).unflatten(0, clips_BNHWC.shape[:2])


class LanguageBindImageEncoder(_LanguageBindEncoder):
    """uint8 RGB frames -> patches of one hidden state."""

    normalisation, interpolation, antialias, rounds = FAMILIES["languagebind_image"].pixels

    def __init__(self, config: LanguageBindImage) -> None:
        super().__init__(config.weights, config.layer, LANGUAGEBIND_IMAGE)
        if self.frames > 1:
            raise CheckpointError(f"{config.weights} is a tower for videos; use kind: languagebind_video")


class LanguageBindVideoEncoder(_LanguageBindEncoder):
    """uint8 RGB clips -> patches of each frame, of one hidden state. The weights fix the number of frames."""

    normalisation, interpolation, antialias, rounds = FAMILIES["languagebind_video"].pixels

    def __init__(self, config: LanguageBindVideo) -> None:
        super().__init__(config.weights, config.layer, LANGUAGEBIND_VIDEO)
        if self.frames != config.frames:
            raise CheckpointError(
                f"{config.weights} takes clips of {self.frames} frames, not {config.frames}; set its `frames` "
                f"to {self.frames}"
            )
