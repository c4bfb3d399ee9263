"""An encoder whose features are stored is not loaded again, and the trial computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.run.worker.stored_encoders import features_name, stored_encoders
from models.architecture import BuildOptions, build
from models.data import Corpus, Prompter, TrainingSample, Turn, VisualReader
from models.design import LearningRates, TrialConfig
from models.encoders import build_encoder, store_features
from models.presets import PRESETS
from models.video import Medium, Stored

CPU = torch.device("cpu")
DESIGN = PRESETS["tiny"].design
CONFIG = TrialConfig(design=DESIGN, scale="0.05M", seed=0, samples=64)
RECORD = TrainingSample(
    "v", "video", (Medium(path="v.mp4", kind="video"),), (Turn((0, "what is the first digit"), "two"),), True
)


@pytest.fixture
def frames() -> Stored:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    return Stored({"v.mp4": (0, 8)}, np.arange(8) / 4, pixels)


def test_stored_features_replace_the_encoder(frames: Stored, tmp_path: Path):
    (encoder,) = DESIGN.encoders
    name = features_name(encoder, [])
    assert stored_encoders(DESIGN, tmp_path, CPU) == frozenset()
    store_features(tmp_path, frames, build_encoder(encoder), name)
    stored = stored_encoders(DESIGN, tmp_path, CPU)
    assert stored == {0}
    losses, states = [], []
    for options in (BuildOptions(), BuildOptions(stored_encoders=stored)):
        torch.manual_seed(0)
        model, tokenizer = build(CONFIG, options)
        states.append(torch.random.get_rng_state())
        features = {0: store_features(tmp_path, frames, model.encoder.encoders[0], name)}
        corpus = Corpus(Prompter(tokenizer), [RECORD], [], VisualReader(DESIGN, model.encoder, frames, features))
        batch = corpus.collate([corpus.training_row(RECORD, 1, np.random.default_rng(0))])
        losses.append(model.loss(batch).item())
    assert losses[0] == losses[1]
    assert torch.equal(*states), "new weights and later draws are the same"
    assert list(model.encoder.parameters()) == [], "no weights were loaded"


def test_what_learns_or_is_computed_elsewhere_is_loaded(frames: Stored, tmp_path: Path):
    (encoder,) = DESIGN.encoders
    store_features(tmp_path, frames, build_encoder(encoder), features_name(encoder, []))
    stages = (DESIGN.schedule[0].model_copy(update={"lr": LearningRates(vision=1e-4, connector=1e-3)}),)
    assert stored_encoders(DESIGN.model_copy(update={"schedule": stages}), tmp_path, CPU) == frozenset()
    assert stored_encoders(DESIGN, tmp_path, torch.device("cuda")) == frozenset(), (
        "a GPU's sums differ in the last bits"
    )
    assert stored_encoders(DESIGN, tmp_path, CPU, torch.bfloat16) == frozenset()
    named = DESIGN.model_copy(update={"encoders": (encoder.model_copy(update={"weights": "who/Encoder"}),)})
    assert stored_encoders(named, tmp_path, CPU) == frozenset(), "what the hub id contains is known once it is loaded"
