"""The log of a trial says what its training leaves out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import models.training
from ablate.record import AttemptFolder
from ablate.run.worker.curve import TrainingCurve
from ablate.run.worker.video_lmm import Execution, _train
from models.data import TrainingSample, Turn
from models.design import TrialConfig
from models.presets import PRESETS
from models.training import Engine


def test_turns_that_max_questions_leaves_out_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dialogue = TrainingSample("t", "text", (), tuple(Turn((f"question {n}",), "answer") for n in range(12)), False)
    config = TrialConfig(design=PRESETS["tiny"].design, scale="0.15M", seed=0, samples=100)
    monkeypatch.setattr(models.training, "train", lambda *_: iter(()))  # only what is logged before it matters
    attempt = AttemptFolder(tmp_path)
    corpus: Any = SimpleNamespace(train=[dialogue])
    execution = Execution(engine=Engine(torch.device("cpu")), max_positions=1024)
    assert list(_train(None, config, corpus, execution, TrainingCurve(attempt), attempt.log_line)) == []
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert "`max_questions: 8` of stage 'video' leaves out 4 of 12 turns of dialogues (33.3%)" in line
