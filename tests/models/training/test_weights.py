"""Which parameters decay, which Muon updates, and how fused layers divide: for encoders, resamplers and LLMs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    Glm4Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MptConfig,
    PersimmonConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Trainer,
)

from models.architecture.resamplers import ConvPoolResampler, MlpPoolResampler, PerceiverResampler
from models.design import AdamW, LearningRates, Muon, Perceiver
from models.encoders.internvideo2 import InternVideo2Tower
from models.encoders.languagebind import LanguageBindTower
from models.encoders.vjepa import VjepaTower
from models.training import Muon32, make_optimizers
from models.training.weights import Fused, refuse_indivisible, weights_that_learn
from models.weights import InternVideo2Sizes, LanguageBindSizes, VjepaSizes
from tests.models.encoders.test_transformers_families import SMALL

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(**GROUPED, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "llama": LlamaConfig(**GROUPED, pad_token_id=0, rms_norm_eps=1e-5),
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=8),
    "phi3": Phi3Config(**GROUPED, pad_token_id=0),
    "gpt2": GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=4),
    "gpt-neox": GPTNeoXConfig(**SIZES),
    "mpt": MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=50),
    "glm4": Glm4Config(**GROUPED, head_dim=8, pad_token_id=0),
    "persimmon": PersimmonConfig(**SIZES),
}
RESAMPLER = Perceiver(kind="perceiver", tokens_per_frame=2, heads=2, head_dim=8, kv_heads=1)
TOWER: dict[str, Any] = {"width": 32, "depth": 1, "heads": 4, "mlp": 48}


def llm(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).eval()


def vjepa() -> nn.Module:
    return VjepaTower(VjepaSizes(image=32, frames=4, **TOWER))


def internvideo2() -> nn.Module:
    return InternVideo2Tower(InternVideo2Sizes(image=28, frames=2, **TOWER))


EMBEDDINGS = {"model.embed_tokens.weight"}
SIGLIP = {"embeddings.position_embedding.weight", "head.probe"}
PARTS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "qwen2": (lambda: llm("qwen2"), EMBEDDINGS),
    "qwen3": (lambda: llm("qwen3"), EMBEDDINGS),
    "llama": (lambda: llm("llama"), EMBEDDINGS),
    "gemma3": (lambda: llm("gemma3"), EMBEDDINGS),
    "phi3": (lambda: llm("phi3"), EMBEDDINGS),
    "gpt2": (lambda: llm("gpt2"), {"transformer.wte.weight", "transformer.wpe.weight"}),
    "gpt-neox": (lambda: llm("gpt-neox"), {"gpt_neox.embed_in.weight"}),
    "siglip": (SMALL["siglip"], SIGLIP),
    "siglip2": (SMALL["siglip2"], SIGLIP),
    "clip": (SMALL["clip"], {"embeddings.class_embedding", "embeddings.position_embedding.weight"}),
    "dinov2": (
        SMALL["dinov2"],
        {
            "embeddings.cls_token",
            "embeddings.mask_token",
            "embeddings.position_embeddings",
            *(f"encoder.layer.{block}.layer_scale{number}.lambda1" for block in range(3) for number in (1, 2)),
        },
    ),
    "videomae": (SMALL["videomae"], set()),
    "vjepa2": (SMALL["vjepa2"], {"predictor.embeddings.mask_tokens"}),
    "vjepa": (vjepa, {"pos_embed"}),
    "internvideo2": (
        internvideo2,
        {
            *("cls_token", "pos_embed", "img_pos_embed", "blocks.0.norm1.weight", "blocks.0.norm2.weight"),
            *("blocks.0.ls1.gamma", "blocks.0.ls2.gamma"),
        },
    ),
    "languagebind": (
        lambda: LanguageBindTower(LanguageBindSizes(image=28, frames=2, is_conv3d=True, **TOWER)),
        {
            *("embeddings.class_embedding", "embeddings.position_embedding.weight"),
            "encoder.layers.0.temporal_embedding",
        },
    ),
    "perceiver": (lambda: PerceiverResampler(RESAMPLER, 16, 32, 2), {"resampler.latents"}),
    "mlp-pool": (lambda: MlpPoolResampler(16, 32, (1, 1, 1)), set()),
    "conv-pool": (lambda: ConvPoolResampler(16, 32, (1, 1, 1)), set()),
}
"""Part -> the parameters that `Trainer` lets decay and we spare: tables, tokens, latents, and norms and layer scales
that it does not recognise by their names."""


def output_of(part: nn.Module) -> nn.Module | None:
    return part.get_output_embeddings() if hasattr(part, "get_output_embeddings") else None


@pytest.mark.parametrize("name", PARTS)
def test_what_decays_is_what_trainer_lets_decay_without_tables_tokens_and_latents(name: str):
    make, spared_by_us_alone = PARTS[name]
    part = make()
    weights = list(weights_that_learn(part, output_of(part)))
    assert [weight.name for weight in weights] == [name for name, _ in part.named_parameters()]
    decaying = {weight.name for weight in weights if weight.kind != "spared"}
    theirs = set(Trainer.get_decay_parameter_names(Trainer.__new__(Trainer), part)) & {w.name for w in weights}
    assert theirs - decaying == spared_by_us_alone
    assert decaying <= theirs
    assert {w.name for w in weights if w.kind == "output"} <= {"lm_head.weight"}
    assert all(weight.is_divisible for weight in weights)


def whole(vision: nn.Module, connector: nn.Module, llm: nn.Module) -> Any:
    """A stand-in with the parts of a video-LMM, whose forward pass is not needed."""
    parts = {"vision": vision, "connector": connector, "llm": llm}
    return SimpleNamespace(parts=lambda: parts, llm=llm)


@pytest.mark.parametrize("config", [AdamW(kind="adamw", weight_decay=0.5), Muon(kind="muon", weight_decay=0.5)])
@pytest.mark.parametrize(
    "names", [("siglip", "perceiver", "qwen2"), ("internvideo2", "conv-pool", "gpt2"), ("vjepa", "mlp-pool", "phi3")]
)
def test_a_step_without_gradients_shrinks_matrices_alone(names: tuple[str, str, str], config: AdamW | Muon):
    model = whole(*(PARTS[name][0]() for name in names))
    before = {}
    for name, part in model.parts().items():
        for weight in weights_that_learn(part, output_of(model.llm)):
            weight.parameter.grad = torch.zeros_like(weight.parameter)
            before[name, weight.name] = (weight, weight.parameter.detach().clone())
    optimizers = make_optimizers(model, config, LearningRates(vision=0.1, connector=0.1, llm=0.1))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    assert sum(len(group["params"]) for group in groups) == len(before), "each is in one group"
    for optimizer in optimizers:
        optimizer.step()
    for weight, old in before.values():
        factor = 1.0 if weight.kind == "spared" else 1 - 0.1 * 0.5
        torch.testing.assert_close(weight.parameter.detach(), factor * old)


def test_muon_updates_matrices_and_kernels_and_adamw_the_rest():
    model = whole(PARTS["languagebind"][0](), PARTS["conv-pool"][0](), llm("llama"))
    muon, adamw = make_optimizers(model, Muon(kind="muon"), LearningRates(vision=0.1, connector=0.1, llm=0.1))
    names = {
        id(weight.parameter): weight.name
        for part in model.parts().values()
        for weight in weights_that_learn(part, output_of(model.llm))
    }
    by_muon, by_adamw = (
        {names[id(p)] for group in optimizer.param_groups for p in group["params"]} for optimizer in (muon, adamw)
    )
    assert isinstance(muon, Muon32)
    assert {"rise.weight", "proj.weight", "embeddings.patch_embedding.weight"} <= by_muon
    assert {"model.embed_tokens.weight", "lm_head.weight", "rise.bias", "embeddings.class_embedding"} <= by_adamw


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    groups=st.integers(1, 3),
    dim=st.sampled_from([0, 1]),
    inputs=st.integers(1, 5),
)
def test_a_weight_divides_into_its_matrices_and_back(sizes: list[int], groups: int, dim: int, inputs: int):
    fused = Fused(sizes=tuple(sizes), groups=groups, dim=dim)
    outputs = sum(sizes) * groups
    weight = torch.arange(float(outputs * inputs)).view(outputs, inputs)
    weight = weight.mT.contiguous() if dim else weight
    matrices = fused.split(weight)
    assert [tuple(matrix.shape) for matrix in matrices] == [(size * groups, inputs) for size in sizes]
    assert torch.equal(fused.join(matrices), weight)


def fused_layers(part: nn.Module) -> dict[str, tuple[nn.Parameter, Fused]]:
    weights = weights_that_learn(part, output_of(part))
    return {w.name.split(".")[-2]: (w.parameter, w.fused) for w in weights if w.fused is not None}


ATTENTION: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "phi3": (lambda: llm("phi3"), "qkv_proj"),
    "gpt2": (lambda: llm("gpt2"), "c_attn"),
    "gpt-neox": (lambda: llm("gpt-neox"), "query_key_value"),
    "mpt": (lambda: llm("mpt"), "Wqkv"),
    "persimmon": (lambda: llm("persimmon"), "query_key_value"),
    "vjepa": (vjepa, "qkv"),
    "internvideo2": (internvideo2, "qkv"),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_the_matrices_of_attention_are_its_queries_keys_and_values(name: str):
    """Without queries, keys have no effect; without values, neither queries nor keys have any."""
    make, layer = ATTENTION[name]
    part = make()
    weight, fused = fused_layers(part)[layer]
    queries, keys, values = fused.split(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    pixels = {"vjepa": (1, 3, 4, 32, 32), "internvideo2": (1, 3, 2, 28, 28)}
    inputs = torch.rand(pixels[name]) if name in pixels else torch.tensor([[1, 7, 3, 9]])

    @torch.no_grad()
    def outputs(*matrices: Tensor) -> Tensor:
        weight.copy_(fused.join(list(matrices)))
        result = part(inputs)
        return result.logits if name in CONFIGS else result

    for bias in (p for n, p in part.named_parameters() if n.endswith(f"{layer}.bias")):
        nn.init.zeros_(bias)
    none = torch.zeros_like
    torch.testing.assert_close(outputs(none(queries), keys, values), outputs(none(queries), -keys.flip(0), values))
    torch.testing.assert_close(outputs(queries, keys, none(values)), outputs(-queries, keys.flip(0), none(values)))
    assert (outputs(queries, keys, values) - outputs(-queries, keys, values)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["phi3", "glm4"])
def test_the_matrices_of_a_gated_mlp_are_gate_and_up(name: str):
    mlp = llm(name).model.layers[0].mlp
    weight, fused = fused_layers(block := nn.ModuleList([mlp]))["gate_up_proj"]
    gate, up = fused.split(weight.detach())
    x = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.linear(mlp.activation_fn(x @ gate.T) * (x @ up.T), mlp.down_proj.weight)
    torch.testing.assert_close(block[0](x), expected)


def test_a_fused_and_a_split_model_of_the_same_weights_take_the_same_steps():
    """Phi-3 is a Llama whose queries, keys and values, and gate and up projections, are fused."""
    apart, together = llm("llama").double(), llm("phi3").double()

    def copy_to_fused() -> dict[str, Tensor]:
        weights = {name: value.clone() for name, value in apart.state_dict().items()}
        for layer, names in (("self_attn.qkv_proj", "qkv"), ("mlp.gate_up_proj", ("gate", "up"))):
            path, _, _ = f"model.layers.0.{layer}".rpartition(".")
            parts = [weights.pop(f"{path}.{part}_proj.weight") for part in names]
            weights[f"model.layers.0.{layer}.weight"] = torch.cat(parts)
        return weights

    together.load_state_dict(copy_to_fused())
    start = together.model.layers[0].self_attn.qkv_proj.weight.detach().clone()
    rates, none = LearningRates(llm=0.02), nn.ModuleList()
    optimizers = [make_optimizers(whole(none, none, one), Muon(kind="muon"), rates) for one in (apart, together)]
    for step in range(3):
        ids = torch.randint(50, (2, 8), generator=torch.Generator().manual_seed(step))
        for one, of_one in zip((apart, together), optimizers, strict=True):
            one(ids, labels=ids).loss.backward()
            for optimizer in of_one:
                optimizer.step()
                optimizer.zero_grad()
    expected = copy_to_fused()
    assert (start - expected["model.layers.0.self_attn.qkv_proj.weight"]).abs().max() > 0.005
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_muon_refuses_layers_that_it_cannot_divide():
    falcon = AutoModelForCausalLM.from_config(
        FalconConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    )
    experts = AutoModelForCausalLM.from_config(Qwen3MoeConfig(**GROUPED, moe_intermediate_size=16, num_experts=4))
    for model, layer in ((falcon, "query_key_value.weight"), (experts, "experts.gate_up_proj")):
        rates, none = LearningRates(llm=0.1), nn.ModuleList()
        with pytest.raises(ValueError, match=rf"{layer} \(.*\) seems to hold several matrices.*kind: adamw"):
            make_optimizers(whole(none, none, model), Muon(kind="muon"), rates)
        assert make_optimizers(whole(none, none, model), AdamW(kind="adamw"), rates)


def test_a_custom_encoder_states_the_matrices_of_its_own_layers():
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(4, 12)

    with pytest.raises(ValueError, match=r'qkv.weight \(12 x 4\).*FUSED = \{"LAYER": NUMBER_OF_MATRICES\}'):
        refuse_indivisible(list(weights_that_learn(Mixer())))
    Mixer.FUSED = {"qkv": 3}  # type: ignore[attr-defined]
    refuse_indivisible(list(weights_that_learn(Mixer())))
    assert fused_layers(nn.ModuleList([Mixer()]))["qkv"][1].sizes == (4, 4, 4)
