"""Overview of all studies; rankings of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, runs_root, study_paths
from ablate.record import RecordError, facts, scan, studies

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables import ScoreTable


def study_with_scales(small: str | None, large: str | None) -> str:
    """The study to use when none is named: the user's study with both scales, or else the published one.

    Raises:
        UsageError: several studies of the user have both scales.
    """
    own = []
    for name in studies(runs_root()):
        try:
            scales = {record.about.scale for record in scan(study_paths(name)) if record.result}
        except RecordError:
            continue  # the damage is reported when the study is named
        if {small, large} - {None} <= scales and len(scales) > 1:
            own.append(name)
    if len(own) > 1:
        raise UsageError(f"several studies have these scales: {', '.join(own)}; name one with --study")
    return own[0] if own else PUBLISHED


def own_metric(study: str) -> str | None:
    """The metric that the study's latest sweep ranked by."""
    return None if study == PUBLISHED else facts(study_paths(study)).metric


def rankings(scores: ScoreTable, metric: str | None = None) -> list[pd.DataFrame]:
    """The ranking of designs at each scale, small scales first.

    Raises:
        UsageError: there is no such metric.
    """
    from analysis.tables import TableError, ranking

    try:
        chosen = metric or own_metric(scores.study)
        return [ranking(scores, scale, chosen) for scale in scores.select(chosen).scales]
    except TableError as error:
        raise UsageError(str(error)) from None


def overview() -> list[dict[str, Any]]:
    """One dict per study in the runs folder: number of designs, scales, numbers of trials done and failed."""
    from analysis.tables import scale_order

    rows = []
    for name in studies(runs_root()):
        try:
            records = list(scan(study_paths(name)))
        except RecordError as error:
            rows.append({"study": name, "designs": 0, "scales": [], "done": 0, "failed": 0, "damaged": str(error)})
            continue
        rows.append(
            {
                "study": name,
                "designs": len({r.about.design_key for r in records}),
                "scales": sorted({r.about.scale for r in records}, key=scale_order),
                "done": sum(r.status == "done" for r in records),
                "failed": sum(r.status == "failed" for r in records),
            }
        )
    return rows
