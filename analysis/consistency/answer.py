"""The request for a consistency report, and the report with its JSON form."""

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
    """Settings of a consistency report."""

    small: str
    large: str
    metric: str | None = None
    modality: str = "video"
    without: tuple[str, ...] = ()
    """Designs to leave out."""
    within: str | None = None
    """Name of an axis, to report R^2 within its levels."""
    baselines: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the value with which its other values are compared."""
    noise: float | None = None
    """Standard deviation of one run in points, used where seeds give none."""
    resolution: float = 1.0
    """Difference in points, for the numbers of seeds and test items needed to resolve it."""
    half_width: float = 0.1
    """Distance from R^2 to the lower end of its interval, for the number of designs needed."""

    def __post_init__(self) -> None:
        for name in ("noise", "resolution"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TableError(f"{name} is {value:g} points: it must be a number above 0")
        if not 0 < self.half_width < 1:
            raise TableError(f"half_width is {self.half_width:g}: it must be between 0 and 1, as R2 is")


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Mean scores on each test item, of designs that have them at both scales.

    `x_nI` and `y_nI` are the scores at the small and the large scale in points, NaN where missing; `weight_I` is the
    number of questions of each item.

    Raises:
        TableError: the shapes differ.
    """

    designs: tuple[str, ...]
    x_nI: Floats
    y_nI: Floats
    weight_I: Floats

    def __post_init__(self) -> None:
        scores = (self.x_nI, self.y_nI)
        if any(score_nI.shape != (len(self.designs), len(self.weight_I)) for score_nI in scores):
            raise TableError("scores on test items: each design needs one score per item at both scales")

    def of(self, names: Sequence[str]) -> ItemScores:
        """Scores of some designs, in the order of `names`, on the items that all of them answered at both scales.

        Designs without scores are left out.
        """
        scored = [name for name in names if name in self.designs]
        rows = [self.designs.index(name) for name in scored]
        x_nI, y_nI = self.x_nI[rows], self.y_nI[rows]
        is_complete_I = np.isfinite(x_nI).all(axis=0) & np.isfinite(y_nI).all(axis=0) & (self.weight_I > 0)
        return ItemScores(tuple(scored), x_nI[:, is_complete_I], y_nI[:, is_complete_I], self.weight_I[is_complete_I])


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a study shows about two of its scales; a part without data is None or empty."""

    consistency: Consistency
    within: Adjusted | None
    within_axis: str | None
    without_main_effects: Adjusted | None
    """None for a study without axes."""
    axes: tuple[AxisConsistency, ...]
    three_way: ThreeWay | None
    """None without any estimate of the noise: no seeds, no test items, none stated."""
    noise: tuple[SeedNoise, SeedNoise]
    ceiling: Ceiling
    seeds_needed: int
    """Seeds of each of two designs to resolve a difference of `resolution` points at the noisier scale."""
    resolution: float
    items_needed: int | None
    """Test items to resolve a difference of `resolution` points with the same seeds; None without scores by item."""
    designs_needed: int | None
    """Designs with which the interval of the same R^2 would reach down by `half_width`; None where R^2 is 0 or 1."""
    half_width: float
    stability: Stability | None
    """None without scores by test item and without noise."""
    across_seeds: AcrossSeeds | None
    """None with a single seed at both scales."""
    items: ItemHalves | None
    robustness: tuple[Robustness, ...]
    scaling: Scaling
    metrics: tuple[MetricRow, ...]
    by_samples: SamplesCurve | None
    warnings: tuple[str, ...]
    """Warnings beside those of `consistency`."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: the comparison's own fields on top, the other parts by name."""
        parts = {name: _plain(getattr(self, name)) for name in _PARTS}
        three_way = self.three_way
        return self.consistency.to_json() | parts | {
            "within_axis": self.within_axis,
            "axes": effects.to_json(self.axes),
            "three_way": None if three_way is None else asdict(three_way) | {"abstention": three_way.abstention},
            "noise": [asdict(noise) for noise in self.noise],
            **{name: getattr(self, name) for name in _NUMBERS},
            "robustness": [asdict(row) for row in self.robustness],
            "metrics": [asdict(row) for row in self.metrics],
            "warnings": [*self.consistency.warnings, *self.warnings],
        }  # fmt: skip


def _plain(part: Any) -> dict[str, Any] | None:
    """A part of a report as plain data."""
    if part is None:
        return None
    return part.to_json() if isinstance(part, Scaling) else asdict(part)
