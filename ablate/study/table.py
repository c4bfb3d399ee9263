"""Finished trials -> the score table and the axes of its designs. No mlflow here, so that statistics never load it.

`sqlite_runs.load` and `tracking.load` read the same trials back from MLflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from ablate.record import Record, TrialScores, Value, trials_of_records
from analysis.tables import COLUMNS

_TYPES = dict.fromkeys(COLUMNS, "str") | {"seed": "int64", "samples": "Int64", "score": "float64"}


def scores_of_records(records: Iterable[Record]) -> pd.DataFrame:
    """The score table of the finished trials among some records; see `score_frame`."""
    return score_frame(trials_of_records(records))


def score_frame(trials: Iterable[TrialScores]) -> pd.DataFrame:
    """A row for each score, in the order of the trials' keys.

    Of trials that differ in nothing but the version of the ladder's weights the latest counts.

    Returns:
        `analysis.tables.COLUMNS`; `design` is the design's label, the same for all trials of a design and for no other;
        `samples` is a nullable integer; `score` is in the benchmark's own unit.
    """
    ordered, names = _latest(trials)
    rows = [
        (t.study, names[t.design_key], t.scale, t.seed, t.samples, s.benchmark, s.category, s.modality, s.score)
        for t in ordered
        for s in t.scores
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def counting(records: Iterable[Record]) -> list[tuple[str, Record]]:
    """The finished trials that `score_frame` counts, each with the name that its design has there, by key."""
    done = {record.about.key: record for record in records if record.result is not None}
    ordered, names = _latest(trials_of_records(done.values()))
    return [(names[trial.design_key], done[trial.key]) for trial in ordered]


def factor_frame(trials: Collection[TrialScores]) -> pd.DataFrame:
    """The designs of `score_frame` and their value of each axis, as sweeps named it.

    Sweeps of one study may vary different axes: a design has those that any of its trials tells, the others are
    missing. Where its trials disagree (a sweep may name a value otherwise), the latest counts.

    Returns:
        Indexed by design, sorted; a column an axis, in the order of the trials' keys.
    """
    ordered, names = _latest(trials)
    values: dict[str, dict[str, Value]] = {
        name: {} for name in sorted({names[t.design_key] for t in ordered if t.scores})
    }
    for trial in _by_end(trials):
        if (name := names[trial.design_key]) in values:
            values[name].update(trial.axes)
    columns = dict.fromkeys(axis for trial in ordered for axis in trial.axes)
    columns |= dict.fromkeys(axis for told in values.values() for axis in told)
    index = pd.Index(list(values), name="design", dtype="str")
    return pd.DataFrame(list(values.values()), index=index, columns=list(columns))


def _latest(trials: Iterable[TrialScores]) -> tuple[list[TrialScores], Mapping[str, str]]:
    """The trials that count, by key, and the name of each design."""
    latest = {(trial.design_key, trial.scale, trial.seed, trial.samples): trial for trial in _by_end(trials)}
    ordered = sorted(latest.values(), key=lambda trial: trial.key)
    return ordered, design_names((trial.design_key, trial.design_label) for trial in ordered)


def _by_end(trials: Iterable[TrialScores]) -> list[TrialScores]:
    return sorted(trials, key=lambda trial: (trial.ended_at, trial.key))


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
