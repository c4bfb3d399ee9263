"""The scores of a study as a table, and what is asked of it: consistency between scales, rankings, an overview.

Analysis reads the trial folders, or MLflow where the folders are on another machine, or the published tables.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from ablate.errors import NoStudyError, UsageError
from ablate.paths import PUBLISHED, StudyPaths, runs_root, study_paths
from ablate.record import RecordError, StudyFacts, TrialFolder, facts, scan, studies

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from ablate.promotions import Held
    from ablate.scores import TrialScores
    from analysis.consistency import Report, Request
    from analysis.tables import ScoreTable

T = TypeVar("T")
MOST_NAMED = 6
"""Trials without scores that a note names."""


@dataclass(frozen=True, eq=False)
class StudyScores:
    """What a study has to say."""

    table: ScoreTable
    """Of one training budget."""
    all_budgets: ScoreTable | None
    """With all of them, if there are several."""
    metric: str | None
    """The metric that the latest sweep ranked by."""
    unfinished: tuple[str, ...] = ()
    """Label and state of each trial that has no scores."""

    @property
    def notes(self) -> list[str]:
        """What the scores leave out, in words."""
        if not self.unfinished:
            return []
        first, number = self.unfinished[:MOST_NAMED], len(self.unfinished)
        more = f" and {number - len(first)} more" if number > len(first) else ""
        trials = "trial has" if number == 1 else "trials have"
        return [f"{number} {trials} no scores, left out: {', '.join(first)}{more}"]


def load_study(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> StudyScores:
    """The scores of a study.

    Args:
        study: its name; `apollo` is built in.
        tracking_uri: read from this MLflow server instead of the folders.
        samples: the budget that is meant, where a study has several; the latest sweep's where left out.

    Raises:
        UsageError: there is no such study, or it has no scores yet.
    """
    from ablate.scores import factor_frame, score_frame
    from analysis.tables import ScoreTable, TableError, published

    if study == PUBLISHED:
        return StudyScores(published(PUBLISHED), None, None)
    paths = study_paths(study)
    local = tracking_uri is None and paths.trials.is_dir()
    trials, known = _from_folders(paths) if local else _in_mlflow(study, tracking_uri, _trials_in_mlflow)
    frame = score_frame(trials)
    if frame.empty:
        raise UsageError(f"study {study!r} has no finished trial yet; run its sweep first")
    try:
        table = ScoreTable(frame, lower_is_better=known.lower_is_better, factors=factor_frame(trials))
        is_several = table.frame["samples"].nunique() > 1
        budget = samples or (known.samples if is_several else None)
        chosen = table.only(samples=budget) if budget else table
    except TableError as error:
        raise UsageError(f"study {study!r}: {error}") from None
    unfinished = tuple(unfinished_trials(study, tracking_uri))
    return StudyScores(chosen, table if is_several else None, known.metric, unfinished)


def load_table(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> ScoreTable:
    """The scores of a study, of one training budget where it has several; see `load_study`."""
    return load_study(study, tracking_uri=tracking_uri, samples=samples).table


def unfinished_trials(study: str, tracking_uri: str | None = None) -> list[str]:
    """Label and state of each trial without a result, sorted: `uniform8@0.4M/s0 failed (diverged)`.

    Raises:
        UsageError: there is no such study.
        RecordError: the folder of such a trial cannot be read.
    """
    from ablate.stored import unfinished_label

    if study == PUBLISHED:
        return []
    paths = study_paths(study)
    if tracking_uri is None and paths.trials.is_dir():
        return sorted(
            unfinished_label(
                record.about.label,
                record.failures[-1].kind if record.failures else None,
                failed=record.status == "failed",
            )
            for path in paths.trials.iterdir()
            if not (path / "result.json").exists() and (record := TrialFolder(path).read())
        )
    return _in_mlflow(study, tracking_uri, _unfinished_in_mlflow)


def _from_folders(paths: StudyPaths) -> tuple[list[TrialScores], StudyFacts]:
    from ablate.scores import trials_of_records

    return trials_of_records(scan(paths)), facts(paths)


def _in_mlflow(study: str, tracking_uri: str | None, ask: Callable[[str, str | None], T]) -> T:
    """What a server knows of a study, or this machine's store, if there is one."""
    if tracking_uri is None and "MLFLOW_TRACKING_URI" not in os.environ and not (runs_root() / "mlflow.db").is_file():
        raise UsageError(no_such_study(study))
    try:
        return ask(study, tracking_uri)
    except NoStudyError:
        if tracking_uri is not None or "MLFLOW_TRACKING_URI" in os.environ:
            raise
        raise UsageError(no_such_study(study)) from None  # a store of one's own mirrors the folders


def _trials_in_mlflow(study: str, tracking_uri: str | None) -> tuple[list[TrialScores], StudyFacts]:
    from ablate import sqlite_runs

    stored = sqlite_runs.load(study, tracking_uri)
    if stored is None:  # importing MLflow takes seconds
        from ablate import tracking

        stored = tracking.load(study, tracking_uri)
    return stored.trials, stored.facts


def _unfinished_in_mlflow(study: str, tracking_uri: str | None) -> list[str]:
    from ablate import sqlite_runs

    found = sqlite_runs.unfinished(study, tracking_uri)
    if found is None:
        from ablate import tracking

        found = tracking.unfinished(study, tracking_uri)
    return found


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


def report_on(scores: StudyScores, asked: Request, *, items: bool = True) -> Report:
    """What a study tells about two scales; its smallest and largest, and its own metric, where left out.

    Args:
        scores: the study.
        asked: the request; empty `small` and `large` stand for the study's own.
        items: look at the answers to each test item, where the trials are on this machine.

    Raises:
        UsageError: no such scale, metric, axis or design, or too few designs in common.
    """
    from ablate.outcomes import item_scores
    from analysis.consistency import study_report
    from analysis.tables import TableError

    table = scores.table
    try:
        chosen = table.select(asked.metric or scores.metric, asked.modality)
        small, large = _scales_of(chosen, asked.small, asked.large)
        asked = replace(asked, small=small, large=large, metric=chosen.metric)
        answers = item_scores(chosen, small, large) if items else None
        report = study_report(table, asked, all_budgets=scores.all_budgets, items=answers)
        return replace(report, warnings=(*report.warnings, *scores.notes))
    except TableError as error:
        raise UsageError(str(error)) from None


def predictions_held(scores: StudyScores, report: Report) -> list[Held]:
    """What was foretold when designs of this study were promoted, against what they scored since."""
    from ablate.promotions import held

    asked = report.consistency
    mean = scores.table.select(asked.metric, asked.modality).per_design(asked.large)["mean"]
    observed = {str(design): float(score) for design, score in mean.items()}
    return held(asked.study, asked.large, asked.metric, asked.modality, observed)


def _scales_of(chosen: ScoreTable, small: str, large: str) -> tuple[str, str]:
    from analysis.tables import scale_size

    study, scales = chosen.study, chosen.scales
    for scale in filter(None, (small, large)):
        chosen.at(scale)  # refuses one that has no scores, before sizes are compared
    if not small or not large:
        if len(scales) < 2:
            mend = f"run it at another scale first, or foretell one: ablate promote --study {study} --to SCALE"
            raise UsageError(f"study {study!r} has scores at {scales[0]} alone; {mend}")
        if nameless := [scale for scale in scales if not math.isfinite(scale_size(scale))]:
            raise UsageError(f"{nameless[0]!r} is no size, so which is larger? say --small and --large: {scales}")
    return small or scales[0], large or scales[-1]


def own_metric(study: str) -> str | None:
    """The metric that the study's latest sweep ranked by."""
    return None if study == PUBLISHED else facts(study_paths(study)).metric


def rankings(scores: ScoreTable, metric: str | None = None) -> list[pd.DataFrame]:
    """Designs ranked at each scale, small scales first.

    Raises:
        UsageError: no such metric.
    """
    from analysis.tables import TableError, ranking

    try:
        chosen = metric or own_metric(scores.study)
        return [ranking(scores, scale, chosen) for scale in scores.select(chosen).scales]
    except TableError as error:
        raise UsageError(str(error)) from None


def overview() -> list[dict[str, Any]]:
    """The studies below runs/: designs, scales, trials done and failed."""
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
