"""Identity of data and weights in specs: by content where a path is named, by name where a name is; nowhere visible."""

from __future__ import annotations

import hashlib
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ablate.errors import AblateError, SpecError
from ablate.paths import study_paths
from ablate.plan import Pricing, make_plan
from ablate.record import folder_of, scan
from ablate.run import about
from ablate.spec import Chosen, SpecFields, digest, expand, load_spec, sweep_text
from ablate.spec.grid import Expansion, Trial
from models.data import data_digest
from models.ladder import scale_card_of
from models.weights.locations import SHIPPED_PARTS

SIGLIP, QWEN = "google/siglip-so400m-patch14-384", "Qwen/Qwen2.5-1.5B-Instruct"


def expansion(folder: Path, encoder: object = "tiny/image-encoder@2", llm: object = None, **spec: Any) -> Expansion:
    weights = {"kind": "siglip", "weights": str(encoder)}
    data = {
        "study": "s",
        "base": "tiny",
        "set": {"encoders": [weights]},
        "axes": {"sampling.frames": [4]},
        "scales": ["0.15M"] if llm is None else [{"label": "mine", "llm": str(llm)}],
    }
    with (folder / "s.yaml").open("w") as file:
        YAML().dump(data | spec, file)
    return expand(load_spec(folder / "s.yaml"))


def one(folder: Path, encoder: object = "tiny/image-encoder@2", llm: object = None, **spec: Any) -> Trial:
    (trial,) = expansion(folder, encoder, llm, **spec).trials
    return trial


def key(*arguments: Any, **spec: Any) -> str:
    return one(*arguments, **spec).key


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_PARTS / "image-encoder", tmp_path / "encoder"))


@pytest.fixture
def llm(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED_PARTS / "llm-0.05M", tmp_path / "llm")
    return Path(shutil.copytree(SHIPPED_PARTS / "tokenizer", tmp_path / "llm", dirs_exist_ok=True))


def flip(path: Path) -> None:
    """Other content of the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


# --- keys ---------------------------------------------------------------------------------------


def test_moving_a_folder_of_weights_changes_no_key(tmp_path, encoder, llm):
    before = one(tmp_path, encoder, llm)
    moved = one(tmp_path, encoder.rename(tmp_path / "e2"), llm.rename(tmp_path / "elsewhere"))
    assert (moved.key, moved.design_key) == (before.key, before.design_key)


def test_another_export_in_the_same_folder_has_another_key(tmp_path, encoder, llm):
    before = key(tmp_path, encoder, llm)
    flip(encoder / "model.safetensors")
    of_encoder = key(tmp_path, encoder, llm)
    flip(llm / "model.safetensors")
    of_llm = key(tmp_path, encoder, llm)
    (llm / "chat_template.jinja").write_text("{{ messages }}")
    of_template = key(tmp_path, encoder, llm)
    assert len({before, of_encoder, of_llm, of_template}) == 4


def test_an_llm_enters_no_design_key(tmp_path, llm):
    assert one(tmp_path, llm=llm).design_key == one(tmp_path).design_key


def test_a_hub_id_is_the_same_with_and_without_a_local_copy(tmp_path, monkeypatch, encoder, llm):
    names = ("who/Encoder", "who/Llm")
    without = key(tmp_path, *names)
    for name, folder in zip(names, (encoder, llm), strict=True):
        shutil.copytree(folder, tmp_path / "weights" / name)
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "weights"))
    assert key(tmp_path, *names) == without
    flip(tmp_path / "weights" / "who/Encoder" / "model.safetensors")  # a trial checks that, not a plan
    assert key(tmp_path, *names) == without


def test_a_revision_is_part_of_a_name(tmp_path):
    designs = [one(tmp_path, f"{SIGLIP}{revision}") for revision in ("", "@main", "@9fdffc58")]
    assert len({trial.design_key for trial in designs}) == 3
    scales = [key(tmp_path, llm=f"{QWEN}{revision}") for revision in ("", "@main", "@v1.0")]
    assert len(set(scales)) == 3


def test_a_revision_has_the_learning_rate_of_its_model(tmp_path):
    factors = {scale_card_of(one(tmp_path, llm=f"{QWEN}{end}").config).llm_lr_factor for end in ("", "@v1.0")}
    assert len(factors) == 1


def test_a_misspelt_name_with_a_revision_is_still_found_out(tmp_path):
    with pytest.raises(SpecError, match="did you mean 'Qwen/Qwen2.5-1.5B-Instruct'"):
        one(tmp_path, llm="Qwen/Qwen2.5-1.5B-Instrct@main")


def test_a_file_that_cannot_be_read_is_named(tmp_path, encoder, monkeypatch):
    path = encoder / "model.safetensors"

    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ablate.spec.content.combined_digest", refuse)
    with pytest.raises(SpecError, match=r"s.yaml:1: cannot read .*model.safetensors: Permission denied; make it"):
        one(tmp_path, encoder)


def test_manifests_as_lines_count_like_others(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "test.json").write_text("[]")
    settings = {"set": {"data": {"kind": "manifest", "benchmark": "b", "folder": "data"}}}
    with pytest.raises(SpecError, match=r"has no train.json"):
        one(tmp_path, **settings)
    (data / "train.jsonl").write_text("{}\n")
    before = key(tmp_path, **settings)
    (data / "train.jsonl").write_text("{} \n")
    assert key(tmp_path, **settings) != before


def test_the_digest_of_data_is_that_of_earlier_versions(tmp_path):
    """Else all trials of manifests would run again."""
    for name in ("train.json", "test.json"):
        (tmp_path / name).write_text(f'["{name}"]')
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("train.json", "test.json")]
    assert data_digest(tmp_path, tmp_path) == digest(hashes)


# --- what people see ----------------------------------------------------------------------------


def test_labels_axes_and_exclusions_have_no_digests(tmp_path, encoder):
    own = {"kind": "siglip", "weights": str(encoder)}
    grid = {"axes": {"encoders.0": [own, {"kind": "siglip", "weights": "tiny/image-mae@2"}]}}
    both = expansion(tmp_path, **grid)
    assert [trial.design_label for trial in both.trials] == ["siglipencoder", "siglipimage-mae@2"]
    assert both.trials[0].config.design.encoders[0].digest
    left = expansion(tmp_path, **grid, exclude=[{"encoders.0": own}])
    assert [trial.design_label for trial in left.trials] == ["siglipimage-mae@2"]
    whole = {**own, "layer": -2}
    left = expansion(tmp_path, **grid, exclude=[{"encoders": [[whole]]}])  # a list of encoders, as the design has it
    assert [trial.design_label for trial in left.trials] == ["siglipimage-mae@2"]


def test_the_value_of_an_axis_that_a_cell_does_not_vary_is_that_of_the_base(tmp_path, encoder):
    lists = [[{"kind": "siglip", "weights": "tiny/image-mae@2", "layer": -2}]]
    axes = {"axes": {"sampling.frames": [4], "encoders": lists}, "vary": "one_at_a_time"}
    value = {trial.design_label: trial.axes["encoders"] for trial in expansion(tmp_path, encoder, **axes).trials}
    flip(encoder / "model.safetensors")
    after = {trial.design_label: trial.axes["encoders"] for trial in expansion(tmp_path, encoder, **axes).trials}
    assert after == value  # a name of the folder, whatever it contains


def promoted(trial: Trial) -> str:
    fields = SpecFields(study="s", question="q", heading=[], scale="0.4M", seeds=[0], samples=64, metric=None)
    return sweep_text(fields, [Chosen(name="a", design=trial.config.design, reason="r")], ["sampling.frames"])


def test_a_promoted_spec_names_the_folder_and_no_digest(tmp_path, encoder):
    trial = one(tmp_path, encoder)
    text = promoted(trial)
    assert str(encoder) in text
    assert "digest" not in text
    (tmp_path / "next.yaml").write_text(text)
    (next_,) = expand(load_spec(tmp_path / "next.yaml")).trials
    assert next_.design_key == trial.design_key


def test_a_design_whose_weights_changed_since_is_not_promoted(tmp_path, encoder):
    trial = one(tmp_path, encoder)
    flip(encoder / "model.safetensors")
    with pytest.raises(AblateError, match=rf"a cannot be promoted: {encoder} \(digest .*, in the study .*\) changed"):
        promoted(trial)


def test_a_design_recorded_without_digests_is_promoted(tmp_path, encoder):
    """By a version that knew folders by their path."""
    trial = one(tmp_path, encoder)
    encoders = tuple(one.model_copy(update={"digest": None}) for one in trial.config.design.encoders)
    design = trial.config.design.model_copy(update={"encoders": encoders})
    old = replace(trial, config=trial.config.model_copy(update={"design": design}))
    assert str(encoder) in promoted(old)


def test_a_record_has_the_digest_and_reads_back(tmp_path, encoder):
    one(tmp_path, encoder)
    plan = make_plan(load_spec(tmp_path / "s.yaml"))
    description = about(plan, plan.planned[0].trial)
    folder_of(plan.paths, description.key).describe(description)
    (record,) = scan(study_paths("s"))
    assert record.about.config["design.encoders.0.digest"] == plan.planned[0].trial.config.design.encoders[0].digest
    assert "llm_digest" not in record.about.config  # nothing to say, nothing said


# --- plans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_plan_of_hub_ids_needs_no_network(tmp_path, monkeypatch, revision):
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a plan opened a connection to {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    one(tmp_path, f"{SIGLIP}{revision}", f"{QWEN}{revision}", resources={"gpus": 1})
    plan = make_plan(load_spec(tmp_path / "s.yaml"), Pricing(gpu=None))
    (planned,) = plan.planned
    assert planned.price is not None
    assert set(planned.price.weights_gib) == {SIGLIP, QWEN}


def test_a_folder_that_is_not_there_is_refused_by_a_plan(tmp_path):
    one(tmp_path, tmp_path / "nowhere")
    with pytest.raises(SpecError, match="unknown weights '.*nowhere'"):
        make_plan(load_spec(tmp_path / "s.yaml"))
