"""Finished trials -> the score table and the axes of its designs. Statistics use it without loading mlflow.

`tracking.sqlite.load` and `tracking.load` read the same trials from MLflow.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from ablate.record import Record, TrialScores, Value, is_open, trials_of_records
from analysis.tables import COLUMNS

_TYPES = dict.fromkeys(COLUMNS, "str") | {"seed": "int64", "samples": "Int64", "score": "float64"}

MAX_DESIGNS = 4
"""Most designs that a sentence names."""


def scores_of_records(records: Iterable[Record]) -> pd.DataFrame:
    """The score table of the finished trials among some records; see `score_frame`."""
    return score_frame(trials_of_records(records))


def score_frame(trials: Iterable[TrialScores]) -> pd.DataFrame:
    """One row per score, in the order of the trials' keys.

    Of trials that differ only in the version of the weights, the latest counts.

    Returns:
        `analysis.tables.COLUMNS`; `design` is a label, unique to each design; `samples` is a nullable integer;
        `score` is in the unit of the benchmark.
    """
    ordered, names = _latest(trials)
    rows = [
        (t.study, names[t.design_key], t.scale, t.seed, t.samples, s.benchmark, s.category, s.modality, s.score)
        for t in ordered
        for s in t.scores
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def counting(records: Iterable[Record]) -> list[tuple[str, Record]]:
    """The finished trials that `score_frame` counts, each with the name of its design there, ordered by key."""
    done = {record.about.key: record for record in records if record.result is not None}
    ordered, names = _latest(trials_of_records(done.values()))
    return [(names[trial.design_key], done[trial.key]) for trial in ordered]


def factors_by_scale(stated: Iterable[tuple[str, float | None]]) -> dict[str, frozenset[float | None]]:
    """Scale -> the factors of the LLM's learning rates that its trials state; None for trials that state none.

    Args:
        stated: scale and factor of each trial.
    """
    factors: dict[str, set[float | None]] = {}
    for scale, factor in stated:
        factors.setdefault(scale, set()).add(factor)
    return {scale: frozenset(of_scale) for scale, of_scale in factors.items()}


def factor_frame(trials: Collection[TrialScores]) -> pd.DataFrame:
    """The designs of `score_frame` and their value of each axis, by the names that sweeps use.

    Sweeps of one study may vary different axes: a design has the axes of all its trials, the others are missing. Where
    its trials differ (sweeps may use different names for a value), the latest counts.

    Returns:
        Indexed by design, sorted; one column per axis, in the order of the trials' keys.
    """
    ordered, names = _latest(trials)
    values: dict[str, dict[str, Value]] = {
        name: {} for name in sorted({names[t.design_key] for t in ordered if t.scores})
    }
    for trial in _by_end(trials):
        if (name := names[trial.design_key]) in values:
            values[name].update(trial.axes)
    columns = dict.fromkeys(axis for trial in ordered for axis in trial.axes)
    columns |= dict.fromkeys(axis for axes in values.values() for axis in axes)
    index = pd.Index(list(values), name="design", dtype="str")
    return pd.DataFrame(list(values.values()), index=index, columns=list(columns))


def different_data(trials: Iterable[TrialScores]) -> str | None:
    """A sentence on designs that used other records than others; None if all used the same.

    Scores on other records are not comparable, unless their comparison is the purpose: a study that varies its data.
    Imported scores, whose records are unknown, are not compared.
    """
    ordered, names = _latest(trials)
    if any(axis == "data" or axis.startswith("data.") for trial in ordered for axis in trial.axes):
        return None
    designs: dict[tuple[str, str], set[str]] = {}
    for trial in ordered:
        if trial.data[0]:
            designs.setdefault(trial.data, set()).add(names[trial.design_key])
    if len(designs) < 2:
        return None
    groups = [
        f"{', '.join(sorted(group)[:MAX_DESIGNS])}{' ...' if len(group) > MAX_DESIGNS else ''} on data {digest}"
        + (f" without the unreadable records of list {skipped}" if skipped else "")
        for (digest, skipped), group in sorted(designs.items())
    ]
    return f"designs used different records, so their scores are not comparable: {'; '.join(groups)}"


def different_trainers(named: Iterable[tuple[str, Record]]) -> str | None:
    """A sentence on trials that used another version of the user's own trainer than others; None if all used the same.

    Args:
        named: name of the design and record of each trial, from `counting`.
    """
    labels: dict[str, list[str]] = {}
    for name, record in named:
        if is_open(record.about.resolved):
            identity = json.dumps(record.about.resolved["trainer"], sort_keys=True)
            labels.setdefault(identity, []).append(f"{name}@{record.about.scale}")
    if len(labels) < 2:
        return None
    distinct = [list(dict.fromkeys(sorted(group))) for group in labels.values()]
    groups = sorted(f"{', '.join(one[:MAX_DESIGNS])}{' ...' if len(one) > MAX_DESIGNS else ''}" for one in distinct)
    return (
        "trials used different versions of your trainer (command, code or version), so their scores may not be "
        f"comparable: {'; '.join(groups)}"
    )


def _latest(trials: Iterable[TrialScores]) -> tuple[list[TrialScores], Mapping[str, str]]:
    """The trials that count, ordered by key, and design key -> name.

    Trials of one design, scale, seed and number of samples have several keys if the LLM's weights or the scale's card
    changed between them. Records do not contain the card's version, so the latest is the one that ended last, by the
    clocks of the machines that ran them: such trials are days apart, clocks are seconds.
    """
    latest = {(trial.design_key, trial.scale, trial.seed, trial.samples): trial for trial in _by_end(trials)}
    ordered = sorted(latest.values(), key=lambda trial: trial.key)
    return ordered, design_names((trial.design_key, trial.design_label) for trial in ordered)


def _by_end(trials: Iterable[TrialScores]) -> list[TrialScores]:
    return sorted(trials, key=lambda trial: (trial.ended_at, trial.key))


def design_names(labelled: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Design key -> name: the most frequent label, followed by the start of the key if designs share a label.

    Sweeps label designs by the values that they vary, so a design may have several labels, and several designs one.

    Args:
        labelled: design key and label of each trial.
    """
    labels: dict[str, Counter[str]] = {}
    for key, label in labelled:
        labels.setdefault(key, Counter())[label] += 1
    chosen = {key: min(counts, key=lambda label: (-counts[label], label)) for key, counts in labels.items()}
    shared = {label for label, count in Counter(chosen.values()).items() if count > 1}
    return {key: f"{label}~{key[:4]}" if label in shared else label for key, label in chosen.items()}
