"""What was foretold when designs were promoted, kept beside the study: `runs/STUDY/promotions/N.json`.

So that `ablate consistency` can hold it against what came out. Written once, never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from ablate.paths import StudyPaths, study_paths
from ablate.record.files import RecordError, write_json
from analysis.promotion import Prediction, PredictionCheck, against_observed

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One act of promoting."""

    study: str
    large: str
    scales: tuple[str, ...]
    """The small ones that it was foretold from."""
    metric: str
    modality: str
    samples: int | None
    policy: str
    prior: str
    prior_share: float
    is_relative: bool
    """Whether predictions are differences to the mean of all candidates."""
    spec: str
    """Path of the sweep spec that was written."""
    made_at: float
    """Unix time."""
    predictions: tuple[Prediction, ...]
    """Of the designs that were not known at the large scale then."""
    is_blind: bool = False
    """Whether scores at the large scale that were known were not looked at."""
    schema_version: int = SCHEMA_VERSION


_READER = TypeAdapter(Promotion)


def keep(paths: StudyPaths, promotion: Promotion) -> Path:
    """Write it behind those that are there; a sweep of the study may be running meanwhile."""
    folder = paths.folder / "promotions"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.folder / ".promotions.lock"):
        number = max((int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()), default=0) + 1
        path = folder / f"{number}.json"
        write_json(path, asdict(promotion))
    return path


def kept(paths: StudyPaths, large: str, metric: str, modality: str) -> list[Promotion]:
    """All promotions of a study to a scale, the latest first.

    Raises:
        RecordError: a file is not what this or an earlier version wrote.
    """
    found = []
    for path in (paths.folder / "promotions").glob("*.json"):
        try:
            promotion = _READER.validate_python(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, ValidationError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise RecordError(f"{path} is no readable promotion ({reason}); move it away to go on") from None
        if (promotion.large, promotion.metric, promotion.modality) == (large, metric, modality):
            found.append(promotion)
    return sorted(found, key=lambda promotion: -promotion.made_at)


@dataclass(frozen=True, kw_only=True)
class CheckedPromotion:
    """A promotion, and how its predictions fared."""

    promotion: Promotion
    check: PredictionCheck


def held(study: str, large: str, metric: str, modality: str, observed: Mapping[str, float]) -> list[CheckedPromotion]:
    """Every promotion of a study to a scale that designs were trained after, the latest first.

    One that foretold the same as a later one is left out.

    Args:
        study: its name.
        large: the scale.
        metric: `benchmark/category`.
        modality: what the model was shown.
        observed: design -> its mean score there.
    """
    found: list[CheckedPromotion] = []
    for promotion in kept(study_paths(study), large, metric, modality):
        outcome = against_observed(list(promotion.predictions), observed, is_relative=promotion.is_relative)
        if outcome is not None and all(outcome != other.check for other in found):
            found.append(CheckedPromotion(promotion=promotion, check=outcome))
    return found
