"""Weights: the shipped parts are what their version says; what is not there is told."""

from __future__ import annotations

import hashlib

import pytest

from models.weights import PARTS_VERSION, TINY_PARTS, locate

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
"""Of version 2. Parts that are trained anew change every trial's scores: raise PARTS_VERSION with them."""


def test_the_shipped_parts_are_those_of_their_version():
    assert PARTS_VERSION == 2
    found = {name: hashlib.sha256((TINY_PARTS / name).read_bytes()).hexdigest()[:16] for name in PINNED}
    assert found == PINNED


def test_what_is_not_shipped_is_told():
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
