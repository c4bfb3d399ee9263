"""Weights: the shipped parts are what their version says; what is not there is told."""

from __future__ import annotations

import hashlib

import pytest

from models.weights import PARTS_VERSION, TINY_PARTS, locate

PINNED = {
    "image-encoder/model.safetensors": "f3df099be3abf8c0",
    "llm-0.05M/model.safetensors": "3babf27df8dfb215",
    "llm-0.15M/model.safetensors": "da3b31175696b892",
    "llm-0.4M/model.safetensors": "182781e364a20c3b",
    "llm-0.7M/model.safetensors": "fd316b76dff32f5a",
    "tokenizer/tokenizer.json": "a9fad2b860c255ba",
}
"""Of version 2. Parts that are trained anew change every trial's scores: raise PARTS_VERSION with them."""


def test_the_shipped_parts_are_those_of_their_version():
    assert PARTS_VERSION == 2
    found = {name: hashlib.sha256((TINY_PARTS / name).read_bytes()).hexdigest()[:16] for name in PINNED}
    assert found == PINNED


def test_what_is_not_shipped_is_told():
    with pytest.raises(FileNotFoundError, match="no shipped part 'llm-9B'; there are: image-encoder, llm-0.05M"):
        locate("tiny/llm-9B@2")
    with pytest.raises(FileNotFoundError, match="the shipped parts are version 2"):
        locate("tiny/llm-0.15M@7")
    assert locate("Qwen/Qwen2-0.5B-Instruct") == "Qwen/Qwen2-0.5B-Instruct"
