"""Does *this* conclusion transfer? The effect of each choice of an axis against its baseline, at both scales.

A pair is two designs that differ in one axis alone; its effect is the difference of their scores, seed by seed where
they share seeds. An effect of a choice is the mean over its pairs.

Legend: `n` designs; `S` seeds; `P` pairs; `c` choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis.numbers import NORMAL_QUANTILE, Interval, agreement, t_quantile
from analysis.tables import TableError, blocks, level_named, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

ENOUGH_PAIRS = 3
"""Pairs from which their scatter tells the error; with fewer, each seed of each pair is a replicate of its own.
Then the interval is about these very pairs: others, elsewhere on the remaining axes, may have another effect."""
Verdict = Literal["transfers", "reverses", "sign kept", "sign turned", "open"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A choice less its baseline at one scale, in points; positive if the score is higher."""

    value: float
    interval: Interval | None
    """t interval over replicates; None with a single one, or where they are all alike, unless the noise was stated."""
    p: float | None
    """Two-sided, of no effect."""
    p_holm: float | None = None
    """Among all choices of all axes at this scale, for claims: below 0.05, none of so many is false in 95 studies of
    100 (Holm 1979)."""
    p_bh: float | None = None
    """The same for exploration: below 0.05, of those found some 5 % are false (Benjamini and Hochberg 1995)."""
    replicates: int
    """Pairs; where those are fewer than three, pairs x seeds."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A value of an axis against the baseline, at both scales."""

    axis: str
    level: str
    baseline: str
    pairs: int
    small: Effect
    large: Effect

    @property
    def verdict(self) -> Verdict:
        """`transfers` or `reverses` if both intervals leave out zero; else what the signs alone say; `open` at zero."""
        product = self.small.value * self.large.value
        if product == 0:
            return "open"
        if all(e.interval and not e.interval.low <= 0 <= e.interval.high for e in (self.small, self.large)):
            return "transfers" if product > 0 else "reverses"
        return "sign kept" if product > 0 else "sign turned"


@dataclass(frozen=True, kw_only=True)
class AxisConsistency:
    """Whether the two scales agree on one axis."""

    axis: str
    baseline: str
    choices: tuple[Choice, ...]
    pairs: int
    """Pairs of designs that differ in this axis alone, of any two of its values."""
    sign_agreement: float | None
    """Share of those pairs that both scales order alike, ties counting half; None without a pair."""
    slope: float | None
    """Effects at the large scale for one point at the small one: least squares through zero over the choices."""
    confused: int
    """Designs left out since the axes do not tell them from another one."""


def axes_consistency(
    table: ScoreTable, small: str, large: str, baselines: Mapping[str, str] | None = None, noise: float | None = None
) -> tuple[AxisConsistency, ...]:
    """Each axis that varies among the designs scored at both scales; designs of which no axis is known are left out.

    Args:
        table: narrowed to one metric, with factors.
        small: scale.
        large: scale.
        baselines: axis -> value to compare with; else the value that most designs have, of several the first.
        noise: standard deviation of one run in points, for intervals where nothing is replicated.

    Raises:
        TableError: a baseline names no axis, or no value of it.
    """
    grids = [table.per_seed(scale) for scale in (small, large)]
    factors = told(table.factors, sorted(set(grids[0].index) & set(grids[1].index)))
    axes = [str(axis) for axis in factors if factors[axis].nunique() > 1]
    if unknown := sorted(set(baselines or {}) - set(axes)):
        raise TableError(f"no axis {unknown[0]!r} that varies; there are: {', '.join(axes) or 'none'}")
    scores = [_Scores.of(grid.loc[factors.index]) for grid in grids]
    return _with_multiplicity([_axis(factors[axes], axis, scores, (baselines or {}).get(axis), noise) for axis in axes])


def _axis(
    factors: pd.DataFrame, axis: str, scores: Sequence[_Scores], wanted: str | None, noise: float | None
) -> AxisConsistency:
    found = blocks(factors, axis)
    base = _baseline(factors[axis], found.levels, wanted)
    choices = []
    for place, level in enumerate(found.levels):
        pairs = found.against(place, base)
        if place != base and len(pairs[0]):
            small, large = (_effect(*one.differences(*pairs), noise) for one in scores)
            choices.append(
                Choice(
                    axis=axis, level=level, baseline=found.levels[base], pairs=len(pairs[0]), small=small, large=large
                )
            )
    every = found.every_pair()
    signs = [np.sign(one.differences(*every)[1]) for one in scores]
    effects_c2 = np.array([(choice.small.value, choice.large.value) for choice in choices]).reshape(-1, 2)
    squares = float((effects_c2[:, 0] ** 2).sum())
    return AxisConsistency(
        axis=axis,
        baseline=found.levels[base],
        choices=tuple(choices),
        pairs=len(every[0]),
        sign_agreement=float(((1 + signs[0] * signs[1]) / 2).mean()) if len(every[0]) else None,
        slope=float(effects_c2[:, 0] @ effects_c2[:, 1]) / squares if squares > 0 else None,
        confused=len(found.confused),
    )


def _baseline(column: pd.Series[str], levels: Sequence[str], wanted: str | None) -> int:
    if wanted is None:
        counts = column.value_counts()
        return max(range(len(levels)), key=lambda place: (int(counts[levels[place]]), -place))
    level = level_named(wanted, levels)
    if level is None:
        raise TableError(f"axis {str(column.name)!r} has no value {wanted!r}; there are: {', '.join(levels)}")
    return levels.index(level)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of one scale, designs in the order of the factors: by seed (NaN where not run), and their means."""

    score_nS: Floats
    mean_n: Floats

    @staticmethod
    def of(grid: pd.DataFrame) -> _Scores:
        score_nS = grid.to_numpy(dtype=np.float64)
        return _Scores(score_nS, grid.mean(axis="columns").to_numpy(dtype=np.float64))

    def differences(self, one_P: NDArray[np.intp], other_P: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Of each pair: by seed, where both have it (NaN elsewhere), and their mean; without one, that of the means.

        What is left of two equal scores by rounding is a tie.
        """
        by_seed_PS = self.score_nS[one_P] - self.score_nS[other_P]
        count_P = np.isfinite(by_seed_PS).sum(axis=1)
        mean_P = np.where(
            count_P > 0,
            np.nansum(by_seed_PS, axis=1) / np.maximum(count_P, 1),
            self.mean_n[one_P] - self.mean_n[other_P],
        )
        rounding_P = 1e-12 * (np.abs(self.mean_n[one_P]) + np.abs(self.mean_n[other_P]))
        return by_seed_PS, np.where(np.abs(mean_P) <= rounding_P, 0.0, mean_P)


def _effect(by_seed_PS: Floats, mean_P: Floats, noise: float | None) -> Effect:
    """Replicates that are all alike show no error: they were rounded alike, not free of noise."""
    replicates = mean_P
    if len(mean_P) < ENOUGH_PAIRS:
        alone_P = ~np.isfinite(by_seed_PS).any(axis=1)
        replicates = np.concatenate([by_seed_PS[np.isfinite(by_seed_PS)], mean_P[alone_P]])
    value, n = float(mean_P.mean()), len(replicates)
    error, freedom = (float(replicates.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0), float(n - 1)
    if error <= 1e-12 * float(np.abs(replicates).max()):
        if noise is None:
            return Effect(value=agreement.twelve_digits(value), interval=None, p=None, replicates=n)
        error, freedom = noise * math.sqrt(2.0 / n), math.inf
    half = (t_quantile(freedom) if math.isfinite(freedom) else NORMAL_QUANTILE) * error
    return Effect(
        value=agreement.twelve_digits(value),
        interval=Interval(value - half, value + half),
        p=_p(value, error, freedom),
        replicates=n,
    )


def _p(value: float, error: float, freedom: float) -> float:
    from scipy.special import ndtr, stdtr

    t = -abs(value / error)
    return 2 * float(stdtr(freedom, t) if math.isfinite(freedom) else ndtr(t))


# --- many comparisons -------------------------------------------------------------------------------


def holm(p_m: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold the chance of any false claim (Holm 1979)."""
    m, order = len(p_m), np.argsort(p_m, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate([(m - rank) * p_m[i] for rank, i in enumerate(order)]))
    return [float(adjusted[rank]) for rank in np.argsort(order)]


def benjamini_hochberg(p_m: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold the share of false ones among those found (Benjamini and Hochberg 1995)."""
    m, order = len(p_m), np.argsort(p_m, kind="stable")[::-1]
    adjusted = np.minimum(1.0, np.minimum.accumulate([m / (m - place) * p_m[i] for place, i in enumerate(order)]))
    return [float(adjusted[place]) for place in np.argsort(order)]


def _with_multiplicity(axes: list[AxisConsistency]) -> tuple[AxisConsistency, ...]:
    adjusted: dict[tuple[str, str, str], tuple[float, float]] = {}
    for scale in ("small", "large"):
        claims = [(c.axis, c.level, p) for a in axes for c in a.choices if (p := getattr(c, scale).p) is not None]
        p_m = [p for *_, p in claims]
        for (axis, level, _), strict, lenient in zip(claims, holm(p_m), benjamini_hochberg(p_m), strict=True):
            adjusted[axis, level, scale] = strict, lenient

    def with_p(choice: Choice, scale: str) -> Effect:
        effect: Effect = getattr(choice, scale)
        strict, lenient = adjusted.get((choice.axis, choice.level, scale), (None, None))
        return Effect(**vars(effect) | {"p_holm": strict, "p_bh": lenient})

    def renewed(choice: Choice) -> Choice:
        return Choice(**vars(choice) | {"small": with_p(choice, "small"), "large": with_p(choice, "large")})

    return tuple(AxisConsistency(**vars(a) | {"choices": tuple(renewed(c) for c in a.choices)}) for a in axes)


# --- rankings under another learning rate -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Whether designs rank alike under two values of an axis, at one scale."""

    scale: str
    axis: str
    levels: tuple[str, str]
    n: int
    """Designs, each told by all other axes, that were run under both."""
    spearman: float | None
    decision_accuracy: float


def robustness(table: ScoreTable, scale: str, axes: Sequence[str] | None = None) -> tuple[Robustness, ...]:
    """Rankings of all else under each two values of an axis; of the learning rates if no axis is named.

    A ranking that turns with the learning rate is not one of the designs (arXiv 2512.24503). Two values that fewer than
    three designs share say nothing, and are not listed.

    Raises:
        TableError: no such axis.
    """
    mean = table.per_design(scale)["mean"]
    factors = told(table.factors, map(str, mean.index))
    mean_n = mean.loc[factors.index].to_numpy(dtype=np.float64)
    known = [str(axis) for axis in factors]
    chosen = axes if axes is not None else [axis for axis in known if _is_learning_rate(axis)]
    if strangers := [axis for axis in chosen if axis not in known]:
        raise TableError(f"no axis {strangers[0]!r}; there are: {', '.join(known) or 'none'}")
    found = []
    for axis in chosen:
        sets = blocks(factors, axis)
        for a, b in combinations(range(len(sets.levels)), 2):
            one, other = sets.against(a, b)
            if len(one) > 2:
                rho = agreement.spearman(mean_n[one], mean_n[other])
                found.append(
                    Robustness(
                        scale=scale,
                        axis=axis,
                        levels=(sets.levels[a], sets.levels[b]),
                        n=len(one),
                        spearman=rho if math.isfinite(rho) else None,
                        decision_accuracy=agreement.decision_accuracy(mean_n[one], mean_n[other]),
                    )
                )
    return tuple(found)


def _is_learning_rate(axis: str) -> bool:
    """stages.1.lr.llm, lr, llm_lr, learning_rate."""
    return any(part == "lr" or part.startswith(("lr_", "learning_rate")) or part.endswith(("_lr", "learning_rate"))
               for part in axis.split("."))  # fmt: skip


def to_json(axes: Sequence[AxisConsistency]) -> list[dict[str, Any]]:
    """Plain data for `--json`."""
    return [
        asdict(axis) | {"choices": [asdict(choice) | {"verdict": choice.verdict} for choice in axis.choices]}
        for axis in axes
    ]
