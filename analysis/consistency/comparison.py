"""How far scores at a small scale foretell those at a large one: R^2, and what must stand beside it.

Reads score tables (table.py), computes with agreement.py, line.py, topk.py and uncertainty.py, decides nothing: whom to
promote is asked of selection.py. Every refusal and every design that is left out is named. What else a study can tell
(axes, seeds, other scales and metrics) is gathered in report.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.consistency import influence, topk
from analysis.consistency.influence import Removal
from analysis.consistency.topk import Expected
from analysis.noise import verdict_of
from analysis.numbers import Floats, Interval, Line, agreement, fitted_line, uncertainty
from analysis.tables import OUTLIER_SDS, ScoreTable, TableError, far_below, scale_size

FEWEST = 3
"""Designs below which there is nothing to compare: two points lie on a line."""
FEW, TOO_FEW = 10, 5
"""Below `FEW` designs a warning, below `TOO_FEW` no verdict and no intervals."""
PROMOTED = (1, 3, 5)
"""How many designs a promotion may take: the k of regret."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is compared with what."""

    study: str
    metric: str
    modality: str
    small: str
    large: str
    lower_is_better: bool


@dataclass(frozen=True)
class Point:
    """One design: its mean over seeds at the small scale (x) and at the large one (y), in units of the score."""

    design: str
    x: float
    y: float
    leverage: float | None = None
    """Weight of the design in its own prediction by the line, 1/n to 1; 2/n is the mean."""
    cooks_distance: float | None = None
    """How far the line moves without it; above 4/n is worth a look (Cook 1977)."""
    r2_without: float | None = None


@dataclass(frozen=True, kw_only=True)
class Consistency(Question):
    """The answer. A number is None where the data leave it undefined; `warnings` then says why."""

    n: int
    verdict: str
    """In words, from the interval of decision accuracy; "no verdict: ..." below `TOO_FEW` designs, or where all score
    alike."""
    r2: float | None
    """Squared Pearson correlation, as in the paper. It does not see whether the order is reversed: `slope` does."""
    pearson: float | None
    slope: float | None
    slope_se: float | None
    intercept: float | None
    intercept_se: float | None
    rmse: float | None
    """Residual standard deviation about the line, sqrt(squares / (n - 2)), in points of the large scale."""
    prediction: float | None
    """Half-width of the 95 % interval for the score of a new design of mean small-scale score; wider away from it."""
    spearman: float | None
    spearman_p: float | None
    """Chance that shuffled designs would agree as well: one-sided, by permutation."""
    kendall: float | None
    decision_accuracy: float | None
    regret: Mapping[int, float]
    """k -> points lost at the large scale by promoting the k best of the small one; only k up to n."""
    recall: Mapping[int, float]
    """k -> share of the k best at the large scale that are among the k best of the small one."""
    ndcg: Mapping[int, float]
    """k -> normalised discounted cumulative gain of those k, graded by the scores at the large scale; 0 to 1."""
    expected: Mapping[int, Expected]
    """k -> what regret and recall are on average for a proxy that agrees as well; from `TOO_FEW` designs on."""
    intervals: Mapping[str, Interval | None]
    """95 %, over other designs of this kind; how each is made: `analysis.numbers.uncertainty.METHODS`."""
    r2_leave_one_out: Interval | None
    """Lowest and highest R^2 without a single design."""
    influential: tuple[Removal, ...]
    """Up to three designs without which R^2 is lowest, one after another."""
    points: tuple[Point, ...]
    """By design name."""
    missing: Mapping[str, tuple[str, ...]]
    """Scale -> designs that have a score at the other scale only, and so are not in `points`."""
    collapsed: tuple[str, ...]
    """Those of `points` that failed to learn at either scale, by the rule of `analysis.tables.rankings.collapsed`."""
    r2_without_collapsed: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """Those of `warnings` that come from reading the scores: they hold, whichever designs are left out later."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: no NaN, string keys, an interval as [low, high]."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "notes"}
        return plain | {
            "regret": {str(k): points for k, points in self.regret.items()},
            "recall": {str(k): share for k, share in self.recall.items()},
            "ndcg": {str(k): gain for k, gain in self.ndcg.items()},
            "expected": {str(k): asdict(found) for k, found in self.expected.items()},
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
    """Compare the designs that were scored at both scales, by their means over seeds.

    Args:
        table: one study.
        small: label of the small scale.
        large: label of the large scale.
        metric: `benchmark/category`; the only overall score if not named.
        modality: video, frame or text.

    Raises:
        TableError: no such scale or metric, scales in the wrong order, or fewer than 3 designs in common.
    """
    _refuse_order(small, large)
    chosen = table.select(metric, modality)
    scores = {scale: chosen.per_design(scale) for scale in (small, large)}
    x, y = scores[small]["mean"], scores[large]["mean"]
    shared = sorted(set(x.index) & set(y.index))
    _refuse_few(len(shared), small, large)
    missing = {small: tuple(sorted(set(y.index) - set(x.index))), large: tuple(sorted(set(x.index) - set(y.index)))}
    down = {design for mean in (x, y) for design in far_below(mean, lower_is_better=chosen.lower_is_better)}
    return _answer(
        _question(chosen, small, large, modality),
        tuple(Point(design, float(x[design]), float(y[design])) for design in shared),
        missing=missing,
        collapsed_designs=tuple(design for design in shared if design in down),
        notes=(*_notes_on_missing(missing), *_notes_on_scores(chosen, scores, shared)),
    )


def without(consistency: Consistency, designs: Iterable[str]) -> Consistency:
    """The same comparison with some designs left out: what remains of R^2 without those that collapsed, say."""
    out = sorted(set(designs))
    strangers = set(out) - {point.design for point in consistency.points}
    if strangers:
        there = ", ".join(point.design for point in consistency.points)
        raise TableError(f"cannot leave out {', '.join(sorted(strangers))}: the comparison holds {there}")
    points = tuple(point for point in consistency.points if point.design not in out)
    _refuse_few(len(points), consistency.small, consistency.large)
    return _answer(
        Question(**{item.name: getattr(consistency, item.name) for item in fields(Question)}),
        points,
        missing=consistency.missing,
        collapsed_designs=tuple(design for design in consistency.collapsed if design not in out),
        notes=(*consistency.notes, *((f"left out on request: {', '.join(out)}",) if out else ())),
    )


def _answer(
    question: Question,
    points: tuple[Point, ...],
    *,
    missing: Mapping[str, tuple[str, ...]],
    collapsed_designs: tuple[str, ...],
    notes: tuple[str, ...],
) -> Consistency:
    n, sign = len(points), -1.0 if question.lower_is_better else 1.0
    x_n, y_n, order = _oriented(points, sign)
    values = {
        name: agreement.defined(agreement.once(statistic, x_n, y_n)) for name, statistic in agreement.WEIGHTED.items()
    }
    line = fitted_line(x_n, y_n)
    intervals = _intervals(x_n, y_n, line, sign)
    r2_without_n = influence.r2_without_each(x_n, y_n) if n > FEWEST else np.full(n, np.nan)
    r2_learned = _r2_of([point for point in points if point.design not in collapsed_designs], n)
    accuracy, ks = intervals["decision_accuracy"], [k for k in PROMOTED if k <= n]
    return Consistency(
        **vars(question),
        n=n,
        verdict=_verdict(question, x_n, y_n, accuracy),
        pearson=agreement.defined(agreement.once(agreement.weighted_pearson, x_n, y_n)),
        r2=values["r2"],
        spearman=values["spearman"],
        spearman_p=agreement.defined(agreement.permutation_p(x_n, y_n)),
        kendall=values["kendall"],
        decision_accuracy=values["decision_accuracy"],
        slope=line.slope if line else None,
        slope_se=line.slope_se if line else None,
        intercept=sign * line.intercept + 0.0 if line else None,
        intercept_se=line.intercept_se if line else None,
        rmse=line.residual_sd if line else None,
        prediction=float(line.prediction(line.mean_x)) if line else None,
        regret={k: agreement.twelve_digits(topk.regret(x_n, y_n, k)) for k in ks},
        recall={k: topk.recall(x_n, y_n, k) for k in ks},
        ndcg={k: topk.ndcg(x_n, y_n, k) for k in ks},
        expected=_expected(x_n, y_n, accuracy, ks) if n >= TOO_FEW else {},
        intervals=intervals,
        r2_leave_one_out=_range(r2_without_n),
        influential=influence.most_influential([points[i].design for i in order], x_n, y_n),
        points=_with_influence(points, order, line, r2_without_n),
        missing=missing,
        collapsed=collapsed_designs,
        r2_without_collapsed=r2_learned,
        warnings=(
            *_notes_on_values(question, points, values, intervals, has_line=line is not None),
            *_notes_on_collapse(collapsed_designs, r2_learned),
            *notes,
        ),
        notes=notes,
    )


def _r2_of(learned: Sequence[Point], n: int) -> float | None:
    """Without the designs that collapsed, if there are any and enough others."""
    x_n, y_n = (np.array([getattr(point, axis) for point in learned]) for axis in ("x", "y"))
    return agreement.defined(agreement.r2(x_n, y_n)) if FEWEST <= len(learned) < n else None


def _expected(x_n: Floats, y_n: Floats, accuracy: Interval | None, ks: Sequence[int]) -> dict[int, Expected]:
    tau_interval = Interval(2 * accuracy.low - 1, 2 * accuracy.high - 1) if accuracy else None
    return topk.expected(y_n, agreement.tau_a(x_n, y_n), tau_interval, ks)


def _oriented(points: tuple[Point, ...], sign: float) -> tuple[Floats, Floats, list[int]]:
    """x_n and y_n, higher is better, and the place of each among the points.

    In the order of the scores: imagined measurements must not depend on names or rows.
    """
    order = sorted(range(len(points)), key=lambda i: (sign * points[i].x, sign * points[i].y))
    x_n, y_n = (np.array([sign * getattr(points[i], axis) for i in order]) for axis in ("x", "y"))
    return x_n, y_n, order


def _verdict(question: Question, x_n: Floats, y_n: Floats, accuracy: Interval | None) -> str:
    for scale, values_n in ((question.small, x_n), (question.large, y_n)):
        if np.ptp(values_n) == 0:
            return f"no verdict: all designs score alike at {scale}"
    return verdict_of(accuracy.low if accuracy else None, accuracy.high if accuracy else None)


def _with_influence(
    points: tuple[Point, ...], order: list[int], line: Line | None, r2_without_n: Floats
) -> tuple[Point, ...]:
    place = {index: rank for rank, index in enumerate(order)}
    return tuple(
        replace(
            point,
            leverage=agreement.defined(line.leverage_n[place[i]]) if line else None,
            cooks_distance=agreement.defined(line.cooks_distance_n[place[i]])
            if line and line.residual_sd > 0
            else None,
            r2_without=agreement.defined(r2_without_n[place[i]]),
        )
        for i, point in enumerate(points)
    )


def _range(values_n: Floats) -> Interval | None:
    known = values_n[np.isfinite(values_n)]
    return Interval(float(known.min()), float(known.max())) if len(known) else None


def _intervals(x_n: Floats, y_n: Floats, line: Line | None, sign: float) -> dict[str, Interval | None]:
    names = (*agreement.WEIGHTED, "slope", "intercept", "rmse")
    n = len(x_n)
    if n < TOO_FEW:
        return dict.fromkeys(names)
    left_out = {name: agreement.jackknife(statistic, x_n, y_n) for name, statistic in agreement.WEIGHTED.items()}
    tau_a = uncertainty.kendall_interval(agreement.tau_a(x_n, y_n), 2 * left_out["decision_accuracy"] - 1)
    found = {
        "r2": uncertainty.r2_interval(
            agreement.once(agreement.weighted_pearson, x_n, y_n),
            agreement.jackknife(agreement.weighted_pearson, x_n, y_n),
        ),
        "spearman": uncertainty.spearman_interval(agreement.spearman(x_n, y_n), left_out["spearman"]),
        "kendall": uncertainty.kendall_interval(agreement.kendall(x_n, y_n), left_out["kendall"]),
        "decision_accuracy": Interval((1 + tau_a.low) / 2, (1 + tau_a.high) / 2) if tau_a else None,
    }
    if line is None:
        return found | dict.fromkeys(("slope", "intercept", "rmse"))
    of_line = uncertainty.line_intervals(line, agreement.jackknife(agreement.weighted_rmse, x_n, y_n))
    if sign < 0 and (crossed := of_line["intercept"]):
        of_line["intercept"] = Interval(-crossed.high, -crossed.low)
    return found | of_line


def _notes_on_values(
    question: Question,
    points: tuple[Point, ...],
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval | None],
    *,
    has_line: bool,
) -> list[str]:
    """How far to trust the numbers, and why some are not there."""
    n, notes = len(points), []
    if n < TOO_FEW:
        notes.append(f"{n} designs are too few for a verdict: read the scores themselves")
    elif n < FEW:
        notes.append(f"only {n} designs: one of them can turn the result, and the intervals are rough")
    undefined = [name for name, value in values.items() if value is None]
    for scale, scores in ((question.small, {p.x for p in points}), (question.large, {p.y for p in points})):
        if len(scores) == 1:
            notes.append(f"{', '.join(undefined)} undefined: all designs score {scores.pop():g} at {scale}")
    if (values["spearman"] or 0.0) < 0:
        notes.append(f"the order is reversed rather than kept (Spearman {values['spearman']:.2f}); R2 does not show it")
    undefined += [] if has_line else ["slope", "intercept", "rmse"]
    silent = [name for name, interval in intervals.items() if interval is None and name not in undefined]
    if n >= TOO_FEW and silent:
        notes.append(f"no interval for {', '.join(silent)}: the points lie on a line, or a single design decides it")
    return notes


def _notes_on_collapse(designs: tuple[str, ...], r2_learned: float | None) -> list[str]:
    if not designs:
        return []
    rest = f"R2 without is {r2_learned:.3f}" if r2_learned is not None else "R2 without is undefined"
    return [f"failed to learn (worse than the median by over {OUTLIER_SDS:g} robust sd): {_some(designs)}; {rest}"]


def _notes_on_missing(missing: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        f"left out, no score at {scale}: {_some(designs)}; if it was low scores that kept them from being run there,"
        " the correlations are too low"
        for scale, designs in missing.items()
        if designs
    ]


def _notes_on_scores(table: ScoreTable, scores: Mapping[str, pd.DataFrame], shared: list[str]) -> list[str]:
    """What makes the means unlike each other."""
    notes = []
    for scale, frame in scores.items():
        lost = table.dropped[table.dropped["scale"] == scale]
        if len(lost):
            trials = [f"{design} seed {seed}" for design, seed in zip(lost["design"], lost["seed"], strict=True)]
            notes.append(f"left out, score at {scale} is NaN: {_some(trials)}")
        for column, what in (("seeds", "number of seeds"), ("samples", "training samples")):
            unlike = sorted(frame.loc[shared, column].dropna().unique().tolist())
            if len(unlike) > 1:
                notes.append(f"designs differ at {scale} in their {what}: {_some(unlike)}")
    return notes


def _some(names: Sequence[object]) -> str:
    """The first few; the fields of the answer hold them all."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(map(str, names[:6])) + more


def _question(chosen: ScoreTable, small: str, large: str, modality: str) -> Question:
    return Question(
        study=chosen.study,
        metric=chosen.metric,
        modality=modality,
        small=small,
        large=large,
        lower_is_better=chosen.lower_is_better,
    )


def _refuse_order(small: str, large: str) -> None:
    """Labels that are not sizes are taken on trust."""
    if small == large:
        raise TableError(f"small and large are both {small}: name two scales")
    if math.inf > scale_size(small) > scale_size(large):
        raise TableError(f"small is {small}, which is larger than {large}: swap them")


def _refuse_few(n: int, small: str, large: str) -> None:
    if n < FEWEST:
        raise TableError(f"{n} designs have scores at both {small} and {large}; a comparison needs {FEWEST} or more")
