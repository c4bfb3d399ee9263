"""Multiple-choice scoring by log-likelihood: per-question outcomes, and scores per category and modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist

from models.architecture import VideoLMM
from models.costs import POSITIONS_PER_MICRO_BATCH
from models.data import IDLE, LETTERS, Corpus, Modality, Question, Row, ScoredRow, TestItem, share_of
from models.design import AssumedData, Reduce

MODALITIES: tuple[Modality, ...] = get_args(Modality)


def evaluate(
    model: VideoLMM, corpus: Corpus, device: torch.device, modality: Modality, max_positions: int | None = None
) -> Iterator[pd.DataFrame]:
    """Score the test items and yield a table per micro-batch, with one row per question.

    The ranks of torch.distributed's process group, if there is one, share the micro-batches; each yields all tables.

    The index of a table is the number of each question over all items: sorted by it, the tables together are in the
    order of the items. Columns: modality, item, question, category, task, answer and predicted (indices of options),
    probability (of the right option, with the options' likelihoods normalised to a sum of 1), log_likelihoods (a list,
    one sum over the scored tokens of each option, in nats), num_tokens (a list, the number of these tokens).

    Args:
        model: the model.
        corpus: test items, and how their questions are shown and scored.
        device: where the model computes.
        modality: what the model gets of the media.
        max_positions: number of positions of a micro-batch, by default that of training on this device. It changes
            results by rounding only.
    """
    data = corpus.design.data
    assert not isinstance(data, AssumedData), "assumed data have no questions"
    reduce: Reduce = data.reduce if data.scoring == "text" else "sum"
    max_positions = max_positions or POSITIONS_PER_MICRO_BATCH[device.type]
    corpus = corpus.on(device.type)
    owners = _owners(corpus, modality, max_positions)
    model.eval()
    groups = corpus.micro_batches([one.row for _, _, one in owners.values()], max_positions)
    for rows in share_of(groups, *_rank_and_size()):
        log_probabilities = _target_log_probabilities(model, corpus, device, rows)
        outcomes: dict[int, dict[str, object]] = {}
        for item, first, scored in (owners[id(row)] for row in rows):
            portion, log_probabilities = np.split(log_probabilities, [scored.row.num_targets])
            for number, outcome in _outcomes(item, scored, portion, reduce):
                outcomes[first + number] = {"modality": modality} | outcome
        yield _of_all_ranks(pd.DataFrame.from_dict(outcomes, orient="index"))


def _owners(corpus: Corpus, modality: Modality, max_positions: int) -> dict[int, tuple[TestItem, int, ScoredRow]]:
    """Identity of a row -> its item, the number of the item's first question, and the questions in the row."""
    owners: dict[int, tuple[TestItem, int, ScoredRow]] = {}
    first = 0
    for item in corpus.test:
        owners |= {id(one.row): (item, first, one) for one in corpus.scored_rows(item, modality, max_positions)}
        first += len(item.questions)
    return owners


def _rank_and_size() -> tuple[int, int]:
    """This process among the ranks of a trial, and their number."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _of_all_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The tables of all ranks in one; a rank without work has an empty one."""
    _, size = _rank_and_size()
    if size == 1:
        return table
    tables: list[pd.DataFrame | None] = [None] * size
    dist.all_gather_object(tables, table)
    return pd.concat([one for one in tables if one is not None and len(one)])


@torch.no_grad()  # not `inference_mode`: weights that FSDP gathers here are used in training again
def _target_log_probabilities(model: VideoLMM, corpus: Corpus, device: torch.device, rows: list[Row]) -> np.ndarray:
    """Log-probability of each target; a rank without rows computes as well, since all ranks gather the same weights."""
    batch = corpus.collate(rows or [IDLE]).to(device)
    log_probabilities: np.ndarray = model(batch).gather(1, batch.targets_K[:, None])[:, 0].cpu().numpy()
    return log_probabilities


def _outcomes(
    item: TestItem, scored: ScoredRow, log_probabilities: np.ndarray, reduce: Reduce
) -> Iterator[tuple[int, dict[str, object]]]:
    """The number of each question of a row in its item, and its outcome."""
    for number, num_tokens in scored.questions:
        portion, log_probabilities = np.split(log_probabilities, [sum(num_tokens)])
        sums = np.add.reduceat(portion, np.cumsum([0, *num_tokens[:-1]]))
        yield number, {"item": item.id} | _outcome(item.questions[number], sums, np.array(num_tokens), reduce)


def _outcome(question: Question, sums: np.ndarray, num_tokens: np.ndarray, reduce: Reduce) -> dict[str, object]:
    deciding = sums / num_tokens if reduce == "mean" else sums
    likelihoods = np.exp(deciding - deciding.max())
    return {
        "question": question.id,
        "category": question.category,
        "task": question.task,
        "answer": question.answer,
        "predicted": int(deciding.argmax()),
        "probability": float(likelihoods[question.answer] / likelihoods.sum()),
        "log_likelihoods": sums.tolist(),
        "num_tokens": num_tokens.tolist(),
    }


def letter_shares(outcomes: pd.DataFrame) -> dict[str, float]:
    """Letter -> the share of questions for which its option was chosen: a position bias shows as uneven shares.

    Every letter that some question has is in it, as its options are `A`, `B` and so on in their order.
    """
    num_letters = max(len(sums) for sums in outcomes["log_likelihoods"])
    return {LETTERS[i]: float((outcomes["predicted"] == i).mean()) for i in range(num_letters)}


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
