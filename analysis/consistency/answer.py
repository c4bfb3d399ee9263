"""What is asked of a study, and the answer: every number of it, as JSON and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.consistency import effects
from analysis.consistency.comparison import Consistency
from analysis.consistency.effects import AxisConsistency, Robustness
from analysis.consistency.influence import Adjusted
from analysis.consistency.scaling import MetricRow, SamplesCurve, Scaling
from analysis.noise import (
    AcrossSeeds,
    Ceiling,
    ItemHalves,
    SeedNoise,
    Stability,
    ThreeWay,
)
from analysis.tables import TableError

if TYPE_CHECKING:
    from analysis.numbers import Floats


_PARTS = ("within", "without_main_effects", "ceiling", "across_seeds", "stability", "items", "scaling", "by_samples")
_NUMBERS = ("seeds_needed", "items_needed", "designs_needed", "resolution", "half_width")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a study."""

    small: str
    large: str
    metric: str | None = None
    modality: str = "video"
    without: tuple[str, ...] = ()
    """Designs to leave out."""
    within: str | None = None
    """An axis: R^2 within its levels."""
    baselines: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the value that its other values are compared with."""
    noise: float | None = None
    """Standard deviation of one run in points, where no seeds tell it."""
    resolution: float = 1.0
    """Points: a difference for which the seeds and test items needed are told."""
    half_width: float = 0.1
    """Of R^2: how far its interval may reach down, for the designs needed."""

    def __post_init__(self) -> None:
        for name in ("noise", "resolution"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TableError(f"{name} is {value:g} points: it must be a number above 0")
        if not 0 < self.half_width < 1:
            raise TableError(f"half_width is {self.half_width:g}: R2 is between 0 and 1, and so must it be")


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Mean scores on each test item, of designs that have them at both scales; see items.py."""

    designs: tuple[str, ...]
    x_nI: Floats
    y_nI: Floats
    weight_I: Floats

    def __post_init__(self) -> None:
        scores = (self.x_nI, self.y_nI)
        if any(score_nI.shape != (len(self.designs), len(self.weight_I)) for score_nI in scores):
            raise TableError("scores on test items: one for each design and item is needed at both scales")

    def of(self, names: Sequence[str]) -> ItemScores:
        """Those of some designs, in the order given, on the items that all of these answered at both scales.

        Designs without scores are passed over.
        """
        there = [name for name in names if name in self.designs]
        rows = [self.designs.index(name) for name in there]
        x_nI, y_nI = self.x_nI[rows], self.y_nI[rows]
        known_I = np.isfinite(x_nI).all(axis=0) & np.isfinite(y_nI).all(axis=0) & (self.weight_I > 0)
        return ItemScores(tuple(there), x_nI[:, known_I], y_nI[:, known_I], self.weight_I[known_I])


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer, part by part."""

    consistency: Consistency
    within: Adjusted | None
    within_axis: str | None
    without_main_effects: Adjusted | None
    """None for designs whose axes are not known."""
    axes: tuple[AxisConsistency, ...]
    three_way: ThreeWay | None
    """None where neither seeds, nor items, nor the user tell the noise."""
    noise: tuple[SeedNoise, SeedNoise]
    ceiling: Ceiling
    seeds_needed: int
    """Of each of two designs, for a difference of `resolution` points, at the noisier scale; by `ceiling.noise`."""
    resolution: float
    items_needed: int | None
    """Test items for a difference of `resolution` points, the seeds as they are; None without answers to each."""
    designs_needed: int | None
    """Designs with which the interval of R^2, were it as it is, would reach down by `half_width`; None at 0 or 1."""
    half_width: float
    stability: Stability | None
    """None where neither test items nor noise are known."""
    across_seeds: AcrossSeeds | None
    """None with one seed at both scales."""
    items: ItemHalves | None
    robustness: tuple[Robustness, ...]
    scaling: Scaling
    metrics: tuple[MetricRow, ...]
    by_samples: SamplesCurve | None
    warnings: tuple[str, ...]
    """Beside those of `consistency`."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: the comparison's own fields on top, the other parts by name."""
        parts = {name: None if (part := getattr(self, name)) is None else asdict(part) for name in _PARTS}
        told = self.three_way
        return self.consistency.to_json() | parts | {
            "within_axis": self.within_axis,
            "axes": effects.to_json(self.axes),
            "three_way": None if told is None else asdict(told) | {"abstention": told.abstention},
            "noise": [asdict(noise) for noise in self.noise],
            **{name: getattr(self, name) for name in _NUMBERS},
            "robustness": [asdict(found) for found in self.robustness],
            "metrics": [asdict(row) for row in self.metrics],
            "warnings": [*self.consistency.warnings, *self.warnings],
        }  # fmt: skip
