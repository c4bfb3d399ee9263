"""Scales: which LLM, which learning rate, and the same keys as ever for the embedded ladder."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from models.cards import LLMS, SCALES, llm_card
from models.design import TrialConfig
from models.ladder import (
    LADDER,
    REFERENCE,
    SMALLEST_ON_GPU,
    published_factor,
    rate_note,
    rates_of,
    scale_card,
    scale_card_of,
)
from models.presets import PRESETS

TABLE_7 = {1_543_714_304: 5e-5, 3_085_938_688: 2e-5, 7_615_616_512: 1e-5}
"""Parameters of Qwen2.5-1.5B, 3B and 7B -> the LLM's learning rate in fine-tuning (Apollo, Table 7)."""


def config(scale: str, llm: str | None = None) -> TrialConfig:
    return TrialConfig(design=PRESETS["tiny"].design, scale=scale, llm=llm, seed=0, samples=100)


def test_every_label_means_a_published_llm_on_a_gpu():
    assert set(SCALES.values()) == set(LLMS)
    for label, name in SCALES.items():
        step = scale_card(label)
        assert (step.label, step.llm, step.gpus) == (label, name, 1)


def test_the_study_scaled_over_these():
    assert [scale_card(label).llm.removeprefix("Qwen/") for label in ("0.5B", "1.5B", "4B", "7B", "3B")] == [
        "Qwen2-0.5B-Instruct",
        "Qwen2-1.5B-Instruct",
        "Qwen1.5-4B-Chat",
        "Qwen2-7B-Instruct",
        "Qwen2.5-3B-Instruct",
    ]


def test_the_factor_has_no_cliff_and_is_that_of_1_5b_for_everything_smaller():
    """The rule before: 12 times the schedule's rate at 251M parameters, and the schedule's own rate at 249M."""
    base = LLMS["Qwen/Qwen2.5-0.5B-Instruct"]
    cards = [dataclasses.replace(base, layers=layers, hidden=hidden) for layers in (1, 24) for hidden in (64, 512, 896)]
    assert {published_factor(card) for card in cards} == {scale_card("Qwen2.5-1.5B").llm_lr_factor}
    assert scale_card("0.5B").llm_lr_factor == pytest.approx(2.0, abs=1e-3)
    sizes = sorted((card.params, published_factor(card)) for card in [*cards, *LLMS.values()])
    for (smaller, factor), (larger, next_factor) in itertools.pairwise(sizes):
        assert next_factor <= factor <= next_factor * max(1, larger / smaller) * (1 + 1e-12)


def noted(scale: str, llm: str | None = None, **changes: object) -> str | None:
    """The note on a trial of the preset for published LLMs."""
    trial = TrialConfig(design=PRESETS["apollo"].design, scale=scale, llm=llm, seed=0, samples=100)
    return rate_note(trial.model_copy(update=changes))


def test_rates_outside_the_rules_data_are_noted():
    assert str(noted("0.5B")).startswith("0.5B: the factor 2 of the LLM's learning rates is capped at that of 1.5B")
    assert "the factor 0.377 of the LLM's learning rates is extrapolated" in str(noted("Qwen3-8B"))
    assert "mine: the size of who/Llama-1B is unknown" in str(noted("mine", "who/Llama-1B"))
    assert all(noted(label) is None for label in ("1.5B", "3B", "7B", "Qwen2.5-7B", "0.05M", "0.7M"))
    assert noted("mine", "tiny/llm-0.7M@2") is None
    assert noted("0.5B", llm_lr_factor=3.0) is None
    frozen = PRESETS["apollo"].design.model_copy(update={"schedule": PRESETS["apollo"].design.schedule[:1]})
    assert noted("0.5B", design=frozen) is None


def test_a_stated_factor_replaces_that_of_the_rule():
    for trial in (config("0.5B"), config("3B"), config("0.15M"), config("mine", "who/Llama-1B")):
        stated = trial.model_copy(update={"llm_lr_factor": 1.25})
        assert scale_card_of(stated) == scale_card_of(trial).model_copy(update={"llm_lr_factor": 1.25})
        stage = trial.design.schedule[-1]
        assert rates_of(stated, stage) == stage.lr.model_copy(update={"llm": 1.25 * stage.lr.llm})


def test_learning_rates_of_table_7_fall_as_one_over_parameters():
    exponent, _ = np.polyfit(np.log(list(TABLE_7)), np.log(list(TABLE_7.values())), 1)
    assert exponent == pytest.approx(-1.0, abs=0.02)
    for params, rate in TABLE_7.items():
        factor = next(published_factor(card) for card in LLMS.values() if card.params == params)
        assert 2e-5 * factor == pytest.approx(rate, rel=0.25)  # Table 7 rounds to one digit
    assert published_factor(LLMS[REFERENCE]) == 1


def test_the_recipe_of_table_7_is_that_of_the_preset():
    design = PRESETS["apollo"].design
    assert {stage.batch for stage in design.schedule} == {256}
    assert design.optimizer.warmup == 0.03


def test_the_embedded_ladder_is_as_it_was():
    tiny = {label: (s.llm, s.llm_lr_factor, s.cpus, s.gpus) for label, s in LADDER.items() if label.endswith("M")}
    assert tiny == {
        "0.05M": ("tiny/llm-0.05M@2", 1.0, 1, 0),
        "0.15M": ("tiny/llm-0.15M@2", 1.0, 1, 0),
        "0.4M": ("tiny/llm-0.4M@2", 64 / 96, 1, 0),
        "0.7M": ("tiny/llm-0.7M@2", 64 / 112, 1, 0),
    }


def test_a_label_of_ones_own_means_the_llm_it_is_given(tmp_path: Path):
    sizes = {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
    rest = {"model_type": "qwen3", "intermediate_size": 6144, "vocab_size": 151_936, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(sizes | rest | {"head_dim": 128}))
    step = scale_card_of(config("1.7B", str(tmp_path)))
    assert (step.label, step.llm, step.gpus) == ("1.7B", str(tmp_path), 1)
    assert step.llm_lr_factor == pytest.approx(3.086 / 1.7206, rel=1e-3)
    assert scale_card_of(config("Chat", "Qwen/Qwen2.5-7B-Instruct")).llm_lr_factor == scale_card("7B").llm_lr_factor
    assert scale_card_of(config("0.15M")) is LADDER["0.15M"]


def test_small_llms_of_ones_own_have_the_rate_of_1_5b_and_need_no_gpu(tmp_path: Path):
    shipped = scale_card_of(config("mine", "tiny/llm-0.7M@2"))
    assert (shipped.label, shipped.llm_lr_factor, shipped.gpus) == ("mine", 64 / 112, 0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(sizes | {"model_type": "llama", "intermediate_size": 128}))
    assert (
        scale_card_of(config("mine", str(tmp_path))).llm_lr_factor,
        scale_card_of(config("mine", str(tmp_path))).gpus,
    ) == (published_factor(LLMS["Qwen/Qwen2.5-1.5B-Instruct"]), 0)


def test_an_llm_that_nothing_is_known_of_keeps_the_schedules_rate_and_asks_for_a_gpu():
    for llm in ("meta-llama/Llama-3.2-1B", "gpt2", "Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-7B"):
        step = scale_card_of(config("mine", llm))
        assert (step.llm, step.llm_lr_factor, step.cpus, step.gpus) == (llm, 1.0, 1, 1)
    assert scale_card_of(config("1.7B", "Qwen/Qwen3-1.7B")).llm_lr_factor == scale_card("Qwen3-1.7B").llm_lr_factor


def test_an_llm_without_a_card_needs_no_gpu_where_its_files_are_small(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 64}))
    assert scale_card_of(config("mine", str(tmp_path))).gpus == 1
    write_header(tmp_path / "model-1.safetensors", rows=1_000)
    step = scale_card_of(config("mine", str(tmp_path)))
    assert (step.llm_lr_factor, step.gpus) == (1.0, 0)
    write_header(tmp_path / "model-2.safetensors", rows=SMALLEST_ON_GPU // 64)
    assert scale_card_of(config("mine", str(tmp_path))).gpus == 1


def test_a_hub_ids_rate_is_the_same_whether_or_not_a_copy_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    away = scale_card_of(config("mine", "who/Llama-1B"))
    folder = tmp_path / "who" / "Llama-1B"
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8}
    rest = {"model_type": "llama", "intermediate_size": 8192, "vocab_size": 128_256, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(sizes | rest))
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    assert llm_card("who/Llama-1B").params == 1_235_814_400
    assert scale_card_of(config("mine", "who/Llama-1B")) == away


def test_an_impossible_llm_is_refused_with_the_fix(tmp_path: Path):
    for llm, says in (
        (str(tmp_path / "nowhere"), "there is no folder .*nowhere; an LLM is a folder with config.json, or a hub id"),
        (str(tmp_path), "has no config.json; put it there, with the weights"),
        ("Qwen/Qwen2.5-7B-Instrct", r"unknown LLM .*did you mean 'Qwen/Qwen2.5-7B-Instruct'\?"),
        ("https://huggingface.co/Qwen/Qwen3-1.7B", "there is no folder https"),
    ):
        with pytest.raises(ValueError, match=says):
            scale_card_of(config("mine", llm))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        scale_card_of(config("mine", str(tmp_path)))


def test_unknown_scales_and_taken_labels_are_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"unknown scale 'Qwen2.5-3', did you mean 'Qwen2.5-3B'\? Known scales: 0.05M"):
        scale_card("Qwen2.5-3")
    with pytest.raises(ValueError, match="'3B' is one of the ladder's scales"):
        scale_card_of(config("3B", "Qwen/Qwen2.5-7B-Instruct"))


def write_header(file: Path, rows: int) -> None:
    """A safetensors file that says it holds (rows, 64) numbers, without them."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [rows, 64], "data_offsets": [0, 0]}, "__metadata__": {}})
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode())
