"""Resamplers: features of a clip -> a fixed number of tokens of the LLM's width.

Shapes: B clip, T, H, W cell of the grid, F = T * H * W feature, R resampled token, D width of the LLM, V width of
features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d, gelu, scaled_dot_product_attention, silu

from models.design import Perceiver


class ScaledNorm(nn.Module):
    """LayerNorm followed by another learned scale (spelled `wheight` in Apollo's checkpoints)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wheight = nn.Parameter(torch.ones(width))

    def forward(self, x_BRD: Tensor) -> Tensor:
        """Normalise the last dimension: (B, R, D) -> (B, R, D)."""
        return self.norm(x_BRD) * self.wheight


class CrossAttention(nn.Module):
    """Attention of latents to features: queries come from the latents, keys and values from features and latents.

    Grouped keys and values; no bias, no position embeddings.
    """

    def __init__(self, width: int, config: Perceiver) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(width, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, width, bias=False)
        for proj in (self.q_proj, self.k_proj):
            # Attention logits of variance 1. With torch's default the variance is 1/9: latents then start with the
            # mean of all features, and in some seeds they never learned to tell small objects apart
            # (docs/tiny-study.md).
            nn.init.normal_(proj.weight, std=width**-0.5)

    def forward(self, latents_BRD: Tensor, context_BFD: Tensor) -> Tensor:
        """Latents (B, R, D) and features (B, F, D) -> (B, R, D)."""
        kv_inputs = torch.cat([context_BFD, latents_BRD], dim=1)
        q, k, v = (
            proj(x).unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
            for proj, x, heads in (
                (self.q_proj, latents_BRD, self.heads),
                (self.k_proj, kv_inputs, self.kv_heads),
                (self.v_proj, kv_inputs, self.kv_heads),
            )
        )
        out = scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.kv_heads)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class GatedMlp(nn.Module):
    """SiLU-gated MLP with an inner width of 4 D, without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, 4 * width, bias=False)
        self.up_proj = nn.Linear(width, 4 * width, bias=False)
        self.down_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BRD: Tensor) -> Tensor:
        """(B, R, D) -> (B, R, D)."""
        return self.down_proj(silu(self.gate_proj(x_BRD)) * self.up_proj(x_BRD))


class PerceiverLayer(nn.Module):
    """Cross-attention, then MLP, each added to the latents; parameters named as in Apollo's checkpoints."""

    def __init__(self, width: int, config: Perceiver) -> None:
        super().__init__()
        self.input_latents_norm = ScaledNorm(width)
        self.input_context_norm = ScaledNorm(width)
        self.self_attn = CrossAttention(width, config)
        self.post_attention_layernorm = ScaledNorm(width)
        self.mlp = GatedMlp(width)

    def forward(self, latents_BRD: Tensor, context_BFD: Tensor) -> Tensor:
        """Latents (B, R, D) and features (B, F, D) -> (B, R, D)."""
        queries_BRD = self.input_latents_norm(latents_BRD)
        latents_BRD = latents_BRD + self.self_attn(queries_BRD, self.input_context_norm(context_BFD))
        return latents_BRD + self.mlp(self.post_attention_layernorm(latents_BRD))


class Latents(nn.Module):
    """Learned latents and their Perceiver layers.

    Latents are initialised with small random values: Apollo's initialisation is not published, and equal latents would
    stay equal.
    """

    def __init__(self, config: Perceiver, width: int, tokens: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(tokens, width) / math.sqrt(width))
        self.layers = nn.ModuleList(PerceiverLayer(width, config) for _ in range(config.depth))
        self.norm = ScaledNorm(width)

    def forward(self, context_BFD: Tensor) -> Tensor:
        """Features (B, F, D) -> (B, R, D)."""
        latents_BRD = self.latents.expand(len(context_BFD), -1, -1)
        for layer in self.layers:
            latents_BRD = layer(latents_BRD, context_BFD)
        return self.norm(latents_BRD)


class PerceiverResampler(nn.Module):
    """Learned latents attend to all features of a clip (Apollo, Table 1; released `mm_connector`)."""

    def __init__(self, config: Perceiver, features: int, width: int, tokens: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(features, width))
        self.resampler = Latents(config, width, tokens)

    def forward(self, features_BTHWV: Tensor) -> Tensor:
        """Features (B, T, H, W, V) -> (B, R, D)."""
        return self.resampler(self.proj(features_BTHWV.flatten(1, 3)))


class MlpPoolResampler(nn.Module):
    """Two-layer MLP on each feature, then average pooling over the clip's grid (Apollo, Table 1)."""

    def __init__(self, features: int, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.rise = nn.Linear(features, width)
        self.proj = nn.Linear(width, width)

    def forward(self, features_BTHWV: Tensor) -> Tensor:
        """Features (B, T, H, W, V) -> (B, R, D)."""
        return pool(self.proj(gelu(self.rise(features_BTHWV))), self.shape)


class ConvPoolResampler(nn.Module):
    """Two 3x3 convolutions over the grid of each instant, then average pooling over the clip's grid (Apollo, Table 1).

    The paper says "2-layer 2D conv"; kernel, stride and activation are not published. These convolutions keep the size
    of the grid.
    """

    def __init__(self, features: int, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.rise = nn.Conv2d(features, width, kernel_size=3, padding=1)
        self.proj = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, features_BTHWV: Tensor) -> Tensor:
        """Features (B, T, H, W, V) -> (B, R, D)."""
        instants = features_BTHWV.flatten(0, 1).movedim(-1, 1)
        x = self.proj(gelu(self.rise(instants))).movedim(1, -1)
        return pool(x.unflatten(0, features_BTHWV.shape[:2]), self.shape)


def pool(x_BTHWD: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Adaptive average pooling of a grid to `shape` (time, height, width), cells in that order: (B, R, D)."""
    return adaptive_avg_pool3d(x_BTHWD.movedim(-1, 1), shape).flatten(2).transpose(1, 2)
