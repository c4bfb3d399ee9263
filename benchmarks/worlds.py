"""Simulated studies with known true statistics, for `python -m benchmarks.coverage`.

Every world has designs with scores at a small and a large scale, in standard deviations of the regular designs' scores;
the squared correlation of the regular designs is `r2`. Outlying designs, groups and heavy tails change the statistics:
their true values are measured on 300,000 designs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.numbers import Floats

World = Literal["normal", "seed noise", "collapsed", "heavy tails", "groups", "rare outliers in y"]
WORLDS: tuple[World, ...] = ("normal", "seed noise", "collapsed", "heavy tails", "groups")
HOPELESS: World = "rare outliers in y"
"""At 8 designs, one study of four contains no outlier, and its data give no sign that outliers exist."""
R2S, SIZES = (0.3, 0.5, 0.7, 0.83, 0.94), (8, 12, 21, 40, 80)
SEEDS = 2
"""Number of seeds in the world with seed noise; its true statistics are those of means over seeds."""


@dataclass(frozen=True, eq=False)
class Study:
    """Scores of n designs."""

    x_n: Floats
    """At the small scale."""
    y_n: Floats
    """At the large scale."""
    x_nK: Floats | None = None
    """Scores by seed, where there are several, n x K."""
    y_nK: Floats | None = None


def noise_share(r2: float) -> float:
    """Variance of the noise of a mean over seeds / that of the qualities: at most 1/4, and as large as r2 allows."""
    return min(0.25, 0.9 * (1 / math.sqrt(r2) - 1))


def draw(world: World, r2: float, n: int, rng: np.random.Generator) -> Study:
    """One study of n designs."""
    if world == "seed noise":
        return _with_seeds(r2, n, rng)
    rho = math.sqrt(r2)
    x = rng.standard_normal(n)
    y = rho * x + math.sqrt(1 - r2) * rng.standard_normal(n)
    match world:
        case "collapsed":
            collapsed = rng.random(n) < 0.12
            return Study(x - 3 * collapsed, y - 4 * collapsed)
        case "rare outliers in y":
            return Study(x, y - 4 * (rng.random(n) < 0.04))
        case "heavy tails":
            tail = np.sqrt(rng.chisquare(5, n) / 5)
            return Study(x / tail, y / tail)
        case "groups":
            group = 1.5 * rng.integers(0, 3, n)
            return Study(x + group, y + group)
    return Study(x, y)


def _with_seeds(r2: float, n: int, rng: np.random.Generator) -> Study:
    share = noise_share(r2)
    rho = math.sqrt(r2) * (1 + share)  # correlation of the qualities
    x = rng.standard_normal(n)
    y = rho * x + math.sqrt(1 - rho * rho) * rng.standard_normal(n)
    noise = rng.standard_normal((2, n, SEEDS)) * math.sqrt(share * SEEDS)
    x_nK, y_nK = x[:, None] + noise[0], y[:, None] + noise[1]
    return Study(x_nK.mean(axis=1), y_nK.mean(axis=1), x_nK, y_nK)


def truths(world: World, r2: float) -> dict[str, float]:
    """True values of the statistics, from 300,000 designs."""
    study = draw(world, r2, 300_000, np.random.default_rng(7))
    x, y = study.x_n, study.y_n
    slope, intercept = np.polyfit(x, y, 1)
    tau = float(stats.kendalltau(x[:100_000], y[:100_000]).statistic)
    return {
        "r2": float(np.corrcoef(x, y)[0, 1] ** 2),
        "spearman": float(stats.spearmanr(x, y).statistic),
        "kendall": tau,
        "decision_accuracy": (1 + tau) / 2,
        "slope": float(slope),
        "intercept": float(intercept),
        "rmse": float((y - intercept - slope * x).std()),
    }
