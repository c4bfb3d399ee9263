"""Encoders without their weights, and in bf16: their geometry and, up to rounding, their features stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.architecture import BuildOptions
from models.architecture.assembly import build_encoders
from models.design import Encoder, LearningRates
from models.encoders import VisionEncoder, build_encoder, encoder_geometry
from models.presets import PRESETS
from tests.models.encoders.test_own_towers import CASES
from tests.models.encoders.test_transformers_families import SMALL, config_of

DESIGN = PRESETS["tiny"].design


def saved(name: str, folder: Path) -> Encoder:
    """The config of a random encoder that is saved there."""
    torch.manual_seed(0)
    if name in CASES:
        save, config, _ = CASES[name]
        return config(str(save(folder)[1]))
    SMALL[name]().save_pretrained(folder)
    return config_of(name, folder)


def geometry(encoder: VisionEncoder) -> tuple[object, ...]:
    return encoder.frames, encoder.grid, encoder.width, encoder.resolution


@pytest.mark.parametrize("name", SMALL)
def test_the_geometry_needs_no_weights(name: str, tmp_path: Path):
    config = saved(name, tmp_path)
    built = build_encoder(config)
    (tmp_path / "model.safetensors").unlink()
    stored = encoder_geometry(config)
    assert geometry(stored) == geometry(built)
    assert list(stored.parameters()) == []
    with pytest.raises(RuntimeError, match="2 clips have no stored features"):
        stored(torch.zeros(2, stored.frames, 32, 32, 3, dtype=torch.uint8))


@pytest.mark.parametrize("name", CASES)
def test_the_geometry_of_our_own_towers_is_in_the_files(name: str, tmp_path: Path):
    config = saved(name, tmp_path)
    assert geometry(encoder_geometry(config)) == geometry(build_encoder(config))


@pytest.mark.parametrize("name", [*SMALL, *CASES])
def test_a_frozen_encoder_in_bf16_gives_nearly_the_same_features(name: str, tmp_path: Path):
    config = saved(name, tmp_path)
    state = torch.random.get_rng_state()
    design = DESIGN.model_copy(update={"encoders": (config,)})
    (full,), (half,) = (
        build_encoders(design, BuildOptions(frozen_dtype=dtype)).encoders for dtype in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(state, torch.random.get_rng_state()), "loading draws no random number"
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    clips = torch.randint(0, 256, (1, full.frames, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, rounded = full(clips), half(clips)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - expected).norm() < 0.03 * expected.norm()


def test_an_encoder_that_learns_stays_in_fp32():
    stages = tuple(one.model_copy(update={"lr": LearningRates(vision=1e-4, connector=1e-3)}) for one in DESIGN.schedule)
    design = DESIGN.model_copy(update={"schedule": stages})
    (encoder,) = build_encoders(design, BuildOptions(frozen_dtype=torch.bfloat16)).encoders
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
