"""Scores of designs on each test item, for statistics that need more than scores of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablate.paths import PUBLISHED, study_paths
from ablate.record import Record, RecordError, report_damage, scan
from ablate.study.table import counting

if TYPE_CHECKING:
    from analysis.consistency import ItemScores
    from analysis.tables import ScoreTable

MAX_TRIALS = 400
"""Maximum number of files to read: more would take minutes."""
PREDICTIONS = "predictions.parquet"
_COLUMNS = ["question", "item", "category", "modality", "answer", "predicted", "probability"]


def item_scores(chosen: ScoreTable, small: str, large: str) -> ItemScores | None:
    """Mean scores of designs on each test item at two scales, over the seeds of each.

    Args:
        chosen: scores of one metric, modality and number of training samples; only trials with a score here are read.
        small: the small scale.
        large: the large scale.

    Returns:
        None if trials have no predictions here (published, imported, or on another machine) or different test items, if
        there are more than `MAX_TRIALS`, or if predictions have changed since their trial finished, which is logged.
    """
    study, (modality,) = chosen.study, chosen.frame["modality"].unique()
    if study == PUBLISHED or not study_paths(study).trials.is_dir():
        return None
    named = _trials_of(chosen, small, large)
    if not named or any(not record.file(PREDICTIONS).is_file() for _, record in named):
        return None
    frames: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for name, record in named:
        try:
            outcomes = _outcomes(record, chosen.metric, modality)
        except RecordError as error:
            report_damage(error)
            return None
        if outcomes is None:
            return None
        frames.setdefault((record.about.scale, name), []).append(outcomes)
    return _aligned(frames, small, large)


def _trials_of(chosen: ScoreTable, small: str, large: str) -> list[tuple[str, Record]]:
    """Design and record of each trial with a score at two scales; empty if there are too many to read."""
    rows = chosen.frame[chosen.frame["scale"].isin([small, large])]
    columns = (rows[name].tolist() for name in ("design", "scale", "seed", "samples"))
    scored = {(*trial, None if pd.isna(samples) else samples) for *trial, samples in zip(*columns, strict=True)}
    if len(scored) > MAX_TRIALS:
        return []  # before their folders are read
    named = counting(scan(study_paths(chosen.study)))
    return [(name, r) for name, r in named if (name, r.about.scale, r.about.seed, r.about.samples) in scored]


def _outcomes(record: Record, metric: str, modality: str) -> pd.DataFrame | None:
    """Mean score in percent and number of questions of each item; None if the predictions lack the category.

    Raises:
        RecordError: the predictions have changed since the trial finished.
    """
    benchmark, category = metric.split("/", 1)
    rows = pd.read_parquet(record.verified(PREDICTIONS), columns=_COLUMNS)
    rows = rows[(rows["modality"] == modality) & (rows["category"].eq(category) | (category == "overall"))]
    if rows.empty:
        return None
    value = (
        rows["probability"] if benchmark.endswith("_prob") else (rows["answer"] == rows["predicted"]).astype("float64")
    )
    return (100 * value).groupby(rows["item"]).agg(["mean", "count"])


def _aligned(frames: dict[tuple[str, str], list[pd.DataFrame]], small: str, large: str) -> ItemScores | None:
    """Mean over the trials of each scale and design; None if designs or items do not match."""
    from analysis.consistency import ItemScores

    designs = sorted(
        {name for scale, name in frames if scale == small} & {name for scale, name in frames if scale == large}
    )
    weights = next(iter(frames.values()))[0]["count"]
    if not designs or any(not frame["count"].equals(weights) for seeds in frames.values() for frame in seeds):
        return None
    scores = [
        np.array([np.mean([frame["mean"].to_numpy() for frame in frames[scale, name]], axis=0) for name in designs])
        for scale in (small, large)
    ]
    return ItemScores(tuple(designs), scores[0], scores[1], weights.to_numpy(dtype=np.float64))
