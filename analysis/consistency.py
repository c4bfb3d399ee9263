"""How far scores at a small scale foretell those at a large one: R^2, and what must stand beside it.

Reads score tables (table.py), computes with agreement.py and uncertainty.py, decides nothing: whom to promote is asked
elsewhere. Every refusal and every design that is left out is named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis import agreement, uncertainty
from analysis.agreement import Floats
from analysis.ranking import OUTLIER_SDS, far_below, noise_between_seeds
from analysis.table import ScoreTable, TableError, scale_size
from analysis.uncertainty import Interval, SeedNoise

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


@dataclass(frozen=True, kw_only=True)
class Consistency(Question):
    """The answer. A number is None where the data leave it undefined; `warnings` then says why."""

    n: int
    r2: float | None
    """Squared Pearson correlation, as in the paper. It does not see whether the order is reversed: `slope` does."""
    slope: float | None
    intercept: float | None
    spearman: float | None
    kendall: float | None
    decision_accuracy: float | None
    regret: Mapping[int, float]
    """k -> points lost at the large scale by promoting the k best of the small one; only k up to n."""
    intervals: Mapping[str, Interval | None]
    """95 % BCa bootstrap over designs: the uncertainty of a study with other designs of this kind."""
    points: tuple[Point, ...]
    """By design name."""
    missing: Mapping[str, tuple[str, ...]]
    """Scale -> designs that have a score at the other scale only, and so are not in `points`."""
    collapsed: tuple[str, ...]
    """Those of `points` that failed to learn at either scale, by the rule of `analysis.ranking.collapsed`."""
    r2_without_collapsed: float | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`: no NaN, string keys, an interval as [low, high]."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return plain | {
            "regret": {str(k): points for k, points in self.regret.items()},
            "intervals": {name: [i.low, i.high] if i else None for name, i in self.intervals.items()},
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
        notes=(f"left out on request: {', '.join(out)}",) if out else (),
    )


@dataclass(frozen=True)
class SeedPair:
    """R^2 over designs between one seed of the small scale and one of the large."""

    small: int
    large: int
    r2: float | None


@dataclass(frozen=True, kw_only=True)
class SeedConsistency(Question):
    """Whether consistency survives another seed, and how large the noise between seeds is."""

    n: int
    pairs: tuple[SeedPair, ...]
    same_seeds: float | None
    """Mean R^2 over pairs of equal seeds. Far above `different_seeds`, it owes something to shared data order."""
    different_seeds: float | None
    """Mean R^2 over pairs of different seeds: what one run at each scale may expect."""
    mean_of_seeds: float | None
    """R^2 of the means over the seeds of `pairs`: noise averaged away as far as the seeds allow."""
    noise: tuple[SeedNoise, ...]
    """Two: at the small and at the large scale, over all designs of the scale."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self) | {
            "pairs": [asdict(pair) for pair in self.pairs],
            "noise": [asdict(noise) for noise in self.noise],
            "warnings": list(self.warnings),
        }


def across_seeds(
    table: ScoreTable, small: str, large: str, metric: str | None = None, modality: str = "video"
) -> SeedConsistency:
    """R^2 between the scales with equal seeds, with different ones and with their mean, all over the same designs.

    Compared are the designs that both scales share, with the seeds that all of them have at that scale; seeds that
    were run for some of them only are left out, and named.
    """
    _refuse_order(small, large)
    chosen = table.select(metric, modality)
    by_seed = [chosen.per_seed(scale) for scale in (small, large)]
    shared = sorted(set(by_seed[0].index) & set(by_seed[1].index))
    _refuse_few(len(shared), small, large)
    full = [grid.loc[shared].dropna(axis="columns") for grid in by_seed]
    warnings = [
        f"seeds left out at {scale}, not run for every design: {', '.join(map(str, gone))}"
        for scale, grid, kept in zip((small, large), by_seed, full, strict=True)
        if (gone := [seed for seed in grid.loc[shared].dropna(axis="columns", how="all") if seed not in kept])
    ]
    pairs = tuple(
        SeedPair(int(a), int(b), _defined(agreement.r2(full[0][a].to_numpy(), full[1][b].to_numpy())))
        for a in full[0].columns
        for b in full[1].columns
    )
    same, different = ([p.r2 for p in pairs if (p.small == p.large) is equal] for equal in (True, False))
    if not same or not different:
        warnings.append(f"no two {'equal' if not same else 'different'} seeds at {small} and {large}")
    noise = tuple(noise_between_seeds(chosen, scale, metric, modality) for scale in (small, large))
    return SeedConsistency(
        **vars(_question(chosen, small, large, modality)),
        n=len(shared),
        pairs=pairs,
        same_seeds=_mean(same),
        different_seeds=_mean(different),
        mean_of_seeds=_defined(agreement.r2(*(grid.mean(axis=1).to_numpy() for grid in full))) if pairs else None,
        noise=noise,
        warnings=tuple(warnings),
    )


def _answer(
    question: Question,
    points: tuple[Point, ...],
    *,
    missing: Mapping[str, tuple[str, ...]],
    collapsed_designs: tuple[str, ...],
    notes: tuple[str, ...],
) -> Consistency:
    """Everything that follows from the points."""
    n, sign = len(points), -1.0 if question.lower_is_better else 1.0
    x_n, y_n = _oriented(points, sign)
    values = {name: _defined(agreement.once(statistic, x_n, y_n)) for name, statistic in agreement.WEIGHTED.items()}
    intervals = _intervals(x_n, y_n)
    slope, intercept = agreement.fitted_line(x_n, y_n)
    learned = tuple(point for point in points if point.design not in collapsed_designs)
    r2_learned = _defined(agreement.r2(*_oriented(learned, sign))) if FEWEST <= len(learned) < n else None
    return Consistency(
        **vars(question),
        n=n,
        r2=values["r2"],
        slope=_defined(slope),
        intercept=_defined(sign * intercept),
        spearman=values["spearman"],
        kendall=values["kendall"],
        decision_accuracy=values["decision_accuracy"],
        regret={k: _twelve_digits(agreement.regret(x_n, y_n, k)) for k in PROMOTED if k <= n},
        intervals=intervals,
        points=points,
        missing=missing,
        collapsed=collapsed_designs,
        r2_without_collapsed=r2_learned,
        warnings=(
            *_notes_on_values(question, points, values, intervals),
            *_notes_on_collapse(collapsed_designs, r2_learned),
            *notes,
        ),
    )


def _oriented(points: tuple[Point, ...], sign: float) -> tuple[Floats, Floats]:
    """x_n and y_n, higher is better, in the order of the scores: the bootstrap must not depend on names or rows."""
    x_n, y_n = np.array(sorted((sign * point.x, sign * point.y) for point in points)).T
    return x_n, y_n


def _intervals(x_n: Floats, y_n: Floats) -> dict[str, Interval | None]:
    if len(x_n) < TOO_FEW:
        return dict.fromkeys(agreement.WEIGHTED)
    weights_Bn = uncertainty.bootstrap_weights(len(x_n))
    return {
        name: uncertainty.bca_interval(partial(statistic, x_n, y_n), weights_Bn)
        for name, statistic in agreement.WEIGHTED.items()
    }


def _notes_on_values(
    question: Question,
    points: tuple[Point, ...],
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval | None],
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
    silent = [name for name, interval in intervals.items() if interval is None and name not in undefined]
    if n >= TOO_FEW and silent:
        notes.append(f"no interval for {', '.join(silent)}: resamples of the designs give one value only, or none")
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


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _twelve_digits(value: float) -> float:
    """A difference of two scores that were given with two decimals should read like one."""
    return float(f"{value:.12g}")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
