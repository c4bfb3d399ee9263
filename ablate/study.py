"""The scores of a study as a table, and what is asked of it: consistency between scales, rankings, an overview.

Analysis reads the trial folders, or MLflow where the folders are on another machine, or the published tables.
"""

from __future__ import annotations

import math
import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ablate.errors import NoStudyError, UsageError
from ablate.paths import PUBLISHED, StudyPaths, runs_root, study_paths
from ablate.record import RecordError, StudyFacts, facts, scan, studies

if TYPE_CHECKING:
    import pandas as pd

    from analysis.consistency import Consistency
    from analysis.table import ScoreTable


def load_table(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> ScoreTable:
    """The scores of a study, of one training budget where it has several.

    Args:
        study: its name; `apollo` is built in.
        tracking_uri: read from this MLflow server instead of the folders.
        samples: the budget that is meant; the latest sweep's where left out.

    Raises:
        UsageError: there is no such study, or it has no scores yet.
    """
    from analysis.table import ScoreTable, TableError, published

    if study == PUBLISHED:
        return published(PUBLISHED)
    paths = study_paths(study)
    local = tracking_uri is None and paths.trials.is_dir()
    frame, known = _from_folders(paths) if local else _from_mlflow(study, tracking_uri)
    if frame.empty:
        raise UsageError(f"study {study!r} has no finished trial yet; run its sweep first")
    try:
        table = ScoreTable(frame, lower_is_better=known.lower_is_better)
        budget = samples or (known.samples if table.frame["samples"].nunique() > 1 else None)
        return table.only(samples=budget) if budget else table
    except TableError as error:
        raise UsageError(f"study {study!r}: {error}") from None


def _from_folders(paths: StudyPaths) -> tuple[pd.DataFrame, StudyFacts]:
    from ablate.scores import scores_of_records

    return scores_of_records(scan(paths)), facts(paths)


def _from_mlflow(study: str, tracking_uri: str | None) -> tuple[pd.DataFrame, StudyFacts]:
    """Scores from a server, or from this machine's store; importing MLflow takes seconds, so only if there is one."""
    if tracking_uri is None and "MLFLOW_TRACKING_URI" not in os.environ and not (runs_root() / "mlflow.db").is_file():
        raise UsageError(no_such_study(study))
    from ablate.tracking import load_facts, load_scores

    try:
        return load_scores(study, tracking_uri), load_facts(study, tracking_uri)
    except NoStudyError:
        if tracking_uri is not None or "MLFLOW_TRACKING_URI" in os.environ:
            raise
        raise UsageError(no_such_study(study)) from None  # a store of one's own mirrors the folders


def no_such_study(study: str) -> str:
    """The message for a study that does not exist, with those that do."""
    known = studies(runs_root())
    near = get_close_matches(study, [*known, PUBLISHED], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no study {study!r} in {runs_root()}; {hint}there are: {', '.join([*known, f'{PUBLISHED} (built in)'])}"


def study_with_scales(small: str | None, large: str | None) -> str:
    """The study that is meant when none is named: one's own with both scales, else the published one.

    Raises:
        UsageError: several of one's own have them.
    """
    own = []
    for name in studies(runs_root()):
        try:
            scales = {record.about.scale for record in scan(study_paths(name)) if record.result}
        except RecordError:
            continue  # a damaged study is told where it is named
        if {small, large} - {None} <= scales and len(scales) > 1:
            own.append(name)
    if len(own) > 1:
        raise UsageError(f"several studies have these scales: {', '.join(own)}; name one with --study")
    return own[0] if own else PUBLISHED


def compare_scales(
    scores: ScoreTable, small: str | None, large: str | None, *, metric: str | None, modality: str
) -> Consistency:
    """Consistency between two scales of a study; its smallest and largest where left out.

    Raises:
        UsageError: no such scale or metric, or too few designs in common.
    """
    from analysis.consistency import compare
    from analysis.table import TableError, scale_size

    try:
        chosen = metric or own_metric(scores.study)
        study, scales = scores.study, scores.select(chosen, modality).scales
        if small is None or large is None:
            if len(scales) < 2:
                raise UsageError(f"study {study!r} has scores at {scales[0]} alone; run it at another scale first")
            if nameless := [scale for scale in scales if not math.isfinite(scale_size(scale))]:
                raise UsageError(f"{nameless[0]!r} is no size, so which is larger? say --small and --large: {scales}")
        return compare(scores, small or scales[0], large or scales[-1], chosen, modality)
    except TableError as error:
        raise UsageError(str(error)) from None


def own_metric(study: str) -> str | None:
    """The metric that the study's latest sweep ranked by."""
    return None if study == PUBLISHED else facts(study_paths(study)).metric


def rankings(scores: ScoreTable, metric: str | None = None) -> list[pd.DataFrame]:
    """Designs ranked at each scale, small scales first.

    Raises:
        UsageError: no such metric.
    """
    from analysis.ranking import ranking
    from analysis.table import TableError

    try:
        chosen = metric or own_metric(scores.study)
        return [ranking(scores, scale, chosen) for scale in scores.select(chosen).scales]
    except TableError as error:
        raise UsageError(str(error)) from None


def overview() -> list[dict[str, Any]]:
    """The studies below runs/: designs, scales, trials done and failed."""
    from analysis.table import scale_order

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
