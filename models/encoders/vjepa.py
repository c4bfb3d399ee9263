"""V-JEPA (Bardes et al., arXiv 2404.08471) with the names of its published files; plain torch.

Shapes: B clip, N frame, L tubelet (time, height, width in that order), D width.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from models.design import Vjepa
from models.encoders.base import VisionEncoder
from models.families import FAMILIES
from models.weights import (
    VJEPA,
    VjepaSizes,
    blocks_read,
    find_file,
    load_strictly,
    shapes_of,
    tower_tensors,
    tubelets_read,
    vjepa_sizes,
    without_blocks,
)


class Attention(nn.Module):
    """Self-attention with one matrix for queries, keys and values."""

    FUSED: ClassVar = {"qkv": 3}
    """Layers that hold several matrices -> their number (models/training/weights.py)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        q, k, v = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        return self.fc2(gelu(self.fc1(x_BLD)))


class Block(nn.Module):
    """Attention, then MLP, each on a normed input and with a residual connection."""

    def __init__(self, sizes: VjepaSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=1e-6)
        self.attn = Attention(sizes.width, sizes.heads)
        self.norm2 = nn.LayerNorm(sizes.width, eps=1e-6)
        self.mlp = Mlp(sizes.width, sizes.mlp)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        x_BLD = x_BLD + self.attn(self.norm1(x_BLD))
        return x_BLD + self.mlp(self.norm2(x_BLD))


class PatchEmbed(nn.Module):
    """Tubelets of pixels -> tokens; the file names only `proj`."""

    def __init__(self, width: int, tubelet: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, kernel_size=(tubelet, patch, patch), stride=(tubelet, patch, patch))

    def forward(self, pixels_BCNHW: Tensor) -> Tensor:
        """Tokens on their grid, (B, D, T, H, W)."""
        return self.proj(pixels_BCNHW)


class VjepaTower(nn.Module):
    """The published tower: names and shapes are those of `target_encoder`."""

    def __init__(self, sizes: VjepaSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(sizes.grid), sizes.width))
        self.patch_embed = PatchEmbed(sizes.width, sizes.tubelet, sizes.patch)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm: nn.Module = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, pixels_BCNHW: Tensor) -> Tensor:
        """Pixels (B, C, N, H, W) -> tokens (B, L, D) after the last block and the final norm."""
        grid_BDTHW = self.patch_embed(pixels_BCNHW)
        time, height, width = grid_BDTHW.shape[2:]
        x_BLD = grid_BDTHW.flatten(2).transpose(1, 2) + self.positions((time, height, width))
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.norm(x_BLD)

    def positions(self, grid: tuple[int, int, int]) -> Tensor:
        """Stored positions, resized to `grid` by trilinear interpolation: (1, L, D)."""
        stored = self.sizes.grid
        if grid == stored:
            return self.pos_embed
        table = self.pos_embed.unflatten(1, stored).movedim(-1, 1)
        factors = tuple(new / old for new, old in zip(grid, stored, strict=True))
        return interpolate(table, scale_factor=factors, mode="trilinear").movedim(1, -1).flatten(1, 3)


class VjepaEncoder(VisionEncoder):
    """uint8 RGB clips -> tubelets of one hidden state."""

    normalisation, interpolation, antialias, rounds = FAMILIES["vjepa"].pixels

    def __init__(self, config: Vjepa) -> None:
        super().__init__()
        path = find_file(config.weights, VJEPA)
        tensors = tower_tensors(path, VJEPA)
        sizes = vjepa_sizes(shapes_of(tensors), config.weights)
        tubelets = tubelets_read(config.frames, sizes.tubelet, config.weights)
        blocks = blocks_read(config.layer, sizes.depth, config.weights)
        with torch.device("meta"):
            self.tower = VjepaTower(replace(sizes, depth=blocks))
        load_strictly(self.tower, without_blocks(tensors, "blocks.", blocks), path)
        if blocks < sizes.depth:
            self.tower.norm = nn.Identity()  # only the last block's output goes through the final norm
        self.frames, self.width, self.resolution = config.frames, sizes.width, sizes.image
        self.grid = (tubelets, *sizes.grid[1:])

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        pixels = self.pixels(clips_BNHWC, self.resolution).transpose(1, 2)
        return self.tower(pixels).unflatten(1, self.grid)
