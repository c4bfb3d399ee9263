"""A trial of a manifest with letters, in this process: what its folder holds, and what is refused before training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import Qwen2Config, Qwen2ForCausalLM

from ablate.record import AttemptFolder
from ablate.run.job import Job, Progress
from ablate.run.worker.video_lmm import run_video_lmm
from models.data import ManifestError, data_digest
from models.design import ManifestData, Mix, TrialConfig
from models.presets import PRESETS
from models.training import Ranks
from models.weights import combined_digest, llm_files
from tests.models.data.families import tokenizer_of


@pytest.fixture
def llm(tmp_path: Path) -> str:
    tokenizer = tokenizer_of("qwen2_5")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads)).save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    return str(tmp_path / "llm")


def manifest(folder: Path, options: list[str]) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "i.png")
    talk = [{"from": "human", "value": "<image>\nWhich color?"}, {"from": "gpt", "value": "red"}]
    question = {"question": "Which color?", "options": options, "answer": 1, "category": "color"}
    (folder / "train.json").write_text(json.dumps([{"id": "r", "image": "i.png", "conversations": talk}]))
    (folder / "test.json").write_text(json.dumps([{"id": "t", "image": "i.png", "questions": [question] * 3}]))
    return folder


def run(llm: str | None, data: Path, folder: Path) -> list[Progress]:
    folder.mkdir()
    preset = PRESETS["tiny"].design
    stage = preset.schedule[0].model_copy(update={"share": 1.0, "batch": 1, "mix": Mix(image=1.0)})
    digest = data_digest(data, folder)
    mine = ManifestData(kind="manifest", benchmark="mine", folder=str(data), digest=digest)
    design = preset.model_copy(update={"data": mine, "schedule": (stage,)})
    content = combined_digest(llm_files(llm), folder) if llm else None
    scale = "mine" if llm else "0.05M"
    config = TrialConfig(design=design, scale=scale, llm=llm, llm_digest=content, seed=0, samples=1)
    job = Job(
        key="k",
        label="one",
        config=config.model_dump(mode="json"),
        folder=str(folder),
        cache=str(folder),
        cpus=1,
        gpus=0,
    )
    return list(run_video_lmm(job, AttemptFolder(folder), Ranks()))


def test_the_log_has_the_share_of_each_letter(llm: str, tmp_path: Path):
    data = manifest(tmp_path / "data", ["red", "blue", "green"])
    progress = run(llm, data, tmp_path / "trial")
    assert [(p.step, p.steps) for p in progress if p.phase == "testing"] == [(3, 9), (6, 9), (9, 9)]
    outcomes = pd.read_parquet(tmp_path / "trial" / "predictions.parquet")
    assert [list(tokens) for tokens in outcomes["num_tokens"]] == [[1, 1, 1]] * 9
    log = (tmp_path / "trial" / "log.txt").read_text()
    chosen = "ABC"[outcomes["predicted"][0]]
    shares = ", ".join(f"{letter} {100 if letter == chosen else 0}%" for letter in "ABC")
    assert f"letters chosen with modality video: {shares}\n" in log
    assert log.count("letters chosen with modality") == 3


def test_letters_that_the_tokenizer_does_not_tell_apart_are_refused_before_training(tmp_path: Path):
    data = manifest(tmp_path / "data", ["red", "blue"])
    with pytest.raises(ManifestError, match="encodes 'B' and 'C' alike.*set `data.scoring: text`"):
        run(None, data, tmp_path / "trial")
    assert not (tmp_path / "trial" / "events.jsonl").exists()
