"""The consistency report of a study, and how earlier predictions did."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from ablate.errors import UsageError
from ablate.study.load import StudyScores

if TYPE_CHECKING:
    from ablate.record import CheckedPromotion
    from analysis.consistency import Report, Request
    from analysis.tables import ScoreTable


def report_on(scores: StudyScores, asked: Request, *, items: bool = True) -> Report:
    """What a study tells about two scales; its smallest and largest, and its own metric, where left out.

    Args:
        scores: the study.
        asked: the request; empty `small` and `large` stand for the study's own.
        items: look at the answers to each test item, where the trials are on this machine.

    Raises:
        UsageError: no such scale, metric, axis or design, or too few designs in common.
    """
    from ablate.study.answers import item_scores
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


def checked_predictions(scores: StudyScores, report: Report) -> list[CheckedPromotion]:
    """What was foretold when designs of this study were promoted, against what they scored since."""
    from ablate.record import held

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
