"""A frozen tower keeps one hidden state, runs in portions, and has no weights that it does not use."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel, SiglipVisionConfig, SiglipVisionModel

from models.costs import FRAMES_PER_PORTION
from models.design import Siglip
from models.encoders import CombinedEncoder, EncoderInput, VisionEncoder, Visual, build_encoder
from tests.models.encoders.clips import visual_of
from tests.models.encoders.test_own_towers import CASES
from tests.models.encoders.test_transformers_families import KINDS, SMALL


class LiveMemory(TorchDispatchMode):
    """The most bytes in storages that operations returned and that were alive at the same time."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.peak = self.now = 0
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        self._storages: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            storage = one.untyped_storage() if isinstance(one, Tensor) else None
            if storage is not None and storage._cdata not in {*self._storages, *self._weights}:
                self.now += storage.nbytes()
                self._storages[storage._cdata] = weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _free(self, address: int, size: int) -> None:
        self.now -= size
        del self._storages[address]


def deep_siglip(folder: Path, blocks: int) -> VisionEncoder:
    sizes = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    SiglipVisionModel(sizes).save_pretrained(folder / str(blocks))
    return build_encoder(Siglip(kind="siglip", weights=str(folder / str(blocks))))


def peak_bytes(encoder: VisionEncoder, frames: int) -> int:
    encoder.requires_grad_(False)
    combined = CombinedEncoder([encoder])
    visual = visual_of(combined, [torch.zeros(frames, 1, 64, 64, 3, dtype=torch.uint8)])
    with LiveMemory(list(encoder.parameters())) as memory:
        combined(visual)
    return memory.peak


def test_a_frozen_towers_memory_does_not_grow_with_its_depth(tmp_path: Path):
    shallow, deep = (peak_bytes(deep_siglip(tmp_path, blocks), 8) for blocks in (3, 30))
    state = 8 * 64 * 32 * 4
    assert deep - shallow < 3 * state


def test_a_frozen_towers_memory_grows_with_its_features_alone(tmp_path: Path):
    """Twice as many frames as a portion: only their frames and features are added."""
    encoder = deep_siglip(tmp_path, 4)
    one, three = (peak_bytes(encoder, count * FRAMES_PER_PORTION) for count in (1, 3))
    features = FRAMES_PER_PORTION * 64 * 32 * 4
    assert three - one < 5.5 * features  # the portions' features, and the same joined
    assert one > 6 * features  # pixels and a block of one portion


@pytest.mark.parametrize("frames", [1, FRAMES_PER_PORTION - 1, FRAMES_PER_PORTION + 1, 2 * FRAMES_PER_PORTION])
def test_portions_do_not_change_features(frames: int, tmp_path: Path):
    encoder = deep_siglip(tmp_path, 3)
    combined = CombinedEncoder([encoder])
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (frames, 1, 16, 16, 3), dtype=torch.uint8, generator=generator)
    visual = visual_of(combined, [clips])
    whole = combined(visual)
    assert whole.requires_grad
    encoder.requires_grad_(False)
    portioned = combined(visual)
    assert not portioned.requires_grad
    torch.testing.assert_close(portioned, whole.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learns", [True, False], ids=["learns", "frozen"])
def test_features_keep_the_dtype_of_the_tower(learns: bool, tmp_path: Path):
    combined = CombinedEncoder([deep_siglip(tmp_path, 3), deep_siglip(tmp_path, 4)]).requires_grad_(learns)
    visual = visual_of(combined, [torch.zeros(2, 1, 20, 30, 3, dtype=torch.uint8)] * 2)
    assert combined(visual).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert combined(visual).dtype == torch.bfloat16
    assert combined.bfloat16()(visual).dtype == torch.bfloat16


def test_stored_features_get_the_dtype_of_the_tower(tmp_path: Path):
    combined = CombinedEncoder([deep_siglip(tmp_path, 3)])
    features = torch.zeros(2, 1, 8, 8, 32, dtype=torch.float16)
    visual = Visual((), (EncoderInput.of((), features, torch.tensor([[1], [0], [1]])),))
    assert combined(visual).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert combined(visual).dtype == torch.bfloat16


@pytest.mark.parametrize("layer", [0, 1, -2, -1])
@pytest.mark.parametrize("name", [*SMALL, *CASES])
def test_every_weight_is_used(name: str, layer: int, tmp_path: Path):
    """Data-parallel training refuses weights that get no gradient."""
    if name in SMALL:
        SMALL[name]().save_pretrained(tmp_path)
        config = KINDS[name.removesuffix("-bundled")](str(tmp_path))
    else:
        save, config_of, _ = CASES[name]
        config = config_of(str(save(tmp_path)[1]))
    encoder = build_encoder(config.model_copy(update={"layer": layer}))
    clips = torch.zeros(1, encoder.frames, 30, 20, 3, dtype=torch.uint8)
    encoder(clips).sum().backward()
    unused = [name for name, weight in encoder.named_parameters() if weight.grad is None]
    assert unused == []


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["siglip", "siglip2", "clip", "videomae"])
def test_any_layer_is_the_hidden_state_of_transformers_to_the_bit(name: str, layer: int, tmp_path: Path):
    torch.manual_seed(0)
    model: PreTrainedModel = SMALL[name]().eval()
    model.save_pretrained(tmp_path)
    encoder = build_encoder(KINDS[name](str(tmp_path)).model_copy(update={"layer": layer}))
    inputs: list[dict[str, Tensor]] = []
    tower: nn.Module = encoder.tower
    tower.register_forward_pre_hook(lambda _, args, kwargs: inputs.append(kwargs), with_kwargs=True)
    clips = torch.randint(0, 256, (2, encoder.frames, 40, 30, 3), dtype=torch.uint8)
    with torch.inference_mode():
        features = encoder(clips).flatten(1, 3)
        states = model(**inputs[0], output_hidden_states=True).hidden_states[layer]
    assert torch.equal(features, states[:, -features.shape[1] :])
