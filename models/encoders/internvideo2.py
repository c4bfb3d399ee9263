"""InternVideo2, stage 2 (Wang et al., arXiv 2403.15377), with the names of its published file; plain torch.

Shapes: B clip, N frame, L position (class token, then time, height and width in that order), D width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from models.design import InternVideo2
from models.encoders.base import VisionEncoder
from models.families import FAMILIES
from models.weights import (
    INTERNVIDEO2,
    InternVideo2Sizes,
    blocks_read,
    find_file,
    internvideo2_sizes,
    load_strictly,
    shapes_of,
    tower_tensors,
    without_blocks,
)


class RmsNorm(nn.Module):
    """Division by the root mean square, then a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Normalise the last dimension: (B, L, D) -> (B, L, D)."""
        scaled = x_BLD.float() * torch.rsqrt(x_BLD.float().square().mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(x_BLD.dtype)


class LayerScale(nn.Module):
    """A learned scale of a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D), computed in fp32."""
        return (x_BLD.float() * self.gamma.float()).to(x_BLD.dtype)


class Attention(nn.Module):
    """Self-attention whose queries and keys are normed over all heads together."""

    FUSED: ClassVar = {"qkv": 3}
    """Layers that hold several matrices -> their number (models/training/weights.py)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm, self.k_norm = RmsNorm(width), RmsNorm(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        q, k, v = self.qkv(x_BLD).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q_norm(q), self.k_norm(k), v))
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, sizes: InternVideo2Sizes) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(sizes.width, sizes.mlp), nn.Linear(sizes.mlp, sizes.width)
        self.approximate = "tanh" if sizes.gelu == "tanh" else "none"

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        return self.fc2(gelu(self.fc1(x_BLD), approximate=self.approximate))


class Block(nn.Module):
    """Attention, then MLP, each on a normed input, scaled, and with a residual connection."""

    def __init__(self, sizes: InternVideo2Sizes) -> None:
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(sizes.width), RmsNorm(sizes.width)
        self.attn = Attention(sizes.width, sizes.heads)
        self.mlp = Mlp(sizes)
        self.ls1, self.ls2 = LayerScale(sizes.width), LayerScale(sizes.width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        x_BLD = x_BLD + self.ls1(self.attn(self.norm1(x_BLD)))
        return x_BLD + self.ls2(self.mlp(self.norm2(x_BLD)))


class PatchEmbed(nn.Module):
    """Patches of single frames; the file names only `proj`."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, kernel_size=(1, patch, patch), stride=(1, patch, patch))

    def forward(self, pixels_BCNHW: Tensor) -> Tensor:
        """Returns (B, N * H * W, D)."""
        return self.proj(pixels_BCNHW).flatten(2).transpose(1, 2)


class InternVideo2Tower(nn.Module):
    """The published tower without the heads that only its training used."""

    def __init__(self, sizes: InternVideo2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        in_frame = sizes.side**2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.frames * in_frame + 1, sizes.width))
        self.img_pos_embed: nn.Parameter | None = nn.Parameter(torch.zeros(1, in_frame + 1, sizes.width))
        self.patch_embed = PatchEmbed(sizes.width, sizes.patch)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))

    def forward(self, pixels_BCNHW: Tensor, *, is_image: bool = False) -> Tensor:
        """Hidden states (B, L, D) after the last block, class token first. There is no final norm.

        Args:
            pixels_BCNHW: normalised frames (B, 3, N, height, width).
            is_image: use the position table of single images, which the study never did.
        """
        patches = self.patch_embed(pixels_BCNHW)
        positions = self.positions(pixels_BCNHW.shape[2])
        if is_image:
            assert self.img_pos_embed is not None, "encoders drop the table of single images"
            positions = self.img_pos_embed
        x_BLD = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + positions
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return x_BLD

    def positions(self, frames: int) -> Tensor:
        """Positions (1, L, D) for clips of `frames` frames: the stored ones, interpolated linearly in time.

        The class token's position is unchanged.
        """
        if frames == self.sizes.frames:
            return self.pos_embed
        in_frame = self.sizes.side**2
        table = self.pos_embed[:, 1:].unflatten(1, (self.sizes.frames, in_frame))  # (1, N, P, D)
        in_time = table.permute(0, 2, 3, 1).flatten(1, 2)  # (1, P * D, N)
        longer = interpolate(in_time, size=frames, mode="linear").unflatten(1, (in_frame, -1)).permute(0, 3, 1, 2)
        return torch.cat([self.pos_embed[:, :1], longer.flatten(1, 2)], dim=1)


class InternVideo2Encoder(VisionEncoder):
    """uint8 RGB clips -> patches of each frame, of one block, without the class token."""

    normalisation, interpolation, antialias, rounds = FAMILIES["internvideo2"].pixels

    def __init__(self, config: InternVideo2) -> None:
        super().__init__()
        path = find_file(config.weights, INTERNVIDEO2)
        tensors = tower_tensors(path, INTERNVIDEO2)
        sizes = replace(internvideo2_sizes(shapes_of(tensors), config.weights), gelu=config.gelu)
        blocks = blocks_read(config.layer, sizes.depth, config.weights)
        with torch.device("meta"):
            self.tower = InternVideo2Tower(replace(sizes, depth=blocks))
        load_strictly(self.tower, without_blocks(tensors, "blocks.", blocks), path)
        self.tower.img_pos_embed = None  # positions of single images: the study ran images as clips
        self.frames, self.width, self.resolution = config.frames, sizes.width, sizes.image
        self.grid = (config.frames, sizes.side, sizes.side)

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        """See `VisionEncoder`."""
        states = self.tower(self.pixels(clips_BNHWC, self.resolution).transpose(1, 2))
        return states[:, 1:].unflatten(1, self.grid)
