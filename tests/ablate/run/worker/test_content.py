"""Trials read what they were planned with, and what the other trials of their study read; else they do not start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from ablate.plan import Plan
from ablate.record import About, Record, WeightsContent, folder_of
from ablate.run import about, job_of
from ablate.run.worker import run_trial
from ablate.run.worker.video_lmm import features_name
from models.data import open_records
from models.design import Siglip
from models.encoders import build_encoder, store_features
from models.video import Stored
from models.weights import combined_digest, encoder_files
from models.weights.locations import SHIPPED_PARTS
from tests.ablate.run.worker.studies import Study

COMMITS = ("a" * 40, "b" * 40)


def run(plan: Plan, seed: int = 0) -> Record:
    planned = plan.planned[seed]
    folder = folder_of(plan.paths, planned.trial.key)
    folder.describe(about(plan, planned.trial))
    for _ in run_trial(job_of(plan, planned), folder.begin()):
        pass
    record = folder.read()
    assert record is not None
    return record


def finished(record: Record) -> bool:
    assert record.status == "done", record.failures[-1].traceback
    return True


def refusal(record: Record) -> str:
    assert record.status == "failed"
    return record.failures[-1].message


def flip(path: Path) -> None:
    """Other content of the same size: the last weight's last bit."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_PARTS / "image-encoder", tmp_path / "encoder"))


@pytest.fixture(scope="module")
def random_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with the shipped tokenizer; for a Qwen in one folder with it transformers takes Qwen's own."""
    folder = tmp_path_factory.mktemp("llm")
    sizes = {"vocab_size": 176, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    AutoModelForCausalLM.from_config(LlamaConfig(**sizes, **heads)).save_pretrained(folder)
    return Path(shutil.copytree(SHIPPED_PARTS / "tokenizer", folder, dirs_exist_ok=True))


@pytest.fixture
def llm(tmp_path: Path, random_llm: Path) -> Path:
    return Path(shutil.copytree(random_llm, tmp_path / "llm"))


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Path, llm: Path) -> Path:
    """Copies of two hub ids below $ABLATE_WEIGHTS."""
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "weights"))
    shutil.copytree(encoder, tmp_path / "weights" / "who/Encoder")
    shutil.copytree(llm, tmp_path / "weights" / "who/Llm")
    return tmp_path / "weights"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub as its client writes it, without the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def publish(hub: Path, name: str, files: Path, commit: str, revision: str = "main") -> Path:
    """A commit of a repository, which becomes the revision's latest."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return Path(shutil.copytree(files, repository / "snapshots" / commit, dirs_exist_ok=True))


# --- data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_manifest_that_was_edited_since_the_plan_is_refused(study, name):
    plan = study.plan("tiny/image-encoder@2")
    path = study.data / f"{name}.json"
    text = path.read_text()
    path.write_text(text.replace("what color", "which color"))
    message = refusal(run(plan))
    assert message.startswith(f"the manifests in {study.data} have changed since this trial was planned (digest ")
    assert message.endswith("restore them, or run `ablate sweep` again, which plans trials of the new data")
    path.write_text(text)
    assert finished(run(plan))


def test_a_manifest_that_is_edited_while_it_is_read_is_refused(study, monkeypatch):
    """The digest is that of what was parsed: a new file in the moment between the two is noticed."""
    plan = study.plan("tiny/image-encoder@2")

    def edit_and_open(folder: Path, *arguments: Any, **options: Any) -> Any:
        path = folder / "train.json"
        path.write_text(path.read_text().replace("red", "tan"))
        return open_records(folder, *arguments, **options)

    monkeypatch.setattr("models.data.open_records", edit_and_open)
    assert "have changed since this trial was planned" in refusal(run(plan))


# --- folders ------------------------------------------------------------------------------------


def test_a_folder_that_changed_since_the_plan_is_refused(study, encoder, llm):
    plan = study.plan(encoder, llm)
    assert finished(run(plan))
    flip(encoder / "model.safetensors")
    message = refusal(run(plan, seed=1))
    assert message.startswith(f"the files of {encoder} have changed since this trial was planned (digest ")
    assert message.endswith("which plans trials of the new weights")
    flip(encoder / "model.safetensors")
    (llm / "tokenizer_config.json").write_text((llm / "tokenizer_config.json").read_text() + " ")
    assert refusal(run(plan, seed=1)).startswith(f"the files of {llm} have changed")


def test_folders_leave_no_record_of_names(study, encoder):
    record = run(study.plan(encoder))
    assert record.status == "done"
    assert not (record.path.parents[1] / "weights").exists()


# --- names --------------------------------------------------------------------------------------


def test_the_first_trial_records_a_copy_and_another_copy_is_refused(study, copies):
    plan = study.plan("who/Encoder", "who/Llm")
    first = run(plan)
    assert finished(first)
    assert first.result is not None
    assert first.result.environment["encoder who/Encoder"].endswith(f"({copies}/who/Encoder)")
    assert first.result.environment["llm who/Llm"].startswith("digest ")
    flip(copies / "who/Encoder" / "model.safetensors")
    message = refusal(run(plan, seed=1))
    assert message.startswith("who/Encoder is digest ")
    assert f"in this study's first trial with it ({first.about.key}, " in message
    assert f"Put the copy that the first trial read from {copies}/who/Encoder below $ABLATE_WEIGHTS again" in message
    assert finished(run(study.plan("who/Encoder", "who/Llm", "other"), seed=1))  # a study of its own
    flip(copies / "who/Encoder" / "model.safetensors")
    assert finished(run(plan, seed=1))  # restored


def test_a_name_that_moved_on_the_hub_is_refused_with_the_command_that_restores_it(
    study, encoder, llm, hub, tmp_path, monkeypatch
):
    publish(hub, "who/Llm", llm, COMMITS[0])
    publish(hub, "who/Encoder", encoder, COMMITS[0])
    plan = study.plan("who/Encoder", "who/Llm")
    first = run(plan)
    assert finished(first)
    assert first.result is not None
    assert first.result.environment["llm who/Llm"].endswith(f"(commit {COMMITS[0]})")
    old = shutil.copytree(llm, tmp_path / "old")
    flip(llm / "model.safetensors")
    publish(hub, "who/Llm", llm, COMMITS[1])
    message = refusal(run(plan, seed=1))
    assert f"(commit {COMMITS[1]}) here, but was digest " in message
    assert f"`hf download who/Llm --revision {COMMITS[0]} --local-dir $ABLATE_WEIGHTS/who/Llm`" in message
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "weights"))
    shutil.copytree(old, tmp_path / "weights" / "who/Llm")  # what the command does
    assert finished(run(plan, seed=1))


def test_a_stated_revision_is_what_every_part_of_a_trial_loads(study, encoder, llm, hub):
    """`main` cannot be loaded here at all: a part that ignored the revision would fail."""
    for name, files in (("who/Encoder", encoder), ("who/Llm", llm)):
        publish(hub, name, files, COMMITS[0], "v1")
    record = run(study.plan("who/Encoder@v1", "who/Llm@v1"))
    assert finished(record)
    assert record.result is not None
    assert record.result.environment["llm who/Llm@v1"].endswith(f"(commit {COMMITS[0]})")


def test_more_files_of_the_same_commit_are_no_other_content(study, llm, hub):
    """Another program may fetch files of the commit that this one did not need."""
    snapshot = publish(hub, "who/Llm", llm, COMMITS[0])
    plan = study.plan("tiny/image-encoder@2", "who/Llm")
    assert finished(run(plan))
    (snapshot / "tokenizer.model").write_bytes(b"more")
    assert finished(run(plan, seed=1))


# --- stored features ----------------------------------------------------------------------------


def test_stored_features_are_named_by_content(copies, study):
    def name(weights: str, digest: str | None = None, contents: list[Any] | None = None) -> str:
        return features_name(Siglip(kind="siglip", weights=weights, digest=digest), contents or [])

    assert name("tiny/image-encoder@2") == "tiny/image-encoder@2--2"  # as ever: caches stay valid
    assert name("/a/encoder", "1234") == name("/moved/encoder", "1234") != name("/a/encoder", "5678")
    plan = study.plan("who/Encoder", "who/Llm")
    assert finished(run(plan))
    (path,) = (plan.paths.folder / "weights").glob("encoder-*.json")
    content = WeightsContent(**json.loads(path.read_text()))
    assert name("who/Encoder", contents=[content]) == f"who/Encoder-{content.digest}--2"


def test_features_of_replaced_weights_are_not_used_again(tmp_path, encoder):
    """With the digests of two plans, before and after a folder was exported again; back again, the first are used."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    frames = Stored({"a": (0, 2)}, np.arange(2.0), pixels)

    def features() -> np.ndarray:
        digest = combined_digest(encoder_files(str(encoder), "siglip"), tmp_path / "cache")
        config = Siglip(kind="siglip", weights=str(encoder), digest=digest)
        return np.array(store_features(tmp_path, frames, build_encoder(config), features_name(config, [])).rows)

    before, old = features(), load_file(encoder / "model.safetensors")
    exported = {name: -tensor for name, tensor in old.items()}
    save_file(exported, encoder / "model.safetensors", metadata={"format": "pt"})
    assert not np.array_equal(features(), before)
    save_file(old, encoder / "model.safetensors", metadata={"format": "pt"})
    assert np.array_equal(features(), before)
    assert len([path for path in tmp_path.glob(".grids-*") if path.is_dir()]) == 2


def test_descriptions_of_trials_without_folders_are_as_before(study):
    description: About = about(plan := study.plan("tiny/image-encoder@2"), plan.planned[0].trial)
    assert not [name for name in description.config if name.endswith("digest") and name != "design.data.digest"]
