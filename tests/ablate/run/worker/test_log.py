"""The log of a trial says what its training leaves out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ablate.record import AttemptFolder
from ablate.run.worker.curve import TrainingCurve
from ablate.run.worker.video_lmm import _train
from models.data import TrainingSample, Turn
from models.design import TrialConfig
from models.presets import PRESETS


def test_turns_that_max_questions_leaves_out_are_logged(tmp_path: Path):
    dialogue = TrainingSample("t", "text", (), tuple(Turn((f"question {n}",), "answer") for n in range(12)), False)
    config = TrialConfig(design=PRESETS["tiny"].design, scale="0.15M", seed=0, samples=100)
    attempt = AttemptFolder(tmp_path)
    # Only what is logged before the first step matters.
    training: Any = SimpleNamespace(config=config, corpus=SimpleNamespace(train=[dialogue]), run=lambda: iter(()))
    checkpoints: Any = SimpleNamespace(resume=lambda: None)
    assert list(_train(training, TrainingCurve(attempt), checkpoints, attempt.log_line)) == []
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert "`max_questions: 8` of stage 'video' leaves out 4 of 12 turns of dialogues (33.3%)" in line
