"""Does *this* conclusion transfer? The effect of each value of an axis relative to a baseline value, at both scales.

A pair is two designs that differ in one axis alone; its effect is the difference of their scores, seed by seed where
they share seeds. The effect of a choice is the mean over its pairs.

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
from analysis.tables import TableError, blocks, factors_as_text, level_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

ENOUGH_PAIRS = 3
"""Pairs from which on the error is estimated from their standard deviation; with fewer, from the seeds of each pair.
The interval is then valid for these pairs only: pairs with other values of the remaining axes may differ."""
Verdict = Literal["transfers", "reverses", "sign kept", "sign turned", "open"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Score of a choice less that of its baseline at one scale, in points; positive if the choice scores higher."""

    value: float
    interval: Interval | None
    """95 % t interval over replicates; None with a single one or equal ones, unless the noise is stated."""
    p: float | None
    """Two-sided p-value of the hypothesis of no effect."""
    p_holm: float | None = None
    """Adjusted over all choices of all axes at this scale, for claims: those below 0.05 include no false one in 95
    studies of 100 (Holm 1979)."""
    p_bh: float | None = None
    """The same for exploration: about 5 % of those below 0.05 are false (Benjamini and Hochberg 1995)."""
    replicates: int
    """Number of pairs; below `ENOUGH_PAIRS`, number of pairs x seeds."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A value of an axis compared with the baseline value, at both scales."""

    axis: str
    level: str
    baseline: str
    pairs: int
    small: Effect
    large: Effect

    @property
    def verdict(self) -> Verdict:
        """`transfers` or `reverses` if both intervals exclude zero; else by the signs; `open` if an effect is zero."""
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
    """Number of pairs of designs that differ in this axis alone, over any two of its values."""
    sign_agreement: float | None
    """Share of those pairs that both scales order alike, ties count half; None without a pair."""
    slope: float | None
    """Effect at the large scale per point of effect at the small one: least squares through zero over the choices."""
    confused: int
    """Number of designs left out because another design has the same values of all axes."""


def axes_consistency(
    table: ScoreTable, small: str, large: str, baselines: Mapping[str, str] | None = None, noise: float | None = None
) -> tuple[AxisConsistency, ...]:
    """Effects along each axis that varies among the designs scored at both scales.

    Designs without a value of any axis are left out.

    Args:
        table: scores of one metric, with factors.
        small: label of the small scale.
        large: label of the large scale.
        baselines: axis -> value to compare with; by default the most frequent value, of several the first.
        noise: standard deviation of one run in points, for intervals where nothing is replicated.

    Raises:
        TableError: a baseline names an axis that does not vary, or a value that the axis does not have.
    """
    grids = [table.per_seed(scale) for scale in (small, large)]
    factors = factors_as_text(table.factors, sorted(set(grids[0].index) & set(grids[1].index)))
    axes = [str(axis) for axis in factors if factors[axis].nunique() > 1]
    if unknown := sorted(set(baselines or {}) - set(axes)):
        raise TableError(f"no axis {unknown[0]!r} that varies; there are: {', '.join(axes) or 'none'}")
    scores = [_Scores.of(grid.loc[factors.index]) for grid in grids]
    return _with_multiplicity([_axis(factors[axes], axis, scores, (baselines or {}).get(axis), noise) for axis in axes])


def _axis(
    factors: pd.DataFrame, axis: str, scores: Sequence[_Scores], baseline: str | None, noise: float | None
) -> AxisConsistency:
    sets = blocks(factors, axis)
    base = _baseline(factors[axis], sets.levels, baseline)
    choices = []
    for index, level in enumerate(sets.levels):
        pairs = sets.against(index, base)
        if index != base and len(pairs[0]):
            small, large = (_effect(*one.differences(*pairs), noise) for one in scores)
            choices.append(
                Choice(
                    axis=axis, level=level, baseline=sets.levels[base], pairs=len(pairs[0]), small=small, large=large
                )
            )
    every = sets.every_pair()
    signs = [np.sign(one.differences(*every)[1]) for one in scores]
    effects_c2 = np.array([(choice.small.value, choice.large.value) for choice in choices]).reshape(-1, 2)
    squares = float((effects_c2[:, 0] ** 2).sum())
    return AxisConsistency(
        axis=axis,
        baseline=sets.levels[base],
        choices=tuple(choices),
        pairs=len(every[0]),
        sign_agreement=float(((1 + signs[0] * signs[1]) / 2).mean()) if len(every[0]) else None,
        slope=float(effects_c2[:, 0] @ effects_c2[:, 1]) / squares if squares > 0 else None,
        confused=len(sets.confused),
    )


def _baseline(column: pd.Series[str], levels: Sequence[str], name: str | None) -> int:
    """Index of the baseline value."""
    if name is None:
        counts = column.value_counts()
        return max(range(len(levels)), key=lambda index: (int(counts[levels[index]]), -index))
    level = level_named(name, levels)
    if level is None:
        raise TableError(f"axis {str(column.name)!r} has no value {name!r}; there are: {', '.join(levels)}")
    return levels.index(level)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores at one scale, designs in the order of the factors: by seed (NaN where not run), and their means."""

    score_nS: Floats
    mean_n: Floats

    @staticmethod
    def of(grid: pd.DataFrame) -> _Scores:
        score_nS = grid.to_numpy(dtype=np.float64)
        return _Scores(score_nS, grid.mean(axis="columns").to_numpy(dtype=np.float64))

    def differences(self, one_P: NDArray[np.intp], other_P: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Differences of each pair: by seed, shape (P, S), NaN unless both designs ran it; and their mean, shape (P,).

        For a pair without a common seed the mean is the difference of the two means. Differences within rounding error
        are ties, 0.
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
    """Equal replicates give no error estimate: they were rounded to the same value, and are not free of noise."""
    replicates = mean_P
    if len(mean_P) < ENOUGH_PAIRS:
        unpaired_P = ~np.isfinite(by_seed_PS).any(axis=1)
        replicates = np.concatenate([by_seed_PS[np.isfinite(by_seed_PS)], mean_P[unpaired_P]])
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
    """Two-sided p-value of a t test; of a normal test with infinite degrees of freedom."""
    from scipy.special import ndtr, stdtr

    t = -abs(value / error)
    return 2 * float(stdtr(freedom, t) if math.isfinite(freedom) else ndtr(t))


# --- many comparisons -------------------------------------------------------------------------------


def holm(p_m: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the probability of any false claim (Holm 1979)."""
    m, order = len(p_m), np.argsort(p_m, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate([(m - rank) * p_m[i] for rank, i in enumerate(order)]))
    return [float(adjusted[rank]) for rank in np.argsort(order)]


def benjamini_hochberg(p_m: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the false discovery rate (Benjamini and Hochberg 1995)."""
    m, order = len(p_m), np.argsort(p_m, kind="stable")[::-1]
    adjusted = np.minimum(1.0, np.minimum.accumulate([m / (m - rank) * p_m[i] for rank, i in enumerate(order)]))
    return [float(adjusted[rank]) for rank in np.argsort(order)]


def _with_multiplicity(axes: list[AxisConsistency]) -> tuple[AxisConsistency, ...]:
    """The same axes with p-values adjusted over all choices at each scale."""
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

    def adjusted_choice(choice: Choice) -> Choice:
        return Choice(**vars(choice) | {"small": with_p(choice, "small"), "large": with_p(choice, "large")})

    return tuple(AxisConsistency(**vars(a) | {"choices": tuple(adjusted_choice(c) for c in a.choices)}) for a in axes)


# --- rankings under another learning rate -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Whether designs rank alike under two values of an axis, at one scale."""

    scale: str
    axis: str
    levels: tuple[str, str]
    n: int
    """Number of designs, by the values of all other axes, that were run under both."""
    spearman: float | None
    decision_accuracy: float


def robustness(table: ScoreTable, scale: str, axes: Sequence[str] | None = None) -> tuple[Robustness, ...]:
    """Agreement of the rankings under each two values of an axis; of the learning-rate axes if none is named.

    A ranking that changes with the learning rate does not rank the designs (arXiv 2512.24503). Two values that fewer
    than three designs share are not compared.

    Args:
        table: scores of one metric, with factors.
        scale: label of the scale.
        axes: names of axes; by default the learning rates.

    Raises:
        TableError: an axis does not exist.
    """
    mean = table.per_design(scale)["mean"]
    factors = factors_as_text(table.factors, map(str, mean.index))
    mean_n = mean.loc[factors.index].to_numpy(dtype=np.float64)
    names = [str(axis) for axis in factors]
    chosen = axes if axes is not None else [axis for axis in names if _is_learning_rate(axis)]
    if unknown := [axis for axis in chosen if axis not in names]:
        raise TableError(f"no axis {unknown[0]!r}; there are: {', '.join(names) or 'none'}")
    rows = []
    for axis in chosen:
        sets = blocks(factors, axis)
        for a, b in combinations(range(len(sets.levels)), 2):
            one, other = sets.against(a, b)
            if len(one) > 2:
                rho = agreement.spearman(mean_n[one], mean_n[other])
                rows.append(
                    Robustness(
                        scale=scale,
                        axis=axis,
                        levels=(sets.levels[a], sets.levels[b]),
                        n=len(one),
                        spearman=rho if math.isfinite(rho) else None,
                        decision_accuracy=agreement.decision_accuracy(mean_n[one], mean_n[other]),
                    )
                )
    return tuple(rows)


def _is_learning_rate(axis: str) -> bool:
    """Whether a name is like stages.1.lr.llm, lr, llm_lr or learning_rate."""
    return any(part == "lr" or part.startswith(("lr_", "learning_rate")) or part.endswith(("_lr", "learning_rate"))
               for part in axis.split("."))  # fmt: skip


def to_json(axes: Sequence[AxisConsistency]) -> list[dict[str, Any]]:
    """Plain data for `--json`."""
    return [
        asdict(axis) | {"choices": [asdict(choice) | {"verdict": choice.verdict} for choice in axis.choices]}
        for axis in axes
    ]
