"""Trial records -> the score table. No mlflow here, so that statistics never load it.

`tracking.load_scores` reads the same table back from MLflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ablate.record import Record, Score
from analysis.table import COLUMNS

_TYPES = dict.fromkeys(COLUMNS, "str") | {"seed": "int64", "samples": "Int64", "score": "float64"}


@dataclass(frozen=True, kw_only=True)
class TrialScores:
    """The scores of one finished trial, from its folder or from MLflow."""

    key: str
    design_key: str
    design_label: str
    study: str
    scale: str
    seed: int
    samples: int | None
    """Training samples; None where scores were imported without saying."""
    ended_at: float
    """Unix time."""
    scores: Sequence[Score]


def scores_of_records(records: Iterable[Record]) -> pd.DataFrame:
    """The score table of the finished trials among some records; see `score_frame`."""
    return score_frame([_scores_of(record) for record in records if record.result is not None])


def _scores_of(record: Record) -> TrialScores:
    about = record.about
    return TrialScores(
        key=about.key,
        design_key=about.design_key,
        design_label=about.design_label,
        study=about.study,
        scale=about.scale,
        seed=about.seed,
        samples=about.samples,
        ended_at=record.result.ended_at if record.result else 0.0,
        scores=record.result.scores if record.result else [],
    )


def score_frame(trials: Iterable[TrialScores]) -> pd.DataFrame:
    """A row for each score, in the order of the trials' keys.

    Of trials that differ in nothing but the version of the ladder's weights the latest counts.

    Returns:
        `analysis.table.COLUMNS`; `design` is the design's label, the same for all trials of a design and for no other;
        `samples` is a nullable integer; `score` is in the benchmark's own unit.
    """
    latest: dict[tuple[str, str, int, int | None], TrialScores] = {}
    for trial in sorted(trials, key=lambda trial: (trial.ended_at, trial.key)):
        latest[trial.design_key, trial.scale, trial.seed, trial.samples] = trial
    ordered = sorted(latest.values(), key=lambda trial: trial.key)
    names = design_names((trial.design_key, trial.design_label) for trial in ordered)
    rows = [
        (t.study, names[t.design_key], t.scale, t.seed, t.samples, s.benchmark, s.category, s.modality, s.score)
        for t in ordered
        for s in t.scores
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def design_names(labelled: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """One name for each design: its most frequent label, with the start of its key where designs share one.

    Sweeps name designs by what differs in them, so one design may bear several labels, and several designs one.

    Args:
        labelled: design key and label of each trial.
    """
    labels: dict[str, Counter[str]] = {}
    for key, label in labelled:
        labels.setdefault(key, Counter())[label] += 1
    chosen = {key: min(found, key=lambda label: (-found[label], label)) for key, found in labels.items()}
    shared = {label for label, times in Counter(chosen.values()).items() if times > 1}
    return {key: f"{label}~{key[:4]}" if label in shared else label for key, label in chosen.items()}
