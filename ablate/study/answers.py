"""What each trial answered to each test item, for statistics that need more than its scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablate.paths import PUBLISHED, study_paths
from ablate.record import Record, scan
from ablate.study.table import counting

if TYPE_CHECKING:
    from analysis.consistency import ItemScores
    from analysis.tables import ScoreTable

MOST_TRIALS = 400
"""Files that are read at most: the statistics that need them are no reason to wait for minutes."""
_COLUMNS = ["question", "item", "category", "modality", "answer", "predicted", "probability"]


def item_scores(chosen: ScoreTable, small: str, large: str) -> ItemScores | None:
    """Mean scores of designs on each test item at two scales, over the seeds of each.

    Args:
        chosen: narrowed to one metric, modality and training budget: only trials that have a score in it are looked at.
        small: a scale.
        large: the other one.

    Returns:
        None for studies whose trials left no predictions here (published, imported, on another machine), where trials
        answered different items, or where there are too many to read.
    """
    study, (modality,) = chosen.study, chosen.frame["modality"].unique()
    if study == PUBLISHED or not study_paths(study).trials.is_dir():
        return None
    named = _behind(chosen, small, large)
    if not named or any(not _file(record).is_file() for _, record in named):
        return None
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for name, record in named:
        outcomes = _outcomes(record, chosen.metric, modality)
        if outcomes is None:
            return None
        found.setdefault((record.about.scale, name), []).append(outcomes)
    return _aligned(found, small, large)


def _behind(chosen: ScoreTable, small: str, large: str) -> list[tuple[str, Record]]:
    """Design and record of each trial of two scales that a table has a score of; empty where those are too many."""
    rows = chosen.frame[chosen.frame["scale"].isin([small, large])]
    columns = (rows[name].tolist() for name in ("design", "scale", "seed", "samples"))
    scored = {(*place, None if pd.isna(samples) else samples) for *place, samples in zip(*columns, strict=True)}
    if len(scored) > MOST_TRIALS:
        return []  # before their folders are read
    named = counting(scan(study_paths(chosen.study)))
    return [(name, r) for name, r in named if (name, r.about.scale, r.about.seed, r.about.samples) in scored]


def _file(record: Record) -> Path:
    return record.path / "predictions.parquet"


def _outcomes(record: Record, metric: str, modality: str) -> pd.DataFrame | None:
    """Item -> mean score in percent and number of questions; None if this is no score of its predictions."""
    benchmark, category = metric.split("/", 1)
    rows = pd.read_parquet(_file(record), columns=_COLUMNS)
    rows = rows[(rows["modality"] == modality) & (rows["category"].eq(category) | (category == "overall"))]
    if rows.empty:
        return None
    value = (
        rows["probability"] if benchmark.endswith("_prob") else (rows["answer"] == rows["predicted"]).astype("float64")
    )
    return (100 * value).groupby(rows["item"]).agg(["mean", "count"])


def _aligned(found: dict[tuple[str, str], list[pd.DataFrame]], small: str, large: str) -> ItemScores | None:
    from analysis.consistency import ItemScores

    designs = sorted(
        {name for scale, name in found if scale == small} & {name for scale, name in found if scale == large}
    )
    weights = next(iter(found.values()))[0]["count"]
    if not designs or any(not frame["count"].equals(weights) for frames in found.values() for frame in frames):
        return None
    scores = [
        np.array([np.mean([frame["mean"].to_numpy() for frame in found[scale, name]], axis=0) for name in designs])
        for scale in (small, large)
    ]
    return ItemScores(tuple(designs), scores[0], scores[1], weights.to_numpy(dtype=np.float64))
