"""Does *this* conclusion transfer? The effect of each choice of an axis against its baseline, at both scales.

A pair is two designs that differ in one axis alone; its effect is the difference of their scores, seed by seed where
they share seeds. An effect of a choice is the mean over its pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis import agreement
from analysis.line import t_quantile
from analysis.table import TableError
from analysis.uncertainty import Interval

if TYPE_CHECKING:
    from analysis.agreement import Floats
    from analysis.table import ScoreTable

ENOUGH_PAIRS = 3
"""Pairs from which their scatter tells the error; with fewer, each seed of each pair is a replicate of its own."""
Verdict = Literal["transfers", "reverses", "sign kept", "sign turned", "open"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A choice less its baseline at one scale, in points; positive if the score is higher."""

    value: float
    interval: Interval | None
    """t interval over replicates; None with a single one."""
    p: float | None
    """Two-sided, of no effect."""
    p_holm: float | None = None
    """Among all choices of all axes at this scale, for claims: below 0.05, none of so many is false in 95 studies of 100
    (Holm 1979)."""
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
    """Each axis that varies among the designs scored at both scales.

    Args:
        table: narrowed to one metric, with factors.
        small: scale.
        large: scale.
        baselines: axis -> value to compare with; else the value that most designs have, of several the first.
        noise: standard deviation of one run in points, for intervals where nothing is replicated.

    Raises:
        TableError: a baseline names no axis, or no value of it.
    """
    grids = {scale: table.per_seed(scale) for scale in (small, large)}
    shared = sorted(set(grids[small].index) & set(grids[large].index) & set(table.factors.index))
    factors = _as_text(table.factors.reindex(shared))
    factors = factors[[axis for axis in factors if factors[axis].nunique() > 1]]
    unknown = sorted(set(baselines or {}) - set(factors))
    if unknown:
        raise TableError(f"no axis {unknown[0]!r} that varies; there are: {', '.join(factors) or 'none'}")
    found = [_axis(factors, axis, grids, (small, large), (baselines or {}).get(axis), noise) for axis in factors]
    return _with_multiplicity(found)


def _axis(
    factors: pd.DataFrame,
    axis: str,
    grids: Mapping[str, pd.DataFrame],
    scales: tuple[str, str],
    wanted: str | None,
    noise: float | None,
) -> AxisConsistency:
    blocks, confused = _blocks(factors, axis)
    levels = levels_of(factors[axis])
    if wanted is not None and wanted not in levels:
        raise TableError(f"axis {axis!r} has no value {wanted!r}; there are: {', '.join(levels)}")
    baseline = wanted if wanted is not None else max(levels, key=lambda v: (int((factors[axis] == v).sum()), -levels.index(v)))
    choices = []
    for level in levels:
        pairs = [(block[level], block[baseline]) for block in blocks if level in block and baseline in block]
        if level != baseline and pairs:
            small, large = (_effect(grids[scale], pairs, noise) for scale in scales)
            choices.append(Choice(axis=axis, level=level, baseline=baseline, pairs=len(pairs), small=small, large=large))
    every = [pair for block in blocks for pair in combinations(block.values(), 2)]
    signs = [
        [np.sign(_differences(grids[scale], [pair])[0].mean().round(10)) for scale in scales] for pair in every
    ]
    effects_n2 = np.array([(choice.small.value, choice.large.value) for choice in choices]).reshape(-1, 2)
    squares = float((effects_n2[:, 0] ** 2).sum())
    return AxisConsistency(
        axis=axis,
        baseline=baseline,
        choices=tuple(choices),
        pairs=len(every),
        sign_agreement=float(np.mean([(1 + a * b) / 2 for a, b in signs])) if every else None,
        slope=float(effects_n2[:, 0] @ effects_n2[:, 1]) / squares if squares > 0 else None,
        confused=confused,
    )


def levels_of(column: pd.Series[str]) -> list[str]:
    """The values of an axis: numbers by size, before words by letter."""

    def order(value: str) -> tuple[bool, float, str]:
        try:
            return False, float(value), value
        except ValueError:
            return True, 0.0, value

    return sorted(column.unique().tolist(), key=order)


def _as_text(factors: pd.DataFrame) -> pd.DataFrame:
    """Values as they are written; one that is not told is a value of its own, so that it is never paired with itself
    by mistake."""
    return factors.apply(lambda column: column.map(lambda v: "not told" if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v)))


def _blocks(factors: pd.DataFrame, axis: str) -> tuple[list[dict[str, str]], int]:
    """Sets of designs that differ in one axis alone, level -> design; and how many designs had to be left out."""
    others = [name for name in factors if name != axis]
    keys = factors[others].agg("\x1f".join, axis="columns") if others else pd.Series("", index=factors.index)
    found: dict[str, dict[str, list[str]]] = {}
    for design, key in keys.items():
        found.setdefault(str(key), {}).setdefault(str(factors.loc[design, axis]), []).append(str(design))  # type: ignore[index]
    blocks = [{level: names[0] for level, names in levels.items() if len(names) == 1} for levels in found.values()]
    confused = sum(len(names) for levels in found.values() for names in levels.values() if len(names) > 1)
    return [block for block in blocks if len(block) > 1], confused


def _differences(grid: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[Floats]:
    """For each pair, the differences of the seeds that both designs have; of their means if they share none."""
    found = []
    for one, other in pairs:
        by_seed = (grid.loc[one] - grid.loc[other]).dropna().to_numpy(dtype=np.float64)
        found.append(by_seed if len(by_seed) else np.array([grid.loc[one].mean() - grid.loc[other].mean()]))
    return found


def _effect(grid: pd.DataFrame, pairs: Sequence[tuple[str, str]], noise: float | None) -> Effect:
    by_pair = _differences(grid, pairs)
    means = np.array([values.mean() for values in by_pair])
    replicates = means if len(pairs) >= ENOUGH_PAIRS else np.concatenate(by_pair)
    value, n = float(means.mean()), len(replicates)
    if n > 1:
        error, freedom = float(replicates.std(ddof=1)) / math.sqrt(n), float(n - 1)
    elif noise is not None:
        error, freedom = noise * math.sqrt(2.0), math.inf
    else:
        return Effect(value=_rounded(value), interval=None, p=None, replicates=n)
    half = (t_quantile(freedom) if math.isfinite(freedom) else 1.959964) * error
    return Effect(
        value=_rounded(value), interval=Interval(value - half, value + half), p=_p(value, error, freedom), replicates=n
    )


def _p(value: float, error: float, freedom: float) -> float:
    from scipy.special import ndtr, stdtr

    if error == 0:
        return 0.0 if value else 1.0
    t = -abs(value / error)
    return 2 * float(stdtr(freedom, t) if math.isfinite(freedom) else ndtr(t))


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")


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

    A ranking that turns with the learning rate is not one of the designs (arXiv 2512.24503).
    """
    mean = table.per_design(scale)["mean"]
    factors = _as_text(table.factors.reindex([d for d in mean.index if d in table.factors.index]))
    chosen = axes if axes is not None else [axis for axis in factors if "lr" in axis.split(".") or axis == "learning_rate"]
    found = []
    for axis in chosen:
        blocks, _ = _blocks(factors, axis)
        for a, b in combinations(levels_of(factors[axis]), 2):
            both = [(mean[block[a]], mean[block[b]]) for block in blocks if a in block and b in block]
            if len(both) > 2:
                x_n, y_n = np.array(both, dtype=np.float64).T
                rho = agreement.spearman(x_n, y_n)
                found.append(
                    Robustness(
                        scale=scale,
                        axis=axis,
                        levels=(a, b),
                        n=len(both),
                        spearman=rho if math.isfinite(rho) else None,
                        decision_accuracy=agreement.decision_accuracy(x_n, y_n),
                    )
                )
    return tuple(found)


def to_json(axes: Sequence[AxisConsistency]) -> list[dict[str, Any]]:
    """Plain data for `--json`."""
    return [
        asdict(axis) | {"choices": [asdict(choice) | {"verdict": choice.verdict} for choice in axis.choices]}
        for axis in axes
    ]
