"""Coverage of intervals, calibration of probabilities. `make coverage`: `python -m benchmarks.coverage [--studies N]`.

Studies are drawn from worlds whose true statistics are known (worlds.py). Printed are the shares of 95 % intervals that
contain the true value, beside those of alternative methods on the same studies; then calibration and regret of
promotion (promises.py); last, one line for each claim. The same N gives the same numbers.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy import stats

from analysis.consistency import axes_consistency, topk
from analysis.noise import seed_noise
from analysis.numbers import Floats, Interval, Line, agreement, fitted_line, t_quantile, uncertainty
from analysis.tables import COLUMNS, ScoreTable
from benchmarks import promises, worlds
from benchmarks.worlds import HOPELESS, R2S, SEEDS, SIZES, WORLDS, Study, World

STUDIES = 60
"""Number of studies of each cell."""
RESAMPLES = 699
LOWEST, HIGHEST = 93.0, 97.0
"""Claimed coverage in per cent, on average by world and by number of designs."""
THEORY = {"r2": "Fisher z", "spearman": "Bonett-Wright", "kendall": "Fieller"}
"""Statistic -> name of the interval that assumes normal scores."""
Hits = dict[tuple[str, str], list[bool]]
"""Statistic, method -> whether each interval contains the true value."""
Cell = tuple[World, float, int]
"""World, r2, number of designs."""


def measure(
    cell: Cell, truth: Mapping[str, float], studies: int
) -> tuple[Cell, dict[tuple[str, str], tuple[int, int]]]:
    """Draw the studies of one cell: statistic, method -> intervals that contain the true value, intervals."""
    world, r2, n = cell
    rng = np.random.default_rng([WORLDS.index(world) if world in WORLDS else 9, round(1000 * r2), n])
    weights_Bn, hits = uncertainty.bootstrap_weights(n)[:RESAMPLES], Hits()
    for number in range(studies):
        study = worlds.draw(world, r2, n, rng)
        add_agreement(study, truth, weights_Bn, hits)
        add_line(study, worlds.draw(world, r2, 1, rng), truth, hits)
        if study.x_nK is not None:
            add_seeds(study, r2, truth, rng, hits)
        if world in ("normal", "seed noise") and number % 4 == 0:  # slow, so for a quarter of the studies
            add_promotion(study, r2, hits)
    return cell, {key: (sum(contains), len(contains)) for key, contains in hits.items()}


def note(hits: Hits, statistic: str, method: str, interval: Interval | None, truth: float) -> None:
    """Add whether an interval contains the true value; a missing interval is not counted."""
    if interval is not None:
        hits.setdefault((statistic, method), []).append(interval.low <= truth <= interval.high)


def add_agreement(study: Study, truth: Mapping[str, float], weights_Bn: Floats, hits: Hits) -> None:
    x, y = study.x_n, study.y_n
    left_out = {name: agreement.jackknife(weighted, x, y) for name, weighted in agreement.WEIGHTED.items()}
    r = agreement.once(agreement.weighted_pearson, x, y)
    tau_a = uncertainty.kendall_interval(agreement.tau_a(x, y), 2 * left_out["decision_accuracy"] - 1)
    ours = {
        "r2": uncertainty.r2_interval(r, agreement.jackknife(agreement.weighted_pearson, x, y)),
        "spearman": uncertainty.spearman_interval(agreement.spearman(x, y), left_out["spearman"]),
        "kendall": uncertainty.kendall_interval(agreement.kendall(x, y), left_out["kendall"]),
        "decision_accuracy": Interval((1 + tau_a.low) / 2, (1 + tau_a.high) / 2) if tau_a else None,
    }
    for name, weighted in agreement.WEIGHTED.items():
        note(hits, name, "ours", ours[name], truth[name])
        values = weighted(x, y, weights_Bn)
        note(hits, name, "percentile", percentile(values), truth[name])
        note(hits, name, "BCa", uncertainty.bca_interval(partial(weighted, x, y), weights_Bn), truth[name])
        if name in THEORY:
            note(
                hits, name, THEORY[name], theory_interval(name, agreement.once(weighted, x, y), r, len(x)), truth[name]
            )


def theory_interval(name: str, estimate: float, r: float, n: int) -> Interval:
    """Interval by Fisher's z, with the standard error for normal scores."""
    at = r if name == "r2" else min(max(estimate, -1 + 1e-9), 1 - 1e-9)
    error = {
        "r2": 1 / math.sqrt(n - 3),
        "spearman": math.sqrt((1 + at * at / 2) / (n - 3)),
        "kendall": math.sqrt(0.437 / (n - 4)),
    }[name]
    low, high = (math.tanh(math.atanh(at) + side * 1.959964 * error) for side in (-1, 1))
    if name != "r2":
        return Interval(low, high)
    return Interval(0.0 if low < 0 < high else min(low * low, high * high), max(low * low, high * high))


def percentile(values_B: Floats) -> Interval:
    low, high = np.quantile(values_B[np.isfinite(values_B)], [0.025, 0.975])
    return Interval(float(low), float(high))


def add_line(study: Study, new: Study, truth: Mapping[str, float], hits: Hits) -> None:
    line = fitted_line(study.x_n, study.y_n)
    assert line is not None
    left_out = agreement.jackknife(agreement.weighted_rmse, study.x_n, study.y_n)
    for name, interval in uncertainty.line_intervals(line, left_out).items():
        note(hits, name, "ours", interval, truth[name])
    for name, method, interval in alternatives_of_line(line):
        note(hits, name, method, interval, truth[name])
    at, half = float(line.at(new.x_n)[0]), float(line.prediction(new.x_n)[0])
    note(hits, "prediction", "ours", Interval(at - half, at + half), float(new.y_n[0]))


def alternatives_of_line(line: Line) -> Iterable[tuple[str, str, Interval]]:
    t = t_quantile(line.freedom)
    for name, value, plain, robust in (
        ("slope", line.slope, line.slope_se, line.slope_robust_se),
        ("intercept", line.intercept, line.intercept_se, line.intercept_robust_se),
    ):
        yield name, "least squares", Interval(value - t * plain, value + t * plain)
        yield name, "HC3", Interval(value - t * robust, value + t * robust)
    low, high = (math.sqrt(line.freedom / stats.chi2.ppf(q, line.freedom)) for q in (0.975, 0.025))
    yield "rmse", "chi^2", Interval(line.residual_sd * low, line.residual_sd * high)


def add_seeds(study: Study, r2: float, truth: Mapping[str, float], rng: np.random.Generator, hits: Hits) -> None:
    """Reliability; and R^2 by a two-level bootstrap, which resamples seeds within resampled designs."""
    assert study.x_nK is not None
    assert study.y_nK is not None
    noise = seed_noise("small", list(study.x_nK))
    note(hits, "reliability", "ours", noise.reliability_interval, 1 / (1 + worlds.noise_share(r2)))
    n = len(study.x_n)
    designs = rng.integers(0, n, (RESAMPLES, n))
    means = []
    for score_nK in (study.x_nK, study.y_nK):
        seeds = rng.integers(0, SEEDS, (RESAMPLES, n, SEEDS))
        means.append(score_nK[designs[:, :, None], seeds].mean(axis=2))
    dx, dy = (mean - mean.mean(axis=1, keepdims=True) for mean in means)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (dx * dy).sum(axis=1) ** 2 / ((dx**2).sum(axis=1) * (dy**2).sum(axis=1))
    note(hits, "r2", "two-level", percentile(values), truth["r2"])


def add_promotion(study: Study, r2: float, hits: Hits) -> None:
    """Expected regret and recall; true values: their expectation for these large-scale scores and the true copula."""
    x, y = study.x_n, study.y_n
    tau = agreement.tau_a(x, y)
    interval = uncertainty.kendall_interval(
        tau, 2 * agreement.jackknife(agreement.WEIGHTED["decision_accuracy"], x, y) - 1
    )
    estimate = topk.expected(y, tau, interval, (1, 3))
    true = topk.expected(y, 2 / math.pi * math.asin(math.sqrt(r2)), None, (1, 3))
    for k in (1, 3):
        note(hits, f"regret@{k}", "ours", estimate[k].regret_interval, true[k].regret)
        note(hits, f"recall@{k}", "ours", estimate[k].recall_interval, true[k].recall)


def effects(studies: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Pairs, seeds -> number of intervals of an effect that contain the true value, number of intervals; two scales.

    The choice adds 1 point on average, with a standard deviation of 1 between pairs (interactions) and of 1 between
    seeds. With fewer than three pairs, the true value is the effect of those pairs.
    """
    rng, counts = np.random.default_rng(3), {}
    for pairs, seeds in ((1, 3), (2, 3), (3, 1), (6, 1), (6, 3), (12, 1)):
        hits = []
        for _ in range(studies):
            extra = 1 + rng.standard_normal(pairs)
            truth = float(extra.mean()) if pairs < 3 else 1.0
            rows, factors = [], {}
            for pair in range(pairs):
                for level in (0, 1):
                    name = f"d{pair}-{level}"
                    factors[name] = {"choice": str(level), "rest": str(pair)}
                    rows += [
                        (
                            "s",
                            name,
                            scale,
                            seed,
                            1,
                            "b",
                            "overall",
                            "video",
                            level * extra[pair] + rng.standard_normal(),
                        )
                        for scale in ("1B", "7B")
                        for seed in range(seeds)
                    ]
            table = ScoreTable(pd.DataFrame(rows, columns=list(COLUMNS)), factors=pd.DataFrame(factors).T)
            axis = next(a for a in axes_consistency(table, "1B", "7B", {"choice": "0"}) if a.axis == "choice")
            intervals = [e.interval for e in (axis.choices[0].small, axis.choices[0].large)]
            hits += [i.low <= truth <= i.high for i in intervals if i is not None]
        counts[pairs, seeds] = (sum(hits), len(hits))
    return counts


# --- tables -----------------------------------------------------------------------------------------

Counts = dict[Cell, dict[tuple[str, str], tuple[int, int]]]


def share(counts: Counts, statistic: str, method: str, **only: object) -> float:
    """Coverage in per cent, over the cells of a world, an r2 or an n; NaN where there are none."""
    hits = total = 0
    for (world, r2, n), cell in counts.items():
        here = {"world": world, "r2": r2, "n": n}
        if all(here[key] == value for key, value in only.items()) and (world != HOPELESS or "world" in only):
            add = cell.get((statistic, method), (0, 0))
            hits, total = hits + add[0], total + add[1]
    return 100 * hits / total if total else math.nan


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    head = list(head)
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        cells = [("" if math.isnan(c) else f"{c:.1f}") if isinstance(c, float) else str(c) for c in row]
        print("| " + " | ".join(cells) + " |")
    print(flush=True)


def print_intervals(counts: Counts) -> None:
    methods = defaultdict[str, list[str]](list)
    for cell in counts.values():
        for statistic, method in cell:
            if method not in methods[statistic]:
                methods[statistic].append(method)
    rows = []
    for statistic, names in methods.items():
        for method in names:
            cells = [
                100 * f[statistic, method][0] / f[statistic, method][1]
                for (w, _, _), f in counts.items()
                if w != HOPELESS and (statistic, method) in f
            ]
            rows.append(
                [
                    statistic,
                    f"**{method}**" if method == "ours" else method,
                    share(counts, statistic, method),
                    *(share(counts, statistic, method, n=n) for n in SIZES),
                    *(share(counts, statistic, method, world=w) for w in WORLDS),
                    f"{min(cells):.0f}-{max(cells):.0f}",
                    share(counts, statistic, method, world=HOPELESS),
                ]
            )
    print("### 95 % intervals that contain the true value, per cent\n")
    table(["statistic", "interval", "mean", *(f"n={n}" for n in SIZES), *WORLDS, "cells", f"({HOPELESS})"], rows)


def outside(counts: Counts) -> list[str]:
    """Mean coverages of our intervals by world and by n that are outside the claim by over two standard errors."""
    wrong = []
    for statistic in sorted({s for cell in counts.values() for s, method in cell if method == "ours"}):
        groups: list[dict[str, object]] = [*({"n": n} for n in SIZES), *({"world": world} for world in WORLDS)]
        for only in groups:
            value, total = share(counts, statistic, "ours", **only), intervals(counts, statistic, **only)
            slack = 200 * math.sqrt(0.05 * 0.95 / total) if total else math.inf
            if not math.isnan(value) and not LOWEST - slack <= value <= HIGHEST + slack:
                wrong.append(f"{statistic}, {next(iter(only.values()))}: {value:.1f}")
    return wrong


def intervals(counts: Counts, statistic: str, **only: object) -> int:
    """Number of our intervals of a statistic."""
    return sum(
        cell.get((statistic, "ours"), (0, 0))[1]
        for (world, _, n), cell in counts.items()
        if (only.get("world", world), only.get("n", n)) == (world, n) and (world != HOPELESS or "world" in only)
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Coverage of intervals, calibration of probabilities.")
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"studies of each cell ({STUDIES})")
    studies, start = parser.parse_args(arguments).studies, time.monotonic()
    kinds = [(world, r2) for world in (*WORLDS, HOPELESS) for r2 in R2S]
    with get_context("spawn").Pool(2) as pool:
        effect_counts = pool.apply_async(effects, (2 * studies,))
        truths = dict(zip(kinds, pool.starmap(worlds.truths, kinds), strict=True))
        tasks = [((world, r2, n), truths[world, r2], studies) for n in reversed(SIZES) for world, r2 in kinds]
        counts: Counts = dict(pool.starmap(measure, tasks, chunksize=1))
        print_intervals(counts)
        print("### Effect of a choice, per cent of 95 % intervals that contain the true value\n")
        rows = [[p, s, 100 * h / t] for (p, s), (h, t) in effect_counts.get().items()]
        table(["pairs", "seeds", "coverage"], rows)
        claims = promises.print_all(pool, studies)
    wrong = outside(counts)
    claims = [
        (f"95 % intervals cover {LOWEST:.0f}-{HIGHEST:.0f} %, on average by world and by number of designs", wrong),
        *claims,
    ]
    print("### Claims\n")
    for claim, exceptions in claims:
        details = f": {'; '.join(exceptions)}" if exceptions else ""
        print(f"- {'does not hold' if exceptions else 'holds'}: {claim}{details}")
    print(f"\n{studies} studies per cell, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
