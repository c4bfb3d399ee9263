"""A plan of a local file has the sizes that the trial will load, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.cards import encoder_card
from models.cards.published import ENCODERS
from models.design import LanguageBindImage, LanguageBindVideo, Vjepa
from models.encoders import build_encoder
from models.weights import CheckpointError, read_shapes
from tests.models.encoders.test_own_towers import CASES, Evil, save_languagebind


@pytest.mark.parametrize("layer", [1, -1, -2])
@pytest.mark.parametrize("name", CASES)
def test_a_card_of_a_local_file_is_of_the_encoder_that_is_built(name: str, layer: int, tmp_path: Path):
    save, config, _ = CASES[name]
    tower, where = save(tmp_path)
    design = config(str(where)).model_copy(update={"layer": layer})
    card, encoder = encoder_card(design), build_encoder(design)
    assert (card.grid, card.width, card.resolution, card.frames) == (
        encoder.grid,
        encoder.width,
        encoder.resolution,
        encoder.frames,
    )
    assert card.depth == 3
    assert card.params_run == sum(parameter.numel() for parameter in encoder.parameters())
    in_training_alone = 10 if name == "internvideo2" else 0  # clip_*, see `save_internvideo2`
    assert card.params == sum(p.numel() for p in tower.parameters()) + in_training_alone
    assert card.source.startswith("computed from the shapes in ")


@pytest.mark.parametrize("name", CASES)
def test_headers_of_safetensors_give_the_same_sizes(name: str, tmp_path: Path):
    save, config, _ = CASES[name]
    tower, where = save(tmp_path)
    pickled = encoder_card(config(str(where)))
    (tmp_path / "bare").mkdir()
    save_file({key: tensor.contiguous() for key, tensor in tower.state_dict().items()}, tmp_path / "bare/t.safetensors")
    if (tmp_path / "config.json").is_file():
        (tmp_path / "config.json").rename(tmp_path / "bare/config.json")
    bare = encoder_card(config(str(tmp_path / "bare/t.safetensors")))
    assert (bare.params_run, bare.grid, bare.heads) == (pickled.params_run, pickled.grid, pickled.heads)


def test_the_older_tower_for_videos_and_one_of_other_frames_are_counted(tmp_path: Path):
    from models.encoders.languagebind import LanguageBindTower
    from models.weights import LanguageBindSizes

    for frames, is_conv3d in ((8, False), (4, True)):
        tower = LanguageBindTower(LanguageBindSizes(image=28, width=64, depth=2, frames=frames, is_conv3d=is_conv3d))
        save_file(tower.state_dict(), tmp_path / "model.safetensors")
        card = encoder_card(LanguageBindVideo(kind="languagebind_video", weights=str(tmp_path), frames=frames))
        assert card.params == sum(p.numel() for p in tower.parameters())
    with pytest.raises(ValueError, match="takes clips of 4 frames, not 8; set its `frames` to 4"):
        encoder_card(LanguageBindVideo(kind="languagebind_video", weights=str(tmp_path)))
    with pytest.raises(ValueError, match="is a tower for videos; use kind: languagebind_video"):
        encoder_card(LanguageBindImage(kind="languagebind_image", weights=str(tmp_path)))


def test_a_copy_below_ablate_weights_is_found(tmp_path: Path, monkeypatch):
    (tmp_path / "my" / "tower").mkdir(parents=True)
    save_languagebind(tmp_path / "my" / "tower", frames=1)
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    card = encoder_card(LanguageBindImage(kind="languagebind_image", weights="my/tower"))
    assert (card.id, card.heads, card.width) == ("my/tower", 4, 64)


def test_a_file_that_needs_torch_is_assumed_published_and_the_card_says_so(tmp_path: Path):
    file = tmp_path / "old.pth.tar"
    torch.save({"target_encoder": {}}, file, _use_new_zipfile_serialization=False)
    card = encoder_card(Vjepa(kind="vjepa", weights=str(file)))
    published = next(card for card in ENCODERS.values() if card.kind == "vjepa")
    assert (card.params, card.grid, card.heads) == (published.params, published.grid, published.heads)
    assert card.source == f"assumed to be of the shape of {published.id}: {file} cannot be read without torch"


def test_nothing_in_a_pickle_runs(tmp_path: Path):
    torch.save({"blocks": Evil(tmp_path / "pwned"), "weight": torch.ones(2, 3)}, tmp_path / "evil.pt")
    content = read_shapes(tmp_path / "evil.pt")
    assert content is not None
    assert content["weight"] == (2, 3)
    assert not (tmp_path / "pwned").exists()


def test_files_that_are_no_such_tower_are_refused(tmp_path: Path):
    def refused(path: Path) -> str:
        with pytest.raises(CheckpointError) as error:
            encoder_card(Vjepa(kind="vjepa", weights=str(path)))
        return str(error.value)

    torch.save({"bert.embeddings.weight": torch.ones(3)}, tmp_path / "bert.pt")
    assert "is no checkpoint of V-JEPA" in refused(tmp_path / "bert.pt")
    save_file({"bert": torch.ones(3)}, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    for damaged in (whole[:20], whole[:4], b"{}" * 8):
        (tmp_path / "cut.safetensors").write_bytes(damaged)
        assert "is damaged or truncated" in refused(tmp_path / "cut.safetensors")


def test_planning_reads_files_without_torch(tmp_path: Path):
    save, _, _ = CASES["vjepa"]
    _, where = save(tmp_path)
    program = (
        "import sys\n"
        "from models.cards import encoder_card\n"
        "from models.design import Vjepa\n"
        f"assert encoder_card(Vjepa(kind='vjepa', weights={str(where)!r})).depth == 3\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
