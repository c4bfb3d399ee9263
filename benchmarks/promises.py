"""Calibration and regret of promotion on simulated studies. Part of `python -m benchmarks.coverage`.

Studies have a small scale of 1.5B and a large one of 7B, and are predicted with the published prior, which assumes an
R^2 of 0.80 between runs at these scales. The true R^2 is drawn, or set; the standard deviation of scores grows by about
the factor that the prior assumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.promotion import (
    Candidates,
    Policy,
    Replay,
    Transfer,
    calibration_designs,
    choose,
    predict,
    probabilities_of_best,
    published_prior,
)
from benchmarks import worlds
from benchmarks.worlds import SEEDS, SIZES, World

if TYPE_CHECKING:
    from analysis.numbers import Floats

NUM_KNOWN = (0, 3, 6)
"""Numbers of designs with a score at the large scale."""
BINS = (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0001)
REGRETS = (0.1, 0.25, 0.5, 1.0)
TRUE_R2S = (0.5, 0.7, 0.83, 0.94)
PLAIN: tuple[World, ...] = ("normal", "seed noise", "collapsed", "heavy tails")
DRAWS = 1000
GROWTH_SD = 0.2
"""Standard deviation of the logarithm of the growth of scores' standard deviation, about the prior's growth."""


@dataclass(frozen=True)
class Case:
    """Studies of one kind."""

    world: World
    r2: float | None
    """True R^2; None: drawn from 0.5 to 0.95."""
    n: int
    """Number of designs."""


def blind(case: Case, rng: np.random.Generator) -> tuple[Transfer, Floats, float]:
    """A study predicted without large-scale scores; the true scores, n values; their standard deviation."""
    r2 = rng.uniform(0.5, 0.95) if case.r2 is None else case.r2
    study, prior = worlds.draw(case.world, r2, case.n, rng), published_prior()
    sizes = np.log([1.5e9, 7e9])
    y_n = study.y_n if study.y_nK is None else study.y_nK[:, 0]
    unit = math.exp(prior.growth * (sizes[1] - sizes[0]) + GROWTH_SD * rng.standard_normal())
    noise = math.nan if study.x_nK is None else float(np.sqrt(study.x_nK.var(axis=1, ddof=1).mean()))
    candidates = Candidates(
        designs=tuple(f"d{i:03d}" for i in range(case.n)),
        scales=("1.5B",),
        log_size_S=sizes[:1],
        score_nS=study.x_n[:, None],
        seeds_nS=np.full((case.n, 1), 1.0 if study.x_nK is None else SEEDS),
        noise_S=np.array([noise]),
        large="7B",
        log_size=float(sizes[1]),
        known_n=np.full(case.n, math.nan),
        lower_is_better=False,
    )
    return predict(candidates, prior), unit * y_n, float(unit * y_n.std(ddof=1))


def calibration(case: Case, studies: int) -> tuple[Case, dict[int, tuple[Floats, int, int]]]:
    """Number of known designs -> sums of (probability, best, 1) by bin, prediction intervals that cover, and all."""
    rng = np.random.default_rng([5, case.n, PLAIN.index(case.world)])
    results = {}
    for num_known in NUM_KNOWN:
        bins, covered, total = np.zeros((len(BINS) - 1, 3)), 0, 0
        for _ in range(studies):
            transfer, y_n, _ = blind(case, rng)
            if num_known:
                known_n = np.full(case.n, math.nan)
                chosen = calibration_designs(transfer, min(num_known, case.n - 2))
                known_n[chosen] = y_n[chosen]
                transfer = transfer.conditioned_on(known_n)
            probability_n = probabilities_of_best(transfer.draws(DRAWS, seed=int(rng.integers(1 << 30))))
            bin_n = np.searchsorted(BINS, probability_n, side="right") - 1
            np.add.at(bins, bin_n, np.column_stack([probability_n, y_n == y_n.max(), np.ones(case.n)]))
            unknown_n = ~np.isfinite(transfer.candidates.known_n)
            level = float(y_n.mean() - transfer.mean_n.mean()) if transfer.is_relative else 0.0
            covered += int((np.abs(y_n - level - transfer.mean_n) <= transfer.half_width_n())[unknown_n].sum())
            total += int(unknown_n.sum())
        results[num_known] = (bins, covered, total)
    return case, results


def regrets(case: Case, studies: int) -> tuple[Case, Floats]:
    """Means of (regret / target, share promoted): 2 ways (at once, one at a time) x targets x 2."""
    rng = np.random.default_rng([6, case.n, PLAIN.index(case.world), round(100 * (case.r2 or 0))])
    sums = np.zeros((2, len(REGRETS), 2))
    for number in range(studies):
        transfer, y_n, sd = blind(case, rng)
        y_Mn, replay = transfer.draws(DRAWS, seed=number), Replay(blind=transfer, true_n=y_n, number=number)
        for t, target in enumerate(REGRETS):
            at_once = choose(y_Mn, [], np.ones(case.n), Policy(rule="regret", value=target * sd))
            path = replay.path(REGRETS[0] * sd)
            stop = next((i for i, (_, regret) in enumerate(path) if regret <= target * sd), len(path))
            for way, chosen in enumerate((at_once, [design for design, _ in path[:stop]])):
                sums[way, t] += (float(y_n.max() - y_n[chosen].max()) / sd / target, len(chosen) / case.n)
    return case, sums / studies


def print_all(pool: Any, studies: int) -> list[tuple[str, list[str]]]:
    """Print the tables; returns claims, each with the results that contradict it."""
    few = max(10, studies // 2)
    calibrated = dict(
        pool.imap_unordered(partial(calibration, studies=studies), [Case(w, None, n) for w in PLAIN for n in SIZES])
    )
    claims = [*_print_probabilities(calibrated), *_print_predictions(calibrated)]
    cases = [Case("normal", r2, n) for r2 in TRUE_R2S for n in SIZES]
    cases += [Case(world, 0.83, n) for world in PLAIN[1:] for n in SIZES]
    by_case = dict(pool.imap_unordered(partial(regrets, studies=few), sorted(cases, key=lambda c: -c.n)))
    return [*claims, *_print_regrets(by_case)]


def _print_probabilities(calibrated: dict[Case, Any]) -> list[tuple[str, list[str]]]:
    print("### Probability to be the best: predicted, and the observed share (true R2 0.5 to 0.95)\n")
    print(
        "| predicted | "
        + " | ".join(f"m={m}: mean, observed, designs" for m in NUM_KNOWN)
        + " |\n|"
        + "---|" * (1 + len(NUM_KNOWN))
    )
    sums = {m: sum(result[m][0] for case, result in calibrated.items() if case.world == "normal") for m in NUM_KNOWN}
    wrong = []
    for b, (low, high) in enumerate(pairwise(BINS)):
        cells = []
        for m in NUM_KNOWN:
            predicted, observed, designs = sums[m][b]
            cells.append(f"{predicted / designs:.3f}, {observed / designs:.3f}, {designs:.0f}" if designs else "")
            if designs > 20:
                error = math.sqrt(max(predicted / designs * (1 - predicted / designs), 1e-4) / designs)
                if abs(observed - predicted) / designs > max(0.05, 3 * error):
                    wrong.append(f"m={m}: {predicted / designs:.2f} predicted, {observed / designs:.2f} observed")
        print(f"| {low:.2f}-{min(high, 1):.2f} | " + " | ".join(cells) + " |")
    print(flush=True)
    return [
        ("the probability to be the best is calibrated within 5 points, m designs measured at the large scale", wrong)
    ]


def _print_predictions(calibrated: dict[Case, Any]) -> list[tuple[str, list[str]]]:
    print("### 95 % prediction intervals that contain the score, per cent (true R2 0.5 to 0.95)\n")
    print("| world | " + " | ".join(f"m={m}" for m in NUM_KNOWN) + " |\n|" + "---|" * (1 + len(NUM_KNOWN)))
    wrong = []
    for world in PLAIN:
        cells = []
        for m in NUM_KNOWN:
            covered, total = (sum(f[m][k] for case, f in calibrated.items() if case.world == world) for k in (1, 2))
            cells.append(100 * covered / total)
            if cells[-1] < 93:
                wrong.append(f"{world}, m={m}: {cells[-1]:.1f}")
        print(f"| {world} | " + " | ".join(f"{c:.1f}" for c in cells) + " |")
    print(flush=True)
    return [("95 % prediction intervals at the large scale cover 93 % or more", wrong)]


def _print_regrets(by_case: dict[Case, Floats]) -> list[tuple[str, list[str]]]:
    print("### `--regret r`: mean regret over r (share of designs trained), r in standard deviations of the scores\n")
    head = [f"{way}, r={r:g}" for way in ("at once", "next") for r in REGRETS]
    print("| world | R2 | n | " + " | ".join(head) + " |\n|" + "---|" * (3 + len(head)))
    for case in sorted(by_case, key=lambda c: (PLAIN.index(c.world), c.r2, c.n)):
        values = by_case[case].reshape(-1, 2)
        print(f"| {case.world} | {case.r2} | {case.n} | " + " | ".join(f"{v:.2f} ({s:.0%})" for v, s in values) + " |")
    print(flush=True)
    exceeded: dict[float, list[str]] = {r2: [] for r2 in TRUE_R2S}
    for world, r2 in sorted({(c.world, c.r2) for c in by_case}):
        mean = np.mean([result for c, result in by_case.items() if (c.world, c.r2) == (world, r2)], axis=0)
        for name, value in zip(head, mean.reshape(-1, 2)[:, 0], strict=True):
            if value > 1:
                exceeded[r2].append(f"{world}, {name}: {value:.2f} r")
    return [
        (f"`--regret r` keeps mean regret below r, averaged over 8 to 80 designs, where R2 is {r2:g}", against)
        for r2, against in exceeded.items()
    ]
