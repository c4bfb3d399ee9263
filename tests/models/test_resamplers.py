"""Resamplers: Apollo's released Perceiver to the digit, and its published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.build import build_resampler
from models.design import MlpPool, Perceiver
from models.resamplers import PerceiverResampler

GOLDENS = Path(__file__).parent / "goldens"


def test_perceiver_reproduces_the_reference():
    """Outputs of Apollo's own code (`perciver`, two layers) for weights and inputs that are stored with them."""
    config = Perceiver(kind="perceiver", tokens_per_frame=8, depth=2, heads=4, head_dim=24, kv_heads=2)
    resampler = PerceiverResampler(config, features=80, width=64, clip_frames=1)
    resampler.load_state_dict(load_file(GOLDENS / "perceiver.weights.safetensors"), strict=True)
    golden = load_file(GOLDENS / "perceiver.safetensors")
    output = resampler(golden["input"][:, None])
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("width", "latents", "millions"), [(1536, 32, 38.21), (2048, 64, 63.60), (3584, 64, 177.35)])
def test_perceiver_has_the_published_sizes(width: int, latents: int, millions: float):
    """Parameters for 2560 channels of InternVideo2 + SigLIP (Apollo, Table 7)."""
    with torch.device("meta"):
        config = Perceiver(kind="perceiver", tokens_per_frame=latents // 4)
        resampler = build_resampler(config, features=2560, width=width, clip_frames=4)
    assert round(sum(p.numel() for p in resampler.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("kind", [Perceiver, MlpPool])
def test_tokens_per_frame_and_width_are_what_the_config_says(kind: type[Perceiver] | type[MlpPool]):
    config = kind(kind="perceiver" if kind is Perceiver else "mlp_pool", tokens_per_frame=3)
    resampler = build_resampler(config, features=20, width=32, clip_frames=2)
    assert resampler(torch.randn(5, 2, 16, 20)).shape == (5, 6, 32)


def test_mlp_pool_keeps_frames_apart():
    resampler = build_resampler(MlpPool(kind="mlp_pool", tokens_per_frame=2), features=8, width=16, clip_frames=2)
    clip = torch.randn(1, 2, 4, 8)
    other = clip.clone()
    other[:, 1] += 1
    before, after = resampler(clip), resampler(other)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])
