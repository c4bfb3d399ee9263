"""Weights: the shipped parts are those of their version; missing ones are reported."""

from __future__ import annotations

import hashlib

import pytest

from models.cards import encoder_card, llm_card
from models.design import Siglip
from models.weights import (
    INTERNVIDEO2,
    CheckpointError,
    cached_snapshot,
    find_file,
    local_config,
    locate,
    revision_of,
    split_revision,
    stored_params,
    why_not_here,
)
from models.weights.locations import PARTS_VERSION, SHIPPED_PARTS

PINNED = {
    "image-encoder/model.safetensors": "f3df099be3abf8c0",
    "image-contrastive/model.safetensors": "bc4063ca0d2baba1",
    "image-mae/model.safetensors": "5622872dbdcb4058",
    "llm-0.05M/model.safetensors": "3babf27df8dfb215",
    "llm-0.15M/model.safetensors": "da3b31175696b892",
    "llm-0.4M/model.safetensors": "182781e364a20c3b",
    "llm-0.7M/model.safetensors": "fd316b76dff32f5a",
    "tokenizer/tokenizer.json": "a9fad2b860c255ba",
    "video-encoder/model.safetensors": "adc2ec35f242d060",
    "video-mae/model.safetensors": "5dfb848de3a60d39",
}
"""Hashes of version 2. Parts that are trained again change every trial's scores: raise PARTS_VERSION with them."""


def test_the_shipped_parts_are_those_of_their_version():
    assert PARTS_VERSION == 2
    hashes = {name: hashlib.sha256((SHIPPED_PARTS / name).read_bytes()).hexdigest()[:16] for name in PINNED}
    assert hashes == PINNED


def test_parts_that_are_not_shipped_are_reported():
    with pytest.raises(
        FileNotFoundError,
        match="no shipped part 'llm-9B'; there are: image-contrastive, image-encoder, image-mae, llm-0.05M",
    ):
        locate("tiny/llm-9B@2")
    with pytest.raises(FileNotFoundError, match="the shipped parts are version 2"):
        locate("tiny/llm-0.15M@7")
    assert locate("Qwen/Qwen2-0.5B-Instruct") == "Qwen/Qwen2-0.5B-Instruct"


def test_a_local_copy_stands_in_for_a_hub_id_or_an_address(tmp_path, monkeypatch):
    (tmp_path / "Qwen" / "Qwen2-0.5B").mkdir(parents=True)
    (tmp_path / "vith16-384.pth.tar").touch()
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    assert locate("Qwen/Qwen2-0.5B") == str(tmp_path / "Qwen/Qwen2-0.5B")
    assert locate("https://dl.example/jepa/vith16-384.pth.tar") == str(tmp_path / "vith16-384.pth.tar")
    assert locate("Qwen/Qwen2-7B") == "Qwen/Qwen2-7B"
    assert locate(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ("Qwen/Qwen2-7B@v1.0", ("Qwen/Qwen2-7B", "v1.0")),
        ("gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e", ("gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e")),
        ("Qwen/Qwen2-7B@refs/pr/3", ("Qwen/Qwen2-7B", "refs/pr/3")),
        ("Qwen/Qwen2-7B", ("Qwen/Qwen2-7B", None)),
        ("tiny/llm-0.15M@2", ("tiny/llm-0.15M@2", None)),
        ("/data/me@home/llm", ("/data/me@home/llm", None)),
        ("https://example.org/a@b.pt", ("https://example.org/a@b.pt", None)),
    ],
)
def test_a_hub_id_may_have_a_revision(weights, parts):
    assert split_revision(weights) == parts
    assert revision_of(weights) == (parts[1] or "main")


def test_a_copy_of_a_revision_has_it_in_its_name(tmp_path, monkeypatch):
    """A copy without one may be of any revision, so it does not stand in for this one."""
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    (tmp_path / "Qwen" / "Qwen2-7B").mkdir(parents=True)
    assert locate("Qwen/Qwen2-7B@abc") == "Qwen/Qwen2-7B"  # on the hub
    (tmp_path / "Qwen" / "Qwen2-7B@abc").mkdir()
    assert locate("Qwen/Qwen2-7B@abc") == str(tmp_path / "Qwen/Qwen2-7B@abc")
    assert why_not_here("Qwen/Qwen2-7B@abc").endswith("with the weights and the tokenizer of the same model")
    assert why_not_here("Qwen/Qwen2-7B@v1") is None


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine@v1").mkdir()
    assert split_revision("mine@v1") == ("mine@v1", None)
    assert locate("mine@v1") == "mine@v1"


def test_a_revision_has_the_card_of_its_model():
    assert llm_card("Qwen/Qwen2-7B-Instruct@main") == llm_card("Qwen/Qwen2-7B-Instruct")
    siglip = "google/siglip-so400m-patch14-384"
    cards = [encoder_card(Siglip(kind="siglip", weights=name)) for name in (siglip, f"{siglip}@9fdffc58af")]
    assert cards[0] == cards[1]


def test_numbers_that_a_folder_stores_are_counted_by_its_headers(tmp_path):
    assert stored_params("tiny/llm-0.15M@2") == llm_card("tiny/llm-0.15M@2").params
    assert stored_params(str(tmp_path)) is None
    for content in (b"", b"\xff" * 99, (4).to_bytes(8, "little") + b"[[]]"):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert stored_params(str(tmp_path)) is None


def test_a_folder_holds_a_config_and_a_hub_id_looks_like_one(tmp_path):
    for weights in ("tiny/llm-0.15M@2", "Qwen/Qwen3-1.7B", "gpt2", str(SHIPPED_PARTS / "llm-0.7M")):
        assert why_not_here(weights) is None
    assert "has no config.json" in why_not_here(str(tmp_path))
    for weights in (
        str(tmp_path / "none"),
        "./none",
        "../Qwen/none",
        "a/b/c",
        "https://huggingface.co/Qwen/Qwen3-1.7B",
    ):
        assert why_not_here(weights).startswith(f"there is no folder {weights}; ")


def test_a_malformed_config_is_reported(tmp_path):
    assert local_config(str(tmp_path)) is None
    for content, says in (("{", "is not JSON"), ("[]", "must contain an object")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=f"config.json {says}"):
            local_config(str(tmp_path))


def test_a_file_of_our_own_towers_comes_from_its_revision(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--who--Tower"
    for revision, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
        (repository / "snapshots" / commit / INTERNVIDEO2.files[0]).write_text(revision)
        assert find_file(f"who/Tower@{revision}", INTERNVIDEO2).read_text() == revision
        assert cached_snapshot(f"who/Tower@{revision}", INTERNVIDEO2.files[0]).name == commit
    assert find_file("who/Tower", INTERNVIDEO2).read_text() == "main"
    assert find_file(f"who/Tower@{'b' * 40}", INTERNVIDEO2).read_text() == "v1"
    assert cached_snapshot("who/Other", INTERNVIDEO2.files[0]) is None
    assert cached_snapshot("https://dl.example/jepa/vith16.pth.tar", INTERNVIDEO2.files[0]) is None
    with pytest.raises(CheckpointError, match=r"from https://huggingface.co/who/Other/tree/v1 and put it at "):
        find_file("who/Other@v1", INTERNVIDEO2)
