"""The LLM of a trial: an LLM that fits is built, any other is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

from models.architecture import VideoLMM, build
from models.architecture.assembly import build_separators
from models.architecture.llm import load_llm
from models.data import Branch, Corpus, Prompter, Row, TrainingSample, Turn, VisualReader, collate
from models.design import AdamW, Design, Integration, LearningRates, Mix, Stage, TrialConfig, Uniform
from models.presets import PRESETS
from models.training import Engine, freeze, train
from models.training.weights import weights_that_learn
from models.video import Medium, Stored
from models.weights import CheckpointError, locate_tokenizer
from tests.models.data.families import tokenizer_of

SMALL = {"vocab_size": 173, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
RANGE = {"initializer_range": 0.3}
"""Weights large enough that a wrong mask shows."""
QWEN2 = Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=True)
DESIGN = PRESETS["tiny"].design.model_copy(update={"sampling": Uniform(kind="uniform", frames=3)})


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    logging.set_verbosity_error()


def saved(folder: Path, config: PreTrainedConfig) -> Path:
    """A random LLM of this kind, with the shipped tokenizer."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    shutil.copytree(locate_tokenizer("tiny/llm"), folder, dirs_exist_ok=True)
    return folder


def trial(llm: Path | str, design: Design = DESIGN, samples: int = 64) -> TrialConfig:
    return TrialConfig(design=design, scale="mine", llm=str(llm), seed=0, samples=samples)


def refusal(llm: Path | str) -> str:
    """The message for an LLM that is refused: one line."""
    with pytest.raises(CheckpointError) as error:
        build(trial(llm))
    message = str(error.value)
    assert "\n" not in message
    assert not re.search(r"[a-z]Error|Traceback", message)
    assert str(llm) in message
    return message


# --- what is taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        QWEN2,
        Qwen3Config(**SMALL, **HEADS, head_dim=16),
        GPT2Config(vocab_size=173, n_embd=32, n_layer=2, n_head=2, n_positions=512),
        Gemma3TextConfig(**SMALL, **HEADS, head_dim=16, sliding_window=4),
    ],
    ids=lambda kind: kind.model_type,
)
def test_a_folder_of_any_causal_lm_is_built_and_learns(kind: PreTrainedConfig, tmp_path: Path):
    stage = Stage(name="all", share=1, batch=2, mix=Mix(video=1.0), lr=LearningRates(connector=1e-3, llm=1e-3))
    design = DESIGN.model_copy(update={"schedule": (stage,), "optimizer": AdamW(kind="adamw", warmup=0.0)})
    config = trial(saved(tmp_path / "llm", kind), design, samples=4)
    model, tokenizer = build(config)
    rng = np.random.default_rng(0)
    source = Stored({"v.mp4": (0, 8)}, np.arange(8) / 4, rng.integers(0, 256, (8, 32, 32, 3), np.uint8))
    record = TrainingSample(
        "v", "video", (Medium(path="v.mp4", kind="video"),), (Turn((0, "what is the first digit"), "two"),), True
    )
    corpus = Corpus(Prompter(tokenizer), [record], [], VisualReader(design, model.encoder, source))
    before = model.llm.get_input_embeddings().weight.clone()
    losses = [step.loss for step in train(model, config, corpus, Engine(torch.device("cpu")))]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert not torch.equal(before, model.llm.get_input_embeddings().weight)


def test_untied_and_tied_output_layers_are_loaded(tmp_path: Path):
    tied = saved(tmp_path / "tied", QWEN2)
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    llm = load_llm(str(tied))
    assert llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    untied = saved(tmp_path / "untied", Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=False))
    tensors = load_file(untied / "model.safetensors")
    assert torch.equal(load_llm(str(untied)).get_output_embeddings().weight, tensors.pop("lm_head.weight"))
    save_file(tensors, untied / "model.safetensors", metadata={"format": "pt"})
    assert "the file lacks lm_head.weight" in refusal(untied)


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SMALL, **HEADS, **RANGE, head_dim=16, sliding_window=3),
        Gemma3TextConfig(
            **SMALL | {"num_hidden_layers": 4},
            **HEADS,
            **RANGE,
            head_dim=16,
            sliding_window=3,
            sliding_window_pattern=2,
        ),
        Qwen2Config(**SMALL, **HEADS, **RANGE, use_sliding_window=True, sliding_window=3, max_window_layers=1),
    ],
    ids=lambda kind: kind.model_type,
)
def test_layers_that_look_back_over_a_window_do_so_in_packs_too(config: PreTrainedConfig):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    model = VideoLMM(torch.nn.Identity(), torch.nn.Identity(), llm)  # type: ignore[arg-type]
    torch.testing.assert_close(*packed_and_alone(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        QWEN2,
        Qwen3Config(**SMALL, **HEADS, **RANGE, head_dim=16),
        LlamaConfig(**SMALL, **HEADS, **RANGE),
        GPT2Config(vocab_size=173, n_embd=32, n_layer=2, n_head=2, **RANGE),
    ],
    ids=lambda kind: kind.model_type,
)
def test_branches_that_continue_others_are_computed_as_if_alone(config: PreTrainedConfig):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    model = VideoLMM(torch.nn.Identity(), torch.nn.Identity(), llm)  # type: ignore[arg-type]
    torch.testing.assert_close(*packed_and_alone(model), atol=1e-4, rtol=1e-4)


def packed_and_alone(model: VideoLMM) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities after every token of two questions and of options that continue the first, both ways."""
    prefix, question, options, other = [*range(3, 10)], (11, 12, 13, 14), [(15, 16, 19), (16,), ()], (17, 18)
    branches = [Branch(question, tuple((at, 0) for at in range(len(question))))]
    texts = [(question, 0)]  # tokens after the prefix, and how many of them have no target
    for number, option in enumerate(options, 1):
        branches.append(Branch(option, tuple((at, 0) for at in range(-1, len(option))), parent=number))
        texts.append(((*question, *option), len(question) - 1))
    branches.append(Branch(other, tuple((at, 0) for at in range(len(other)))))
    texts.append((other, 0))
    with torch.inference_mode():
        packed = model(collate([Row([1], [Branch((2,), ((0, 0),))]), Row(prefix, branches)]))[1:]
        logits = [model.llm(torch.tensor([[*prefix, *ids]]), use_cache=False).logits[0] for ids, _ in texts]
    alone = [one[len(prefix) + start :] for one, (_, start) in zip(logits, texts, strict=True)]
    return packed, torch.cat(alone).log_softmax(-1)


def test_separators_are_learned_in_every_stage_and_can_be_no_answer(tmp_path: Path):
    """They start as the tokenizer's own where it has them, and learn with the connector before a frozen LLM too."""
    design = DESIGN.model_copy(update={"integration": Integration(separators=True)})
    model, tokenizer = build(trial("tiny/llm-0.05M@2", design))
    assert model.separators is not None
    own = tokenizer.convert_tokens_to_ids(["<vid_start>", "<vid_end>"])
    embeddings = model.llm.get_input_embeddings().weight
    assert torch.equal(model.separators.embeddings, embeddings[own])
    source = Stored(
        {"v.mp4": (0, 8)}, np.arange(8) / 4, np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    )
    media = (Medium(path="v.mp4", kind="video"),)
    record = TrainingSample("v", "video", media, (Turn((0, "what is the first digit"), "two"),), True)
    corpus = Corpus(Prompter(tokenizer), [record], [], VisualReader(design, model.encoder, source))
    batch = corpus.collate([corpus.training_row(record, 1, np.random.default_rng(0))])
    assert batch.is_start_BL.sum() == batch.is_end_BL.sum() == 3
    assert not set(batch.ids_BL.flatten().tolist()) & set(own), "the LLM's own tokens are not used"
    freeze(model, LearningRates(connector=1e-3))
    loss = model.loss(batch)
    loss.backward()
    gradient = model.separators.embeddings.grad
    assert gradient is not None
    assert (gradient.abs().amax(1) > 0).all()
    weights = weights_that_learn(model.parts()["connector"], model.llm.get_output_embeddings())
    (kind,) = [weight.kind for weight in weights if weight.parameter is model.separators.embeddings]
    assert kind == "spared", "neither Muon nor weight decay is for embeddings"
    with torch.no_grad():
        model.separators.embeddings[0] += 1.0
    assert model.loss(batch) != loss


def test_separators_that_a_tokenizer_lacks_start_near_the_mean_of_the_embeddings(tmp_path: Path):
    design = DESIGN.model_copy(update={"integration": Integration(separators=True)})
    llm = load_llm(str(saved(tmp_path / "llm", QWEN2)))
    tokenizer = tokenizer_of("qwen2_5")
    first, second = (build_with_seed(design, llm, tokenizer, seed) for seed in (0, 0))
    rows = llm.get_input_embeddings().weight
    assert torch.equal(first, second)
    assert not torch.equal(first, build_with_seed(design, llm, tokenizer, 1))
    assert not torch.equal(first[0], first[1])
    assert ((first - rows.mean(0)).abs() < 0.5 * rows.std(0)).all()
    assert build_separators(DESIGN, llm, tokenizer) is None


def build_with_seed(
    design: Design, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int
) -> torch.Tensor:
    torch.manual_seed(seed)
    separators = build_separators(design, llm, tokenizer)
    assert separators is not None
    return separators.embeddings.detach()


# --- what is refused ----------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    folder = saved(tmp_path / "llm", QWEN2)
    file = folder / "model.safetensors"
    whole = load_file(file)

    def message(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, file, metadata={"format": "pt"})
        return refusal(folder)

    layer = {name: tensor for name, tensor in whole.items() if ".layers.1." not in name}
    first = "model.layers.1.input_layernorm.weight"
    assert f"the file lacks {first}" in message(layer)
    assert "and 9 more; fetch both again from where the model is published" in message(layer)
    assert "the file also holds adapter.weight" in message(whole | {"adapter.weight": torch.ones(2)})
    wrong = message(whole | {first: torch.ones(7)})
    assert f"the file has another shape for {first} ((7,) instead of (32,))" in wrong


def test_a_damaged_local_copy_of_a_hub_id_is_reported_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = saved(tmp_path / "weights" / "who" / "What", QWEN2)
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "weights"))
    message = refusal("who/What")
    assert message.startswith("who/What: the weights are damaged or truncated")
    assert message.endswith(f"into {folder}")


def test_damaged_and_unsafe_weights_are_refused(tmp_path: Path):
    folder = saved(tmp_path / "llm", QWEN2)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "the weights are damaged or truncated" in refusal(folder)
    file.unlink()
    assert "cannot be loaded" in refusal(folder)
    torch.save({"weight": Evil(tmp_path / "pwned")}, folder / "pytorch_model.bin")
    assert "could run code" in refusal(folder)
    with (folder / "pytorch_model.bin").open("wb") as bad:
        pickle.dump({"weight": Evil(tmp_path / "pwned")}, bad)
    refusal(folder)
    assert not (tmp_path / "pwned").exists()


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_missing_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere; an LLM is a folder with config.json, or"):
        load_llm(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty has no config.json; put it there"):
        load_llm(str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "fetch config.json and model.safetensors from https://huggingface.co/no/where and name" in refusal(
        "no/where"
    )


def test_a_folder_without_a_tokenizer_or_with_anothers_is_refused(tmp_path: Path):
    folder = saved(tmp_path / "llm", Qwen2Config(**SMALL | {"vocab_size": 100}, **HEADS))
    assert "the tokenizer has 173 tokens where the LLM has 100, so it is another model's" in refusal(folder)
    for config in (QWEN2, LlamaConfig(**SMALL, **HEADS), GPT2Config(vocab_size=173, n_embd=32, n_layer=2, n_head=2)):
        folder = saved(tmp_path / config.model_type, config)
        for file in folder.glob("tokenizer*"):
            file.unlink()
        assert "fetch tokenizer.json and tokenizer_config.json again" in refusal(folder)


def test_a_config_that_cannot_be_is_refused(tmp_path: Path):
    folder = saved(tmp_path / "llm", QWEN2)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for changes, says in (
        ({"hidden_size": "wide"}, "cannot be loaded"),
        ({"model_type": "nonesuch"}, "cannot be loaded"),
        ({"model_type": "t5"}, "is of model type 't5', which is no causal LM"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}, "contains code of its own, which is never run"),
    ):
        file.write_text(json.dumps(config | changes))
        with pytest.raises(CheckpointError, match=says) as error:
            load_llm(str(folder))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (Gemma2Config(**SMALL, **HEADS, head_dim=16), "'gemma2', which transformers cannot run with torch's attention"),
        (CohereConfig(**SMALL, num_attention_heads=2, **RANGE, logit_scale=0.1), "log-probabilities differ by"),
        (
            Qwen2Config(**SMALL, **HEADS, layer_types=["full_attention", "linear_attention"]),
            "with layers of type linear_attention, where full_attention and sliding_attention are supported",
        ),
    ],
    ids=["gemma2", "cohere", "linear"],
)
def test_llms_that_would_answer_packs_otherwise_are_refused(config: PreTrainedConfig, says: str, tmp_path: Path):
    folder = saved(tmp_path / "llm", config)
    assert says in refusal(folder)
    assert "take an LLM such as Qwen2" in refusal(folder)


def test_an_llm_of_another_kind_than_its_weights_is_refused(tmp_path: Path):
    folder = saved(tmp_path / "llm", LlamaConfig(**SMALL, **HEADS))
    (folder / "config.json").write_text(json.dumps(QWEN2.to_dict()))
    assert "the file lacks model.layers.0.self_attn.k_proj.bias" in refusal(folder)
