"""The log of a trial says what its training leaves out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ablate.record import folder_of
from ablate.run import about, job_of
from ablate.run.worker import run_trial
from ablate.run.worker.video_lmm import _turns_left_out
from models.data import TrainingSample, Turn
from models.design import TrialConfig
from models.presets import PRESETS
from tests.ablate.run.worker.studies import TALK, Study


def test_turns_that_max_questions_leaves_out_are_logged():
    dialogue = TrainingSample("t", "text", (), tuple(Turn((f"question {n}",), "answer") for n in range(12)), False)
    config = TrialConfig(design=PRESETS["tiny"].design, scale="0.15M", seed=0, samples=100)
    corpus: Any = SimpleNamespace(train=[dialogue])
    (line,) = _turns_left_out(config, corpus)
    assert "`max_questions: 8` of stage 'video' leaves out 4 of 12 turns of dialogues (33.3%)" in line


def test_what_max_length_leaves_out_and_empty_positions_are_logged(tmp_path: Path):
    study = Study(tmp_path)
    more = [{"from": "human", "value": "what color"}, {"from": "gpt", "value": "red"}]
    long, short = ({"image": f"{n}.png", "conversations": TALK + more * turns} for n, turns in ((0, 40), (1, 0)))
    study.write("train", [long, short])
    plan = study.plan("tiny/image-encoder@2", max_length=64)
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    folder.describe(about(plan, plan.planned[0].trial))
    for _ in run_trial(job_of(plan, plan.planned[0]), folder.begin()):
        pass
    assert folder.result() is not None, folder.failures()
    log = folder.file("log.txt").read_text()
    assert "`max_length: 64` shortened 1 of the samples: 0 clips and " in log
    (event,) = folder.events()
    assert f"{event['padding']:.1%} of the positions in micro-batches were empty" in log
    assert any("`max_length: 64` shortens" in note for note in _notes(study))


def _notes(study: Study) -> list[str]:
    from ablate.plan import Pricing, make_plan
    from ablate.spec import load_spec

    return make_plan(load_spec(study.folder / "s.yaml"), Pricing(gpu=None)).notes()
