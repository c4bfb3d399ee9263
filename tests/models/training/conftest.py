"""The small random model, its prompts and its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.architecture import VideoLMM
from models.data import Corpus, Prompter
from tests.models.training.small import small_corpus, small_model, small_prompter


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return small_prompter()


@pytest.fixture
def model(prompter: Prompter, tmp_path: Path) -> VideoLMM:
    return small_model(prompter, tmp_path)


@pytest.fixture
def corpus(model: VideoLMM, prompter: Prompter) -> Corpus:
    return small_corpus(model, prompter)
