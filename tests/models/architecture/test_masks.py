"""The additive attention mask is one tensor, whatever the dtype in which layers compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from models.architecture import VideoLMM
from models.architecture.llm import refuse_unpackable, refuse_unpackable_kind
from models.data import Branch, Row, collate
from models.encoders import CombinedEncoder
from models.weights import CheckpointError
from tests.models.encoders.test_combine import Marker

LENGTH = 40


def lmm(layers: int) -> VideoLMM:
    torch.manual_seed(0)
    sizes = Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return VideoLMM(CombinedEncoder([Marker(1, (1, 2, 2), 3)]), torch.nn.Identity(), Qwen2ForCausalLM(sizes))


@pytest.mark.parametrize("autocast", [False, True])
def test_all_layers_save_the_same_mask(autocast: bool):
    model = lmm(6)
    targets = tuple((position, 1) for position in range(20))
    batch = collate([Row([3] * 20, [Branch(tuple(range(20)), targets)])])
    masks: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.shape[-2:] == (LENGTH, LENGTH) and tensor.shape[:-2].numel() == 1:
            masks[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model.loss(batch)
        assert len(masks) == 1
    loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packs_are_checked_in_any_dtype(dtype: torch.dtype, monkeypatch):
    """Rounding in bf16 is no reason to refuse an LLM; branches that attend to each other are, in any dtype."""
    model = lmm(6)
    for weight in model.llm.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)  # a wrong mask then changes log-probabilities by nats
    model.to(dtype)
    refuse_unpackable("w", model)
    causal = torch.full((1, 1, 9, 9), -torch.inf, dtype=dtype).triu(1)
    monkeypatch.setattr("models.architecture.video_lmm.attention_masks", lambda *_: causal)
    with pytest.raises(CheckpointError, match="does not answer packed questions as it answers them alone"):
        refuse_unpackable("w", model)


def test_llms_are_checked_by_a_small_one_of_their_kind(monkeypatch):
    """Of a 7B no second copy is needed, and no random number of the trial's is drawn; once for a config."""
    sizes = {"hidden_size": 3584, "intermediate_size": 18_944, "num_attention_heads": 28, "num_key_value_heads": 4}
    config = Qwen2Config(vocab_size=152_064, num_hidden_layers=28, pad_token_id=151_643, **sizes)
    state = torch.random.get_rng_state()
    refuse_unpackable_kind("w", config)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (config.num_hidden_layers, config.vocab_size) == (28, 152_064)
    causal = torch.full((1, 1, 9, 9), -torch.inf).triu(1)
    monkeypatch.setattr("models.architecture.video_lmm.attention_masks", lambda *_: causal)
    refuse_unpackable_kind("w", config)
    config.rms_norm_eps = 1e-5
    with pytest.raises(CheckpointError, match="w is of model type 'qwen2', which does not answer packed questions"):
        refuse_unpackable_kind("w", config)
