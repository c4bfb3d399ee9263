"""Multiple-choice scoring by log-likelihood: per-question outcomes, and scores per category and modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch

from models.architecture import VideoLMM
from models.data import Branch, Corpus, Question, TestItem, collate

Modality = Literal["video", "frame", "text"]
"""What the model is shown: the sampled video, its centre frame alone, or the question alone."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
ITEMS_AT_ONCE = 16


@torch.inference_mode()
def evaluate(model: VideoLMM, corpus: Corpus, device: torch.device, modality: Modality) -> Iterator[pd.DataFrame]:
    """Outcomes of a few test items at a time: one row per question.

    Columns: question, item, category, task, modality, answer, predicted, probability (of the right option, the
    options' likelihoods normalised to 1), log_likelihoods (a list, summed over each option's tokens).
    """
    model.eval()
    for items in _batched(corpus.test, ITEMS_AT_ONCE):
        asked = [(item, [(q, corpus.prompter.option_branches(q)) for q in item.questions]) for item in items]
        batch = collate([corpus.tested(item, modality, _branches(questions)) for item, questions in asked])
        gathered = model(batch.to(device)).gather(1, batch.targets_K.to(device)[:, None])[:, 0].cpu().numpy()
        rows, at = [], 0
        for item, questions in asked:
            for question, branches in questions:
                sums, at = _option_sums(question, branches, gathered, at, corpus)
                rows.append(_outcome(item, question, modality, sums))
        yield pd.DataFrame(rows)


def _batched(items: list[TestItem], size: int) -> Iterator[list[TestItem]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _branches(questions: list[tuple[Question, list[Branch]]]) -> list[Branch]:
    return [branch for _, branches in questions for branch in branches]


def _option_sums(
    question: Question, branches: list[Branch], gathered: np.ndarray, at: int, corpus: Corpus
) -> tuple[np.ndarray, int]:
    """Log-likelihood of each option, and where the next question's begin."""
    lengths = [len(corpus.prompter.encode(option)) for option in question.options]
    assert sum(lengths) == sum(len(branch.targets) for branch in branches)
    starts = at + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    end = at + sum(lengths)
    return np.add.reduceat(gathered[:end], starts), end


def _outcome(item: TestItem, question: Question, modality: Modality, sums: np.ndarray) -> dict[str, object]:
    likelihoods = np.exp(sums - sums.max())
    return {
        "question": question.id,
        "item": item.id,
        "category": question.category,
        "task": question.task,
        "modality": modality,
        "answer": question.answer,
        "predicted": int(sums.argmax()),
        "probability": float(likelihoods[question.answer] / likelihoods.sum()),
        "log_likelihoods": [float(value) for value in sums],
    }


def scores(outcomes: pd.DataFrame, benchmark: str) -> list[dict[str, str | float]]:
    """Scores in percent, as rows of benchmark, category, modality, score.

    `BENCHMARK` is accuracy, for each modality; `BENCHMARK_prob` the mean probability of the right option, for
    video: it does not jump when a skill is learned and foretells larger scales better (DataDecide, arXiv
    2504.11393). `overall` is the mean over questions.
    """
    right = outcomes.assign(right=outcomes["answer"] == outcomes["predicted"])
    rows: list[dict[str, str | float]] = []
    for modality, shown in right.groupby("modality", sort=False):
        for name, column in ((benchmark, "right"), (f"{benchmark}_prob", "probability")):
            if column == "probability" and modality != "video":
                continue
            means = {"overall": shown[column].mean(), **shown.groupby("category")[column].mean().to_dict()}
            rows += [
                {"benchmark": name, "category": str(c), "modality": str(modality), "score": 100 * float(v)}
                for c, v in means.items()
            ]
    return rows
