"""Low-rank adapters: where they are, what they compute, and that the LLM is as before without them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from models.architecture import adapters, add_adapters, build, merge_adapters
from models.costs.flops import adapter_params
from models.design import Design, Lora, TrialConfig
from models.presets import PRESETS
from models.weights import CheckpointError
from tests.models.costs.test_flops import LLM

SIZES = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
IDS = torch.arange(12).view(1, -1)


def small_llm() -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **HEADS)).eval()


def answers(llm: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return llm(IDS).logits


def moved(llm: PreTrainedModel) -> PreTrainedModel:
    """The LLM with adapters whose second factor is no longer 0."""
    for adapter in adapters(llm):
        nn.init.normal_(adapter.up, std=0.1)
    return llm


def test_new_adapters_change_no_answer_and_no_name():
    llm = small_llm()
    before, names = answers(llm), dict(llm.state_dict())
    add_adapters(llm, Lora(rank=4))
    assert torch.equal(answers(llm), before)
    after = llm.state_dict()
    assert all(after[name].data_ptr() == value.data_ptr() for name, value in names.items())
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in after.keys() - names.keys()} == {"adapter"}
    assert len(list(adapters(llm))) == 2 * 7


def test_an_adapted_layer_adds_the_scaled_product_of_its_factors():
    """Against the definition, W x + b + alpha / rank B A x."""
    llm = small_llm()
    add_adapters(llm, Lora(rank=4, alpha=8))
    layer = moved(llm).model.layers[0].self_attn.q_proj
    x = torch.randn(3, 32)
    changed = layer.weight + 2 * layer.adapter.up @ layer.adapter.down
    torch.testing.assert_close(layer(x), x @ changed.T + layer.bias)


def test_merged_adapters_leave_a_plain_llm_with_the_same_answers():
    llm = small_llm()
    names = set(llm.state_dict())
    add_adapters(llm, Lora(rank=4))
    adapted = answers(moved(llm))
    merge_adapters(llm)
    assert set(llm.state_dict()) == names
    assert not any(adapters(llm))
    torch.testing.assert_close(answers(llm), adapted, atol=1e-5, rtol=1e-4)


def test_targets_choose_the_layers():
    llm = small_llm()
    add_adapters(llm, Lora(rank=4, targets=("v_proj", "q_proj")))
    adapted = {name.split(".")[-3] for name in llm.state_dict() if "adapter" in name}
    assert adapted == {"q_proj", "v_proj"}


def test_fused_layers_have_adapters_where_all_linear_layers_do():
    llm = AutoModelForCausalLM.from_config(Phi3Config(**SIZES, num_attention_heads=4, pad_token_id=0)).eval()
    before = answers(llm)
    add_adapters(llm, Lora(rank=4))
    assert torch.equal(answers(llm), before)
    assert len(list(adapters(llm))) == 2 * 4  # qkv_proj, o_proj, gate_up_proj, down_proj


@pytest.mark.parametrize(
    ("llm", "lora", "message"),
    [
        (Phi3Config(**SIZES, num_attention_heads=4, pad_token_id=0), {"targets": ("q_proj",)}, "'phi3' has no q_proj"),
        (GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2), {}, "'gpt2' has no linear layers"),
        (LlamaConfig(**SIZES, **HEADS), {"rank": 16}, r"rank 16 is not below the width of layers.0.self_attn.k_proj"),
    ],
    ids=["other names", "no linear layers", "too wide"],
)
def test_an_llm_without_such_layers_is_refused(llm, lora, message: str):
    with pytest.raises(CheckpointError, match=message):
        add_adapters(AutoModelForCausalLM.from_config(llm), Lora(**({"rank": 4} | lora)))


def test_gradients_reach_fp32_factors_over_a_bf16_llm():
    llm = small_llm().to(torch.bfloat16).requires_grad_(False)
    add_adapters(llm, Lora(rank=4))
    moved(llm)(IDS).logits.sum().backward()
    for adapter in adapters(llm):
        for factor in (adapter.down, adapter.up):
            assert factor.grad is not None
            assert (factor.dtype, factor.grad.dtype) == (torch.float32, torch.float32)
            assert factor.grad.abs().max() > 0


def test_dropout_acts_in_training_alone():
    llm = small_llm()
    add_adapters(llm, Lora(rank=4, dropout=0.5))
    layer = moved(llm).model.layers[0].mlp.up_proj
    x = torch.randn(3, 32)
    torch.testing.assert_close(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))


def test_parameters_are_counted_to_the_unit():
    config = Qwen2Config(
        vocab_size=LLM.vocab,
        hidden_size=LLM.hidden,
        intermediate_size=LLM.mlp,
        num_hidden_layers=LLM.layers,
        num_attention_heads=LLM.heads,
        num_key_value_heads=LLM.kv_heads,
    )
    for lora in (Lora(rank=3), Lora(rank=5, targets=("o_proj", "down_proj", "k_proj"))):
        llm = Qwen2ForCausalLM(config)
        add_adapters(llm, lora)
        assert adapter_params(LLM, lora) == sum(p.numel() for a in adapters(llm) for p in a.parameters())


def test_a_design_with_adapters_starts_from_the_same_connector():
    designs = [PRESETS["tiny"].design]
    designs += [Design.model_validate(designs[0].model_dump() | {"lora": {"rank": 2}})]
    connectors = []
    for design in designs:
        torch.manual_seed(0)
        model, _ = build(TrialConfig(design=design, scale="0.05M", seed=0, samples=64))
        connectors.append(deepcopy(model.parts()["connector"].state_dict()))
    assert all(torch.equal(connectors[0][name], value) for name, value in connectors[1].items())
    assert any(adapters(model.llm))
