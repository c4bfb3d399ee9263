"""Scores of a kept model on further benchmarks: `evaluations/BENCHMARK.json` in the trial's folder, beside its result.

They are written after the trial has finished, and never change its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.record.files import RecordError, read_record, write_json
from ablate.record.notices import report_damage
from ablate.record.trial import Score

EVALUATIONS = "evaluations"
EVALUATION_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """evaluations/BENCHMARK.json."""

    key: str
    """Key of the trial."""
    benchmark: str
    folder: str
    """Data folder, for people."""
    digest: str
    """Sha256 of its test.json and of how its questions are scored."""
    scores: list[Score]
    seconds: float
    ended_at: float
    """Unix time."""
    environment: dict[str, str]
    """As in `Result`."""
    schema_version: int = EVALUATION_VERSION


def read_evaluations(trial: Path) -> list[Evaluation]:
    """The evaluations in a trial's folder, by name. A damaged one is left out and logged."""
    evaluations = []
    for path in sorted((trial / EVALUATIONS).glob("*.json")):
        try:
            evaluations.append(read_record(Evaluation, path, EVALUATION_VERSION))
        except RecordError as error:
            report_damage(error)
    return [one for one in evaluations if one is not None]


def write_evaluation(trial: Path, evaluation: Evaluation) -> Path:
    """Write an evaluation into a trial's folder; one of the same benchmark is replaced. Returns its path."""
    path = trial / EVALUATIONS / f"{evaluation.benchmark}.json"
    write_json(path, asdict(evaluation))
    return path


def evaluations_of_study(trials: Path, benchmark: str) -> Iterator[Evaluation]:
    """The evaluations of all trials of a study on a benchmark.

    Args:
        trials: folder of the trials.
        benchmark: its name.
    """
    for path in sorted(trials.glob(f"*/{EVALUATIONS}/{benchmark}.json")):
        yield from (one for one in read_evaluations(path.parents[1]) if one.benchmark == benchmark)
