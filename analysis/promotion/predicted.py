"""Predictions of large-scale scores, compared with the scores that were observed later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The predicted score of one design at the large scale."""

    design: str
    predicted: float
    """Points; the difference from the mean of all candidates if no score at the large scale was known then."""
    half_width: float
    """Half-width of the 95 % prediction interval of a run, in points."""
    is_promoted: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One prediction and the score observed later, in points of the large scale."""

    design: str
    predicted: float
    half_width: float
    observed: float

    @property
    def is_inside(self) -> bool:
        """Whether the observed score lies in the prediction interval."""
        return abs(self.observed - self.predicted) <= self.half_width


@dataclass(frozen=True, kw_only=True)
class PredictionCheck:
    """Predictions compared with observed scores."""

    outcomes: tuple[Outcome, ...]
    """Highest prediction first."""
    level: float | None
    """Points added to relative predictions, so that their mean is that of the scores; None for absolute predictions."""
    inside: int
    """Number of scores within their 95 % interval."""
    rmse: float
    """Root mean square of observed - predicted, in points."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self) | {"outcomes": [asdict(o) | {"is_inside": o.is_inside} for o in self.outcomes]}


def against_observed(
    predictions: list[Prediction], observed: Mapping[str, float], *, is_relative: bool
) -> PredictionCheck | None:
    """Compare predictions with the scores of the designs that were trained since.

    Relative predictions take their level from the scores themselves, so that only the differences are checked.

    Args:
        predictions: of one promotion.
        observed: design -> its mean score at the large scale.
        is_relative: whether predictions are differences from the mean of all candidates.

    Returns:
        None until a design was trained; until two were, if predictions are relative.
    """
    trained = sorted((p for p in predictions if p.design in observed), key=lambda p: -p.predicted)
    if len(trained) < (2 if is_relative else 1):
        return None
    level = math.fsum(observed[p.design] - p.predicted for p in trained) / len(trained) if is_relative else None
    outcomes = tuple(
        Outcome(
            design=p.design,
            predicted=p.predicted + (level or 0.0),
            half_width=p.half_width,
            observed=observed[p.design],
        )
        for p in trained
    )
    return PredictionCheck(
        outcomes=outcomes,
        level=level,
        inside=sum(o.is_inside for o in outcomes),
        rmse=math.sqrt(math.fsum((o.observed - o.predicted) ** 2 for o in outcomes) / len(outcomes)),
    )
