"""The layout of GPUs trains and scores as that of CPUs does: the results differ by rounding only."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from models.data.packing import Layout
from models.design import AdamW, Design, LearningRates, Mix, Stage
from models.scoring import evaluate
from models.training import train
from tests.models.training.small import CPU, DESIGN, ENGINE, config, small_corpus, small_model, small_prompter

MIX = Mix(text=0.25, image=0.25, multi_image=0.25, video=0.25)
STAGE = Stage(name="a", share=1.0, batch=8, mix=MIX, lr=LearningRates(vision=1e-3, connector=2e-3, llm=1e-3))


def trained(folder, layout: Layout, max_positions: int) -> tuple[list[float], list[float], pd.DataFrame]:
    """Losses, shares of padding, and outcomes of the test questions."""
    prompter = small_prompter()
    model = small_model(prompter, folder)
    design = DESIGN.model_copy(update={"schedule": (STAGE,), "optimizer": AdamW(kind="adamw")})
    trial = config(design=Design.model_validate(design.model_dump()))
    corpus = replace(small_corpus(model, prompter), layout=layout)
    steps = list(train(model, trial, corpus, ENGINE, max_positions))
    outcomes = pd.concat(evaluate(model, corpus, CPU, "video", max_positions)).sort_index()
    return [step.loss for step in steps], [step.padding for step in steps], outcomes


def test_flat_packs_train_and_score_as_rows_do(tmp_path):
    losses, _, outcomes = trained(tmp_path, "rows", 1024)
    for most in (128, 512):
        flat_losses, padding, flat_outcomes = trained(tmp_path, "flat", most)
        assert flat_losses == pytest.approx(losses, abs=1e-5)
        assert flat_outcomes["probability"].to_list() == pytest.approx(outcomes["probability"].to_list(), abs=1e-4)
        assert all(0 <= share < 1 for share in padding)
