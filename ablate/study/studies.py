"""Overview of all studies; rankings of one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ablate.errors import UsageError
from ablate.paths import PUBLISHED, runs_root, study_paths
from ablate.record import RecordError, facts, scan_all, studies

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
        records = scan_all(study_paths(name))  # damage is reported when the study is named
        scales = {r.about.scale for r in records if not isinstance(r, RecordError) and r.result}
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
    """One dict per study in the runs folder: number of designs, scales, numbers of trials done and failed.

    A study with damaged folders has `damaged`, the message for each; its other trials count.
    """
    from analysis.tables import scale_order

    rows = []
    for name in studies(runs_root()):
        both = list(scan_all(study_paths(name)))
        records = [r for r in both if not isinstance(r, RecordError)]
        damaged = [str(r) for r in both if isinstance(r, RecordError)]
        order, problem = _order_of_scales(name)
        damaged += [problem] if problem else []
        rows.append(
            {
                "study": name,
                "designs": len({r.about.design_key for r in records}),
                "scales": sorted({r.about.scale for r in records}, key=partial(scale_order, order=order)),
                "done": sum(r.status == "done" for r in records),
                "failed": sum(r.status == "failed" for r in records),
                **({"damaged": damaged} if damaged else {}),
            }
        )
    return rows


def _order_of_scales(study: str) -> tuple[list[str], str | None]:
    """Labels of a study's scales in the order of its specs, and why they cannot be read."""
    try:
        return facts(study_paths(study)).scales, None
    except RecordError as error:
        return [], str(error)
