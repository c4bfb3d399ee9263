"""Multiple-choice scoring by log-likelihood: per-question outcomes, and scores per category and modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch

from models.architecture import VideoLMM
from models.data import Branch, Corpus, Question, TestItem

Modality = Literal["video", "frame", "text"]
"""Input of the model: the question with the sampled video, with its centre frame, or alone."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
ITEMS_PER_BATCH = 16


@torch.inference_mode()
def evaluate(model: VideoLMM, corpus: Corpus, device: torch.device, modality: Modality) -> Iterator[pd.DataFrame]:
    """Score the test items and yield a table per batch of items, with one row per question.

    Columns: question, item, category, task, modality, answer and predicted (indices of options), probability (of the
    right option, with the options' likelihoods normalised to a sum of 1), log_likelihoods (a list, one sum over the
    tokens of each option, in nats).
    """
    model.eval()
    for items in _batched(corpus.test, ITEMS_PER_BATCH):
        branches_by_item = [(item, [(q, corpus.prompter.option_branches(q)) for q in item.questions]) for item in items]
        batch = corpus.collate([corpus.test_row(item, modality, _branches(pairs)) for item, pairs in branches_by_item])
        log_probabilities = model(batch.to(device)).gather(1, batch.targets_K.to(device)[:, None])[:, 0].cpu().numpy()
        rows, at = [], 0
        for item, pairs in branches_by_item:
            for question, branches in pairs:
                sums, at = _option_sums(question, branches, log_probabilities, at, corpus)
                rows.append(_outcome(item, question, modality, sums))
        yield pd.DataFrame(rows)


def _batched(items: Sequence[TestItem], size: int) -> Iterator[Sequence[TestItem]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _branches(pairs: list[tuple[Question, list[Branch]]]) -> list[Branch]:
    return [branch for _, branches in pairs for branch in branches]


def _option_sums(
    question: Question, branches: list[Branch], log_probabilities: np.ndarray, at: int, corpus: Corpus
) -> tuple[np.ndarray, int]:
    """Log-likelihood of each option, and the index at which the next question's log-probabilities start."""
    lengths = [len(corpus.prompter.encode(option)) for option in question.options]
    assert sum(lengths) == sum(len(branch.targets) for branch in branches)
    starts = at + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    end = at + sum(lengths)
    return np.add.reduceat(log_probabilities[:end], starts), end


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
    """Scores in percent, as rows with the keys benchmark, category, modality, score.

    `BENCHMARK` is accuracy, for each modality. `BENCHMARK_prob` is the mean probability of the right option, for video
    only: it does not jump when a skill is learned and predicts larger scales better (DataDecide, arXiv 2504.11393).
    The category `overall` is the mean over all questions.
    """
    right = outcomes.assign(right=outcomes["answer"] == outcomes["predicted"])
    rows: list[dict[str, str | float]] = []
    for modality, group in right.groupby("modality", sort=False):
        for name, column in ((benchmark, "right"), (f"{benchmark}_prob", "probability")):
            if column == "probability" and modality != "video":
                continue
            means = {"overall": group[column].mean(), **group.groupby("category")[column].mean().to_dict()}
            rows += [
                {"benchmark": name, "category": str(c), "modality": str(modality), "score": 100 * float(v)}
                for c, v in means.items()
            ]
    return rows
