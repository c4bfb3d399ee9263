"""Trained models on disk: opened again they are the same, on a machine that has nothing else, or are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import models.weights.locations
from models.architecture import ModelFolder, VideoLMM, build, export_model, open_model, save_learned
from models.data import Branch, Row, collate
from models.design import Design, Integration, LearningRates, Mix, Siglip, Stage, TrialConfig, Uniform
from models.presets import PRESETS
from models.weights import CheckpointError, combined_digest, encoder_files, locate
from tests.models.encoders.test_own_towers import CASES

PRESET = PRESETS["tiny"].design
PREFIX, ANSWER = [5, 6, 7, 8], (9, 10, 11)
RATES = {
    "connector": LearningRates(connector=1e-3),
    "llm": LearningRates(connector=1e-3, llm=1e-3),
    "all": LearningRates(vision=1e-3, connector=1e-3, llm=1e-3),
}


def trained(learns: str, encoder: str | None = None, cache: Path | None = None) -> VideoLMM:
    """A model whose learned parts differ from those that it was built from."""
    design = PRESET.model_copy(update={"integration": Integration(separators=True)})
    stage = Stage(name="a", share=1.0, batch=1, mix=Mix(video=1.0), lr=RATES[learns])
    design = design.model_copy(update={"schedule": (stage,)})
    if encoder:
        assert cache
        digest = combined_digest(encoder_files(encoder, "siglip"), cache)
        design = design.model_copy(update={"encoders": (Siglip(kind="siglip", weights=encoder, digest=digest),)})
    torch.manual_seed(0)
    model, _ = build(TrialConfig(design=design, scale="0.05M", seed=0, samples=1))
    with torch.no_grad():
        for name, part in model.parts().items():
            for parameter in part.parameters() if getattr(RATES[learns], name) else ():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def answers(model: VideoLMM) -> Tensor:
    with torch.inference_mode():
        return model(collate([Row(PREFIX, [Branch(ANSWER, ((2, 0),))])]))


def assert_same(one: VideoLMM, other: VideoLMM) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert torch.equal(answers(one), answers(other))


@pytest.fixture
def without_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine that has none of the weights from which a model was trained."""

    def leave() -> None:
        monkeypatch.setattr(models.weights.locations, "SHIPPED_PARTS", tmp_path / "nowhere")

    return leave


@pytest.mark.parametrize("learns", RATES)
def test_a_kept_model_is_the_model_that_was_trained(learns: str, tmp_path: Path):
    model = trained(learns)
    save_learned(model, tmp_path / "kept")
    random = torch.get_rng_state()
    opened = open_model(tmp_path / "kept", tmp_path / "cache")
    assert_same(model, opened)
    assert torch.equal(random, torch.get_rng_state())  # opening a model changes no later draw
    assert opened.source
    assert model.source
    assert opened.source.config == model.source.config
    assert opened.source.tokenizer.get_vocab() == model.source.tokenizer.get_vocab()
    assert not opened.training


@pytest.mark.parametrize(("learns", "names"), [("connector", {"model"}), ("llm", {"model", "llm"})])
def test_only_what_learned_is_kept(learns: str, names: set[str], tmp_path: Path):
    save_learned(trained(learns), tmp_path / "kept")
    files = [path.relative_to(tmp_path / "kept") for path in (tmp_path / "kept").rglob("*.safetensors")]
    assert {path.parts[0].removesuffix(".safetensors") for path in files} == names
    assert not any(name.startswith("encoder.") for name in load_file(tmp_path / "kept" / "model.safetensors"))


@pytest.mark.parametrize("learns", RATES)
def test_an_exported_model_needs_nothing_else(learns: str, tmp_path: Path, without_parts):
    model = trained(learns)
    save_learned(model, tmp_path / "kept")
    export_model(tmp_path / "kept", tmp_path / "out")
    model.save_pretrained(tmp_path / "saved")
    moved = shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    without_parts()
    assert_same(model, VideoLMM.from_pretrained(moved))
    assert_same(model, VideoLMM.from_pretrained(tmp_path / "saved"))
    shutil.rmtree(tmp_path / "saved" / "encoders")
    with pytest.raises(CheckpointError, match="there is no folder.*encoders/0"):
        VideoLMM.from_pretrained(tmp_path / "saved")


def test_an_encoder_from_a_folder_is_compared_with_its_digest(tmp_path: Path):
    encoder = shutil.copytree(locate("tiny/image-encoder@2"), tmp_path / "encoder")
    model = trained("llm", str(encoder), tmp_path / "cache")
    save_learned(model, tmp_path / "kept")
    assert_same(model, open_model(tmp_path / "kept", tmp_path / "cache"))
    export_model(tmp_path / "kept", tmp_path / "out")
    tensors = load_file(encoder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="needs .*encoder with digest .*, and here it is .*: restore"):
        open_model(tmp_path / "kept", tmp_path / "cache")
    shutil.rmtree(encoder)
    with pytest.raises(CheckpointError, match="here it is missing"):
        open_model(tmp_path / "kept", tmp_path / "cache")
    with pytest.raises(CheckpointError, match="is not on this machine; put it below .ABLATE_WEIGHTS"):
        export_model(tmp_path / "kept", tmp_path / "again")
    assert_same(model, VideoLMM.from_pretrained(tmp_path / "out"))  # which has its own copy


def test_bfloat16_takes_half_the_space_and_changes_answers_by_rounding(tmp_path: Path):
    model = trained("llm")
    save_learned(model, tmp_path / "kept")
    export_model(tmp_path / "kept", tmp_path / "out", bf16=True)
    for name in ("model.safetensors", "llm/model.safetensors"):
        sizes = [(tmp_path / folder / name).stat().st_size for folder in ("out", "kept")]
        assert sizes[0] / sizes[1] < 0.55
    rounded = VideoLMM.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in rounded.parameters()} == {torch.float32}
    difference = (answers(rounded) - answers(model)).abs().max()
    assert 0 < difference < 0.2
    assert ModelFolder.read(tmp_path / "out").dtype == "bfloat16"


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path):
    save_learned(trained("llm"), tmp_path / "kept")
    path = tmp_path / "kept" / "model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    for changed, reason in (
        ({name: one for name, one in tensors.items() if name != first}, f"lacks {first}"),
        (tensors | {"resampler.other": torch.ones(1)}, "also holds resampler.other"),
        (tensors | {first: torch.ones(3)}, rf"has another shape for {first} \(\(3,\) instead of"),
    ):
        save_file(changed, path)
        with pytest.raises(CheckpointError, match=f"do not fit config.json: the file {reason}"):
            open_model(tmp_path / "kept")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        open_model(tmp_path / "kept")
    path.unlink()
    with pytest.raises(CheckpointError, match="missing or damaged"):
        open_model(tmp_path / "kept")


def test_another_tokenizer_is_refused(tmp_path: Path):
    save_learned(trained("llm"), tmp_path / "kept")
    path = tmp_path / "kept" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"probe": [1, 2, 3]}))
    with pytest.raises(CheckpointError, match="in the trial it was .1, 2, 3.; install the version of transformers"):
        open_model(tmp_path / "kept")


def test_what_is_no_model_is_refused_with_the_fix(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no config.json, so it is no model of ablate; write one with `ablate ex"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(CheckpointError, match="does not describe a model that this ablate opens .*model_type"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_model(tmp_path)


def test_an_export_never_writes_over_files(tmp_path: Path):
    save_learned(trained("connector"), tmp_path / "kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        export_model(tmp_path / "kept", tmp_path / "out")


@pytest.mark.parametrize("kind", CASES)
def test_published_pickles_are_exported_as_safetensors(kind: str, tmp_path: Path):
    (tmp_path / "weights").mkdir()
    save, config, _ = CASES[kind]
    _, path = save(tmp_path / "weights")
    encoder = config(str(path))
    sampling = Uniform(kind="uniform", frames=max(encoder.frames, 2))
    design = PRESET.model_copy(update={"encoders": (encoder,), "sampling": sampling})
    torch.manual_seed(0)
    model, _ = build(TrialConfig(design=Design.model_validate(design.model_dump()), scale="0.05M", seed=0, samples=1))
    model.save_pretrained(tmp_path / "out")
    shutil.rmtree(tmp_path / "weights")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".bin", ".pt", ".tar")]
    opened = VideoLMM.from_pretrained(tmp_path / "out")
    tower = model.encoder.encoders[0]
    clips = torch.randint(0, 256, (1, tower.frames, tower.resolution, tower.resolution, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(tower(clips), opened.encoder.encoders[0](clips))
