"""Predictions of designs when they were promoted, stored beside the study: `runs/STUDY/promotions/N.json`.

`ablate consistency` compares them with the scores observed later. Files are written once and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from ablate.paths import StudyPaths, study_paths
from ablate.record.files import RecordError, read_record, write_json
from ablate.record.notices import report_damage
from analysis.promotion import Prediction, PredictionCheck, against_observed

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The predictions of one `ablate promote`, and how they were made."""

    study: str
    large: str
    """Label of the large scale."""
    scales: tuple[str, ...]
    """Labels of the small scales that the predictions are based on."""
    metric: str
    """`benchmark/category`."""
    modality: str
    samples: int | None
    """Number of training samples of the new trials."""
    policy: str
    prior: str
    """Source of the prior."""
    prior_share: float
    """Share of the prior in the transfer model, from 0 to 1."""
    is_relative: bool
    """Whether predictions are differences from the mean of all candidates."""
    spec: str
    """Path of the sweep spec that was written."""
    made_at: float
    """Unix time in seconds."""
    predictions: tuple[Prediction, ...]
    """Predictions of the designs without a score at the large scale at that time."""
    is_blind: bool = False
    """Whether known scores at the large scale were ignored."""
    schema_version: int = SCHEMA_VERSION


def write_promotion(paths: StudyPaths, promotion: Promotion) -> Path:
    """Write a promotion under the next free number; a sweep of the study may run meanwhile.

    Returns:
        Path of the file.
    """
    folder = paths.folder / "promotions"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.folder / ".promotions.lock"):
        number = max((int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()), default=0) + 1
        path = folder / f"{number}.json"
        write_json(path, asdict(promotion))
    return path


def read_promotions(paths: StudyPaths, large: str, metric: str, modality: str) -> list[Promotion]:
    """All promotions of a study to a scale, the latest first. A damaged one is left out and logged."""
    promotions = []
    for path in (paths.folder / "promotions").glob("*.json"):
        try:
            promotion = read_record(Promotion, path, SCHEMA_VERSION, fix="restore it, or move it away")
        except RecordError as error:
            report_damage(error)
            continue
        if promotion and (promotion.large, promotion.metric, promotion.modality) == (large, metric, modality):
            promotions.append(promotion)
    return sorted(promotions, key=lambda promotion: -promotion.made_at)


@dataclass(frozen=True, kw_only=True)
class CheckedPromotion:
    """A promotion, and its predictions compared with observed scores."""

    promotion: Promotion
    check: PredictionCheck


def checked_promotions(
    study: str, large: str, metric: str, modality: str, observed: Mapping[str, float]
) -> list[CheckedPromotion]:
    """The promotions of a study to a scale whose designs were trained since, the latest first.

    A promotion with the same predictions as a later one is omitted.

    Args:
        study: its name.
        large: label of the large scale.
        metric: `benchmark/category`.
        modality: what the model was shown.
        observed: design -> its mean score at the large scale.

    Raises:
        RecordError: a file cannot be read as a promotion of this or an earlier version.
    """
    checked: list[CheckedPromotion] = []
    for promotion in read_promotions(study_paths(study), large, metric, modality):
        check = against_observed(list(promotion.predictions), observed, is_relative=promotion.is_relative)
        if check is not None and all(check != other.check for other in checked):
            checked.append(CheckedPromotion(promotion=promotion, check=check))
    return checked
