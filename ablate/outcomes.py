"""What each trial answered to each test item, for statistics that need more than its scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablate.paths import PUBLISHED, study_paths
from ablate.record import Record, scan
from ablate.scores import design_names

if TYPE_CHECKING:
    from analysis.report import ItemScores

MOST_TRIALS = 400
"""Files that are read at most: the statistics that need them are no reason to wait for minutes."""
_COLUMNS = ["question", "item", "category", "modality", "answer", "predicted", "probability"]


def item_scores(study: str, small: str, large: str, metric: str, modality: str) -> ItemScores | None:
    """Mean scores of designs on each test item at two scales, over the seeds of each.

    Returns:
        None for studies whose trials left no predictions here (published, imported, on another machine), where trials
        answered different items, or where there are too many to read.
    """
    if study == PUBLISHED or not study_paths(study).trials.is_dir():
        return None
    records = [record for record in scan(study_paths(study)) if record.result and record.about.scale in (small, large)]
    if not 0 < len(records) <= MOST_TRIALS or any(not _file(record).is_file() for record in records):
        return None
    names = design_names((record.about.design_key, record.about.design_label) for record in records)
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for record in records:
        outcomes = _outcomes(record, metric, modality)
        if outcomes is None:
            return None
        found.setdefault((record.about.scale, names[record.about.design_key]), []).append(outcomes)
    return _aligned(found, small, large)


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
    from analysis.report import ItemScores

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
