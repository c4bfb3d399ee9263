"""A trial that ran out of memory runs again with smaller micro-batches, and has the same scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.record import Result, TrialFolder
from ablate.run import job_of
from ablate.run.worker import run_trial
from models.costs import POSITIONS_PER_MICRO_BATCH, positions_per_micro_batch
from tests.ablate.run.worker.studies import Study


def test_positions_are_halved_for_each_failure():
    assert [positions_per_micro_batch("cuda", n) for n in range(3)] == [4096, 2048, 1024]
    assert positions_per_micro_batch("cpu") == POSITIONS_PER_MICRO_BATCH["cpu"]
    assert positions_per_micro_batch("cpu", 99) == 1


def test_smaller_micro_batches_change_results_by_rounding_only(tmp_path: Path):
    study = Study(tmp_path)
    talk = [{"from": "human", "value": "<image>\n" + "what color " * 9}, {"from": "gpt", "value": "red"}]
    short = [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "blue"}]
    study.write("train", [{"image": "0.png", "conversations": talk}, {"image": "1.png", "conversations": short}])
    plan = study.plan("tiny/image-encoder@2")
    trials = []
    for failures in (0, 7):
        job = replace(job_of(plan, plan.planned[0]), oom_failures=failures, folder=str(tmp_path / str(failures)))
        folder = TrialFolder(Path(job.folder))
        for _ in run_trial(job, folder.begin()):
            pass
        trials.append(folder)
    whole, halved = trials
    (before,), (after,) = whole.events(), halved.events()
    assert before["padding"] > 0 == after["padding"]  # each row is a micro-batch of its own
    assert before["loss"] == pytest.approx(after["loss"], rel=1e-5)
    for one, other in zip(result(whole).scores, result(halved).scores, strict=True):
        assert other == replace(one, score=pytest.approx(one.score, rel=1e-4))
    tables = [pd.read_parquet(folder.file("predictions.parquet")) for folder in trials]
    for first, second in zip(*(table["log_likelihoods"] for table in tables), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4)
    assert result(halved).environment["micro_batch_positions"] == "8"
    assert (
        "micro-batches of 8 positions: earlier attempts ran out of memory 7 times" in halved.file("log.txt").read_text()
    )


def result(folder: TrialFolder) -> Result:
    result = folder.result()
    assert result is not None, folder.failures()
    return result
