"""An LLM that is built on the meta device and read later is the LLM that transformers loads, to the bit."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from models.architecture import BuildOptions, VideoLMM, build, load_weights
from models.architecture.llm import load_empty_llm, load_llm
from models.architecture.llm_source import materialise, names_on_meta, read_weights
from models.design import Integration, TrialConfig
from models.presets import PRESETS
from models.weights import CheckpointError, locate_tokenizer

SMALL = {"vocab_size": 173, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
CPU = torch.device("cpu")
QWEN2 = Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=True)
GPT2 = GPT2Config(vocab_size=173, n_embd=32, n_layer=2, n_head=2, n_positions=64)
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = [
    QWEN2,
    Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=False),
    LlamaConfig(**SMALL, **HEADS, rope_parameters=LLAMA3_ROPE, max_position_embeddings=128),
    Gemma3TextConfig(
        **SMALL, **HEADS, head_dim=16, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    GPT2,
    MixtralConfig(**SMALL, **HEADS, num_local_experts=2),
]
IDS = ["qwen2", "qwen2-untied", "llama3-rope", "gemma3", "gpt2", "mixtral"]


def saved(folder: Path, config: PreTrainedConfig, **options: object) -> str:
    """A random LLM in bf16, with the shipped tokenizer."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder, **options)
    shutil.copytree(locate_tokenizer("tiny/llm"), folder, dirs_exist_ok=True)
    return str(folder)


def read_later(weights: str) -> torch.nn.Module:
    llm, source = load_empty_llm(weights)
    assert all(parameter.is_meta for parameter in llm.parameters())
    assert not any(buffer.is_meta for buffer in llm.buffers())
    empty = names_on_meta(llm)
    materialise(llm, CPU)
    assert read_weights(llm, source, empty) == []
    return llm


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for kind in ("named_parameters", "named_buffers"):
        first, second = (dict(getattr(module, kind)(remove_duplicate=False)) for module in (one, other))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            assert tensor.dtype == second[name].dtype, name
            assert torch.equal(tensor, second[name]), name
    assert len(list(one.parameters())) == len(list(other.parameters())), "the same parameters are tied"
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(one(ids).logits, other(ids).logits)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_an_llm_that_is_read_later_is_the_one_that_is_loaded_at_once(config: PreTrainedConfig, tmp_path: Path):
    weights = saved(tmp_path / "llm", config)
    state = torch.random.get_rng_state()
    late = read_later(weights)
    assert torch.equal(state, torch.random.get_rng_state()), "no random number is drawn"
    assert_same(late, load_llm(weights))


def test_several_files_with_an_index(tmp_path: Path):
    weights = saved(tmp_path / "llm", QWEN2, max_shard_size="20KB")
    assert len(list(Path(weights).glob("model-*.safetensors"))) > 1
    assert_same(read_later(weights), load_llm(weights))


def test_files_in_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By a hub id, without a network."""
    commit = "c" * 40
    cached = tmp_path / "hub" / "models--who--Llm"
    saved(cached / "snapshots" / commit, QWEN2, max_shard_size="20KB")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert_same(read_later("who/Llm"), load_llm("who/Llm"))


def test_names_without_the_prefix_of_a_language_model(tmp_path: Path):
    """The files of GPT-2 on the hub have no `transformer.` before their names."""
    weights = saved(tmp_path / "llm", GPT2)
    file = Path(weights) / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    assert_same(read_later(weights), load_llm(weights))


@pytest.mark.parametrize("is_equal", [True, False])
def test_tied_embeddings_that_the_file_has_twice(is_equal: bool, tmp_path: Path):
    """They are tied where they are equal, whatever the config says."""
    weights = saved(tmp_path / "llm", QWEN2)
    file = Path(weights) / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + (0 if is_equal else 1)
    save_file(tensors, file, metadata={"format": "pt"})
    llm = read_later(weights)
    assert (llm.get_output_embeddings().weight is llm.get_input_embeddings().weight) == is_equal
    assert_same(llm, load_llm(weights))


def test_layers_may_be_wrapped_before_and_have_adapters(tmp_path: Path):
    """Names stay those of the files, and parameters that no file has are left to the caller."""
    weights = saved(tmp_path / "llm", QWEN2)
    llm, source = load_empty_llm(weights)
    layers = llm.model.layers
    layers[0] = checkpoint_wrapper(layers[0])
    layers[1].register_parameter("adapter", torch.nn.Parameter(torch.empty(2, device="meta")))
    expected = dict(load_llm(weights).named_parameters())
    empty = names_on_meta(llm)
    materialise(llm, CPU)
    (adapter,) = read_weights(llm, source, empty)
    assert adapter.endswith("layers.1.adapter")
    for name, parameter in llm.named_parameters():
        if name != adapter:
            assert torch.equal(parameter, expected.pop(name.replace("_checkpoint_wrapped_module.", "")))
    assert not expected


def test_large_tensors_are_read_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.weights.tensor_files.PORTION_BYTES", 1000)
    weights = saved(tmp_path / "llm", QWEN2)
    assert_same(read_later(weights), load_llm(weights))


def test_a_pickle_is_read_as_a_whole(tmp_path: Path):
    weights = saved(tmp_path / "llm", QWEN2)
    file = Path(weights) / "model.safetensors"
    torch.save(load_file(file), Path(weights) / "pytorch_model.bin")
    file.unlink()
    assert_same(read_later(weights), load_llm(weights))


def test_what_does_not_fit_is_refused_in_the_same_words(tmp_path: Path):
    weights = saved(tmp_path / "llm", Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=False))
    file = Path(weights) / "model.safetensors"
    whole = load_file(file)
    first = "model.layers.1.input_layernorm.weight"
    for tensors in (
        {name: tensor for name, tensor in whole.items() if ".layers.1." not in name},
        {name: tensor for name, tensor in whole.items() if "lm_head" not in name},
        whole | {"adapter.weight": torch.ones(2)},
        whole | {first: torch.ones(7)},
        {f"module.{name}": tensor for name, tensor in whole.items()},
        whole | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)},
    ):
        save_file(tensors, file, metadata={"format": "pt"})
        assert refusal(load_empty_llm, weights) == refusal(load_llm, weights)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "the weights are damaged or truncated" in str(refusal(load_empty_llm, weights))


def refusal(load: object, weights: str) -> str | None:
    try:
        load(weights)  # type: ignore[operator]
    except CheckpointError as error:
        return str(error)
    return None


@pytest.mark.parametrize("llm", ["tiny/llm-0.05M@2", "random"])
def test_a_whole_model_is_the_same_either_way(llm: str, tmp_path: Path):
    """New weights are the same random draws, the embeddings of separators too."""
    weights = llm if llm.startswith("tiny") else saved(tmp_path / "llm", QWEN2)
    design = PRESETS["tiny"].design.model_copy(update={"integration": Integration(separators=True)})
    config = TrialConfig(design=design, scale="mine", llm=weights, seed=0, samples=64)
    (first, state), (second, other_state) = (
        built(config, BuildOptions(is_llm_deferred=is_deferred)) for is_deferred in (False, True)
    )
    assert torch.equal(state, other_state), "later draws go on from the same state"
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def built(config: TrialConfig, options: BuildOptions) -> tuple[VideoLMM, torch.Tensor]:
    """The model with its weights, and the state of torch's generator afterwards."""
    torch.manual_seed(0)
    model, _ = build(config, options)
    assert load_weights(model, CPU) == []
    return model, torch.random.get_rng_state()


# --- several ranks ------------------------------------------------------------------------------

BIG = Qwen2Config(
    vocab_size=40_001,  # odd: the shards differ in size
    hidden_size=512,
    intermediate_size=2048,
    num_hidden_layers=10,
    num_attention_heads=8,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
"""58M parameters: 232 MB in fp32."""


CASES: dict[str, tuple[PreTrainedConfig, int]] = {
    "big": (BIG, 2),
    "replicas": (CONFIGS[1], 1),
    "gemma3": (CONFIGS[3], 2),
    "mixtral": (CONFIGS[5], 2),
}
"""Name -> config, and number of ranks that share the weights."""


@pytest.mark.slow
def test_no_rank_holds_the_whole_llm(tmp_path: Path):
    """Each of two ranks reads its shards: they are those of the whole LLM, and take their memory alone.

    Also of an LLM that is loaded as a whole, in turns, since transformers joins its experts.
    """
    saved_cases = [
        f"{shard}:{saved(tmp_path / name, config, max_shard_size='40MB')}" for name, (config, shard) in CASES.items()
    ]
    fp32_bytes = 2 * sum(file.stat().st_size for file in (tmp_path / "big").glob("*.safetensors"))
    for found in on_ranks(tmp_path, saved_cases):
        for name, one in found.items():
            assert one["differing"] == [], name
            assert one["same_logits"], name
        big = found[str(tmp_path / "big")]
        print({key: round(big[key] / fp32_bytes, 2) for key in ("whole", "sharded")})
        assert big["whole"] > 0.9 * fp32_bytes, "the measurement sees a whole LLM"
        assert big["sharded"] < 0.7 * fp32_bytes, "half of it, portions, and what else a model needs"


def on_ranks(folder: Path, cases: list[str]) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    contract = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.models.architecture.loading_on_ranks", str(folder), *cases]
    root = Path(__file__).parents[3]
    processes = [
        subprocess.Popen(command, env={**os.environ, **contract, "RANK": str(rank)}, cwd=root) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]
