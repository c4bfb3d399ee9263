"""The consistency report of a study, and the check of earlier predictions."""

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


def report_on(scores: StudyScores, request: Request, *, items: bool = True) -> Report:
    """Consistency report of two scales of a study.

    Args:
        scores: scores of the study.
        request: the request; empty `small` and `large` mean the smallest and the largest scale of the study, no metric
            means the one it is ranked by.
        items: read the answers to each test item, if the trials are on this machine.

    Raises:
        UsageError: a scale, metric, axis or design does not exist, or too few designs have scores at both scales.
    """
    from ablate.study.answers import item_scores
    from analysis.consistency import study_report
    from analysis.tables import TableError

    table = scores.table
    try:
        chosen = table.select(request.metric or scores.metric, request.modality)
        small, large = _scales_of(chosen, request.small, request.large)
        request = replace(request, small=small, large=large, metric=chosen.metric)
        answers = item_scores(chosen, small, large) if items else None
        report = study_report(table, request, all_samples=scores.all_samples, items=answers)
        return replace(report, warnings=(*report.warnings, *scores.notes))
    except TableError as error:
        raise UsageError(str(error)) from None


def checked_predictions(scores: StudyScores, report: Report) -> list[CheckedPromotion]:
    """Predictions made when designs of this study were promoted, compared with their scores since."""
    from ablate.record import checked_promotions

    consistency = report.consistency
    metric, modality, large = consistency.metric, consistency.modality, consistency.large
    mean = scores.table.select(metric, modality).per_design(large)["mean"]
    observed = {str(design): float(score) for design, score in mean.items()}
    return checked_promotions(consistency.study, large, metric, modality, observed)


def _scales_of(chosen: ScoreTable, small: str, large: str) -> tuple[str, str]:
    from analysis.tables import scale_size

    study, scales = chosen.study, chosen.scales
    for scale in filter(None, (small, large)):
        chosen.at(scale)  # Refuses a scale without scores before sizes are compared.
    if not small or not large:
        if len(scales) < 2:
            fix = f"run it at another scale first, or predict one: ablate promote --study {study} --to SCALE"
            raise UsageError(f"study {study!r} has scores at {scales[0]} only; {fix}")
        sizes = [scale for scale in scales if math.isfinite(scale_size(scale))]
        unsized = [scale for scale in scales if scale not in sizes]
        if unsized and (sizes or not set(unsized) <= set(chosen.order)):
            raise UsageError(f"scale {unsized[0]!r} is not a size: choose --small and --large from {', '.join(scales)}")
    return small or scales[0], large or scales[-1]
