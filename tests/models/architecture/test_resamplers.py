"""Resamplers: Apollo's released Perceiver to the digit, and its published sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from models.architecture import build_resampler
from models.architecture.resamplers import PerceiverResampler, pool
from models.design import ConvPool, Fps, MlpPool, Perceiver, Resampler, Uniform
from models.video import pooled_shape

GOLDENS = Path(__file__).parents[1] / "goldens"


def test_perceiver_reproduces_the_reference():
    """Outputs of Apollo's own code (`perciver`, two layers) for weights and inputs that are stored with them."""
    config = Perceiver(kind="perceiver", tokens_per_frame=8, depth=2, heads=4, head_dim=24, kv_heads=2)
    resampler = PerceiverResampler(config, features=80, width=64, tokens=8)
    resampler.load_state_dict(load_file(GOLDENS / "perceiver.weights.safetensors"), strict=True)
    golden = load_file(GOLDENS / "perceiver.safetensors")
    output = resampler(golden["input"][:, None, None])
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("width", "latents", "millions"), [(1536, 32, 38.21), (2048, 64, 63.60), (3584, 64, 177.35)])
def test_perceiver_has_the_published_sizes(width: int, latents: int, millions: float):
    """Parameters for 2560 channels of InternVideo2 + SigLIP (Apollo, Table 7)."""
    config = Perceiver(kind="perceiver", tokens_per_frame=latents // 4)
    tokens = config.tokens_per_clip(4, Fps(kind="fps", fps=2))
    with torch.device("meta"):
        resampler = build_resampler(config, features=2560, width=width, grid=(4, 27, 27), tokens=tokens)
    assert round(sum(p.numel() for p in resampler.parameters()) / 1e6, 2) == millions


KINDS = [
    Perceiver(kind="perceiver", tokens_per_frame=3),
    MlpPool(kind="mlp_pool", tokens_per_frame=3),
    ConvPool(kind="conv_pool", tokens_per_frame=3),
]


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_tokens_and_width_are_what_the_config_says(config: Resampler):
    tokens = config.tokens_per_clip(2, Uniform(kind="uniform", frames=2))
    resampler = build_resampler(config, features=20, width=32, grid=(2, 4, 4), tokens=tokens)
    assert resampler(torch.randn(5, 2, 4, 4, 20)).shape == (5, 6, 32)


@pytest.mark.parametrize("kind", [MlpPool, ConvPool])
def test_pools_keep_instants_and_places_apart(kind: type[MlpPool] | type[ConvPool]):
    config = kind(kind="mlp_pool" if kind is MlpPool else "conv_pool", tokens_per_frame=2)
    resampler = build_resampler(config, features=8, width=16, grid=(2, 4, 6), tokens=4)
    clip = torch.randn(1, 2, 4, 6, 8)
    other = clip.clone()
    other[:, 1, :, 5:] += 1  # the second instant's right edge
    before, after = resampler(clip), resampler(other)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_a_pool_of_as_many_tokens_as_places_is_the_grid_in_its_order():
    grid = torch.arange(24.0).view(1, 2, 3, 4, 1)
    assert torch.equal(pool(grid, pooled_shape(24, (2, 3, 4)))[0, :, 0], torch.arange(24.0))


@given(st.integers(1, 64), st.integers(1, 8), st.integers(4, 27))
def test_pooled_shapes_make_the_tokens_asked_for_and_fit(tokens: int, time: int, side: int):
    try:
        shape = pooled_shape(tokens, (time, side, side))
    except ValueError:
        assert tokens > side  # a row always fits where a side is long enough
        return
    assert math.prod(shape) == tokens
    assert all(n <= limit for n, limit in zip(shape, (time, side, side), strict=True))


@pytest.mark.parametrize(("tokens", "grid", "shape"), [(64, (4, 27, 27), (4, 4, 4)), (2, (1, 4, 4), (1, 1, 2))])
def test_pooled_shapes_are_near_to_squares(tokens: int, grid: tuple[int, int, int], shape: tuple[int, int, int]):
    assert pooled_shape(tokens, grid) == shape


@pytest.mark.parametrize(
    ("fields", "sampling", "tokens", "says"),
    [
        ({"tokens_per_second": 32}, {"kind": "fps", "fps": 2}, 64, None),
        ({"tokens_per_second": 6.4}, {"kind": "fps", "fps": 1.6}, 16, None),
        ({"tokens_per_frame": 16}, {"kind": "uniform", "frames": 8}, 64, None),
        ({"tokens_per_second": 32}, {"kind": "uniform", "frames": 8}, None, "needs sampling of kind fps"),
        ({"tokens_per_second": 3}, {"kind": "fps", "fps": 5}, None, "make 2.4 tokens for a clip of 4 frames at 5 fps"),
    ],
)
def test_tokens_follow_from_frames_or_seconds(fields, sampling, tokens, says):
    config = Perceiver(kind="perceiver", **fields)
    sampling = Fps(**sampling) if sampling["kind"] == "fps" else Uniform(**sampling)
    if says is None:
        assert config.tokens_per_clip(4, sampling) == tokens
    else:
        with pytest.raises(ValueError, match=says):
            config.tokens_per_clip(4, sampling)


@pytest.mark.parametrize("fields", [{}, {"tokens_per_frame": 1, "tokens_per_second": 1}])
def test_one_way_of_counting_tokens_is_given(fields):
    with pytest.raises(ValueError, match="give either tokens_per_frame or tokens_per_second"):
        Perceiver(kind="perceiver", **fields)
