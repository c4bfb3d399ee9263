"""How well scores at a small scale predict those at a large one: R^2 and the statistics reported beside it.

Reads score tables (analysis.tables) and computes with analysis.numbers and topk.py. Every design that is left out is
named (caveats.py). The other parts of a report (axes, seeds, other scales and metrics) are in report.py; which designs
to promote is decided in analysis.promotion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from analysis.consistency import caveats, influence, topk
from analysis.consistency.caveats import MIN_FOR_VERDICT
from analysis.consistency.influence import Removal
from analysis.consistency.topk import Expected
from analysis.noise import verdict_of
from analysis.numbers import Floats, Interval, Line, agreement, fitted_line, uncertainty
from analysis.tables import ScoreTable, TableError, far_below, scale_size

MIN_DESIGNS = 3
"""Designs below which a comparison is refused: any two points lie on a line."""
NUM_PROMOTED = (1, 3, 5)
"""Numbers of promoted designs: the k of regret, recall and NDCG."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared: a metric of one study at two scales."""

    study: str
    metric: str
    modality: str
    small: str
    large: str
    lower_is_better: bool


@dataclass(frozen=True)
class Point:
    """One design: its mean over seeds at the small scale (x) and at the large one (y), in points."""

    design: str
    x: float
    y: float
    leverage: float | None = None
    """Weight of the design in its own fitted value, 1/n to 1, with mean 2/n."""
    cooks_distance: float | None = None
    """How far the fitted line moves without the design; values above 4/n deserve a look (Cook 1977)."""
    r2_without: float | None = None


@dataclass(frozen=True, kw_only=True)
class Consistency(Comparison):
    """Agreement of two scales. A number is None where it is undefined; `warnings` then gives the reason."""

    n: int
    verdict: str
    """In words, from the interval of decision accuracy; "no verdict: ..." below `MIN_FOR_VERDICT` designs, or where
    all designs have the same score."""
    r2: float | None
    """Squared Pearson correlation, as in the paper. It does not show a reversed order; the sign of `slope` does."""
    pearson: float | None
    slope: float | None
    slope_se: float | None
    intercept: float | None
    intercept_se: float | None
    rmse: float | None
    """Residual standard deviation about the line, sqrt(sum of squares / (n - 2)), in points of the large scale."""
    prediction: float | None
    """Half-width of the 95 % prediction interval in points, for a new design whose small-scale score is the mean; it is
    wider elsewhere."""
    spearman: float | None
    spearman_p: float | None
    """Probability that randomly permuted designs agree at least as well: one-sided permutation test."""
    kendall: float | None
    decision_accuracy: float | None
    regret: Mapping[int, float]
    """k -> points lost at the large scale by promoting the k best of the small one; only k up to n."""
    recall: Mapping[int, float]
    """k -> share of the k best at the large scale that are among the k best of the small one."""
    ndcg: Mapping[int, float]
    """k -> normalised discounted cumulative gain of those k, graded by the scores at the large scale; 0 to 1."""
    expected: Mapping[int, Expected]
    """k -> mean regret and recall of a proxy with the same agreement; empty below `MIN_FOR_VERDICT` designs."""
    intervals: Mapping[str, Interval | None]
    """Statistic -> 95 % interval over other samples of designs; methods: `analysis.numbers.uncertainty.METHODS`."""
    r2_leave_one_out: Interval | None
    """Lowest and highest R^2 without a single design."""
    influential: tuple[Removal, ...]
    """Up to three designs, removed one after another, each the one without which R^2 is lowest."""
    points: tuple[Point, ...]
    """The compared designs, sorted by name."""
    missing: Mapping[str, tuple[str, ...]]
    """Scale -> designs that have a score at the other scale only, and so are not in `points`."""
    collapsed: tuple[str, ...]
    """Designs of `points` that failed to learn at either scale, by the rule of `analysis.tables.rankings.collapsed`."""
    r2_without_collapsed: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """The `warnings` about the scores as read: they remain valid whichever designs are left out later."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: no NaN, string keys, an interval as [low, high]."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "notes"}
        return plain | {
            "regret": {str(k): points for k, points in self.regret.items()},
            "recall": {str(k): share for k, share in self.recall.items()},
            "ndcg": {str(k): gain for k, gain in self.ndcg.items()},
            "expected": {str(k): asdict(average) for k, average in self.expected.items()},
            "intervals": {name: [i.low, i.high] if i else None for name, i in self.intervals.items()},
            "interval_methods": dict(uncertainty.METHODS),
            "r2_leave_one_out": asdict(self.r2_leave_one_out) if self.r2_leave_one_out else None,
            "influential": [asdict(removal) for removal in self.influential],
            "points": [asdict(point) for point in self.points],
            "missing": {scale: list(designs) for scale, designs in self.missing.items()},
            "collapsed": list(self.collapsed),
            "warnings": list(self.warnings),
        }


def compare(
    table: ScoreTable, small: str, large: str, metric: str | None = None, modality: str = "video"
) -> Consistency:
    """Compare two scales over the designs that were scored at both, by their means over seeds.

    Args:
        table: scores of one study.
        small: label of the small scale.
        large: label of the large scale.
        metric: `benchmark/category`; the study's only overall score if omitted.
        modality: video, frame or text.

    Raises:
        TableError: a scale or metric does not exist, the scales are in the wrong order, or fewer than 3 designs have
            scores at both.
    """
    _refuse_order(small, large)
    chosen = table.select(metric, modality)
    scores = {scale: chosen.per_design(scale) for scale in (small, large)}
    x, y = scores[small]["mean"], scores[large]["mean"]
    shared = sorted(set(x.index) & set(y.index))
    _refuse_few(len(shared), small, large)
    missing = {small: tuple(sorted(set(y.index) - set(x.index))), large: tuple(sorted(set(x.index) - set(y.index)))}
    collapsed = {design for mean in (x, y) for design in far_below(mean, lower_is_better=chosen.lower_is_better)}
    return _consistency(
        _comparison(chosen, small, large, modality),
        tuple(Point(design, float(x[design]), float(y[design])) for design in shared),
        missing=missing,
        collapsed_designs=tuple(design for design in shared if design in collapsed),
        notes=(*caveats.on_missing(missing), *caveats.on_scores(chosen, scores, shared)),
    )


def without(consistency: Consistency, designs: Iterable[str]) -> Consistency:
    """The same comparison with some designs left out, e.g. those that collapsed.

    Raises:
        TableError: a design is not part of the comparison, or fewer than 3 designs remain.
    """
    out = sorted(set(designs))
    unknown = set(out) - {point.design for point in consistency.points}
    if unknown:
        compared = ", ".join(point.design for point in consistency.points)
        raise TableError(f"cannot leave out {', '.join(sorted(unknown))}: the compared designs are {compared}")
    points = tuple(point for point in consistency.points if point.design not in out)
    _refuse_few(len(points), consistency.small, consistency.large)
    return _consistency(
        Comparison(**{item.name: getattr(consistency, item.name) for item in fields(Comparison)}),
        points,
        missing=consistency.missing,
        collapsed_designs=tuple(design for design in consistency.collapsed if design not in out),
        notes=(*consistency.notes, *((f"left out on request: {', '.join(out)}",) if out else ())),
    )


def _consistency(
    comparison: Comparison,
    points: tuple[Point, ...],
    *,
    missing: Mapping[str, tuple[str, ...]],
    collapsed_designs: tuple[str, ...],
    notes: tuple[str, ...],
) -> Consistency:
    n, sign = len(points), -1.0 if comparison.lower_is_better else 1.0
    x_n, y_n, order = _oriented(points, sign)
    values: dict[str, Any] = {
        name: agreement.defined(agreement.once(statistic, x_n, y_n)) for name, statistic in agreement.WEIGHTED.items()
    }
    line = fitted_line(x_n, y_n)
    intervals = _intervals(x_n, y_n, line, sign)
    r2_without_n = influence.r2_without_each(x_n, y_n) if n > MIN_DESIGNS else np.full(n, np.nan)
    r2_learned = _r2_of([point for point in points if point.design not in collapsed_designs], n)
    return Consistency(
        **vars(comparison),
        n=n,
        verdict=_verdict(comparison, x_n, y_n, intervals["decision_accuracy"]),
        pearson=agreement.defined(agreement.once(agreement.weighted_pearson, x_n, y_n)),
        spearman_p=agreement.defined(agreement.permutation_p(x_n, y_n)),
        **values,
        **_line_statistics(line, sign),
        **_topk_statistics(x_n, y_n, intervals["decision_accuracy"]),
        intervals=intervals,
        r2_leave_one_out=_range(r2_without_n),
        influential=influence.most_influential([points[i].design for i in order], x_n, y_n),
        points=_with_influence(points, order, line, r2_without_n),
        missing=missing,
        collapsed=collapsed_designs,
        r2_without_collapsed=r2_learned,
        warnings=(
            *caveats.on_values(comparison, points, values, intervals, has_line=line is not None),
            *caveats.on_collapse(collapsed_designs, r2_learned),
            *notes,
        ),
        notes=notes,
    )


def _line_statistics(line: Line | None, sign: float) -> dict[str, Any]:
    """The fields of `Consistency` about the fitted line; None where there is no line."""
    if line is None:
        return dict.fromkeys(("slope", "slope_se", "intercept", "intercept_se", "rmse", "prediction"))
    return {
        "slope": line.slope,
        "slope_se": line.slope_se,
        "intercept": sign * line.intercept + 0.0,
        "intercept_se": line.intercept_se,
        "rmse": line.residual_sd,
        "prediction": float(line.prediction(line.mean_x)),
    }


def _topk_statistics(x_n: Floats, y_n: Floats, accuracy: Interval | None) -> dict[str, Any]:
    """The fields of `Consistency` about promoting the k best."""
    ks = [k for k in NUM_PROMOTED if k <= len(x_n)]
    return {
        "regret": {k: agreement.twelve_digits(topk.regret(x_n, y_n, k)) for k in ks},
        "recall": {k: topk.recall(x_n, y_n, k) for k in ks},
        "ndcg": {k: topk.ndcg(x_n, y_n, k) for k in ks},
        "expected": _expected(x_n, y_n, accuracy, ks) if len(x_n) >= MIN_FOR_VERDICT else {},
    }


def _r2_of(learned: Sequence[Point], n: int) -> float | None:
    """R^2 of the designs that learned; None if all n did, or too few."""
    x_n, y_n = (np.array([getattr(point, axis) for point in learned]) for axis in ("x", "y"))
    return agreement.defined(agreement.r2(x_n, y_n)) if MIN_DESIGNS <= len(learned) < n else None


def _expected(x_n: Floats, y_n: Floats, accuracy: Interval | None, ks: Sequence[int]) -> dict[int, Expected]:
    tau_interval = Interval(2 * accuracy.low - 1, 2 * accuracy.high - 1) if accuracy else None
    return topk.expected(y_n, agreement.tau_a(x_n, y_n), tau_interval, ks)


def _oriented(points: tuple[Point, ...], sign: float) -> tuple[Floats, Floats, list[int]]:
    """x_n and y_n, higher is better, and the index of each among the points.

    Sorted by score, since simulated measurements must not depend on the names of designs or the order of rows.
    """
    order = sorted(range(len(points)), key=lambda i: (sign * points[i].x, sign * points[i].y))
    x_n, y_n = (np.array([sign * getattr(points[i], axis) for i in order]) for axis in ("x", "y"))
    return x_n, y_n, order


def _verdict(comparison: Comparison, x_n: Floats, y_n: Floats, accuracy: Interval | None) -> str:
    for scale, values_n in ((comparison.small, x_n), (comparison.large, y_n)):
        if np.ptp(values_n) == 0:
            return f"no verdict: all designs have the same score at {scale}"
    return verdict_of(accuracy.low if accuracy else None, accuracy.high if accuracy else None)


def _with_influence(
    points: tuple[Point, ...], order: list[int], line: Line | None, r2_without_n: Floats
) -> tuple[Point, ...]:
    row = {index: rank for rank, index in enumerate(order)}
    return tuple(
        replace(
            point,
            leverage=agreement.defined(line.leverage_n[row[i]]) if line else None,
            cooks_distance=agreement.defined(line.cooks_distance_n[row[i]]) if line and line.residual_sd > 0 else None,
            r2_without=agreement.defined(r2_without_n[row[i]]),
        )
        for i, point in enumerate(points)
    )


def _range(values_n: Floats) -> Interval | None:
    finite_n = values_n[np.isfinite(values_n)]
    return Interval(float(finite_n.min()), float(finite_n.max())) if len(finite_n) else None


def _intervals(x_n: Floats, y_n: Floats, line: Line | None, sign: float) -> dict[str, Interval | None]:
    names = (*agreement.WEIGHTED, "slope", "intercept", "rmse")
    n = len(x_n)
    if n < MIN_FOR_VERDICT:
        return dict.fromkeys(names)
    left_out = {name: agreement.jackknife(statistic, x_n, y_n) for name, statistic in agreement.WEIGHTED.items()}
    tau_a = uncertainty.kendall_interval(agreement.tau_a(x_n, y_n), 2 * left_out["decision_accuracy"] - 1)
    intervals = {
        "r2": uncertainty.r2_interval(
            agreement.once(agreement.weighted_pearson, x_n, y_n),
            agreement.jackknife(agreement.weighted_pearson, x_n, y_n),
        ),
        "spearman": uncertainty.spearman_interval(agreement.spearman(x_n, y_n), left_out["spearman"]),
        "kendall": uncertainty.kendall_interval(agreement.kendall(x_n, y_n), left_out["kendall"]),
        "decision_accuracy": Interval((1 + tau_a.low) / 2, (1 + tau_a.high) / 2) if tau_a else None,
    }
    if line is None:
        return intervals | dict.fromkeys(("slope", "intercept", "rmse"))
    of_line = uncertainty.line_intervals(line, agreement.jackknife(agreement.weighted_rmse, x_n, y_n))
    if sign < 0 and (crossed := of_line["intercept"]):
        of_line["intercept"] = Interval(-crossed.high, -crossed.low)
    return intervals | of_line


def _comparison(chosen: ScoreTable, small: str, large: str, modality: str) -> Comparison:
    return Comparison(
        study=chosen.study,
        metric=chosen.metric,
        modality=modality,
        small=small,
        large=large,
        lower_is_better=chosen.lower_is_better,
    )


def _refuse_order(small: str, large: str) -> None:
    """Labels that are not sizes are accepted in any order."""
    if small == large:
        raise TableError(f"small and large are both {small}: choose two scales")
    if math.inf > scale_size(small) > scale_size(large):
        raise TableError(f"small is {small}, which is larger than {large}: swap them")


def _refuse_few(n: int, small: str, large: str) -> None:
    if n < MIN_DESIGNS:
        raise TableError(
            f"{n} designs have scores at both {small} and {large}; a comparison needs {MIN_DESIGNS} or more"
        )
