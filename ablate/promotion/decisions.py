"""The three decisions: which designs to promote, which training comes next, how policies perform in a backtest."""

from __future__ import annotations

import numpy as np

from ablate.errors import UsageError
from ablate.promotion.costs import unknown_cost
from ablate.promotion.own_trainer import OwnTrainer
from ablate.promotion.preparation import Prepared, Request, prior_for
from ablate.study import load_study
from analysis.promotion import (
    Advice,
    Backtest,
    Policy,
    Selection,
    advise,
    find_candidates,
    policies,
    replay,
    select,
)
from analysis.tables import TableError

REGRETS, CONFIDENCES = (0.1, 0.25, 0.5, 1.0), (0.8, 0.95)
"""Values of the policies that a backtest replays: points of expected regret, and probabilities."""


def next_steps(prepared: Prepared, target: float) -> Advice:
    """The training with the highest worth per cost, and whether to stop at an expected regret of `target` points."""
    return advise(prepared.transfer, prepared.run_costs(), target)


def backtests(request: Request, *, subsets: int) -> list[Backtest]:
    """Replay policies on a study whose scores at the large scale are known, for each small scale and all together.

    Raises:
        UsageError: no such study or scale, or fewer than six designs with scores at both.
    """
    scores = load_study(request.study, tracking_uri=request.tracking_uri, samples=request.samples)
    try:
        table = scores.table.select(request.metric or scores.metric, request.modality)
        every = find_candidates(table, request.large, request.scales or None)
        proxies = [(scale,) for scale in every.scales] + ([every.scales] if len(every.scales) > 1 else [])
        sets = [every if proxy == every.scales else find_candidates(table, request.large, proxy) for proxy in proxies]
        prior, choosers = prior_for(request.study), policies(len(every.designs), REGRETS, CONFIDENCES)
        return [replay(candidates, prior, choosers, study=request.study, subsets=subsets) for candidates in sets]
    except TableError as error:
        raise UsageError(f"study {request.study!r}: {error}") from None


def choose(prepared: Prepared, policy: Policy) -> Selection:
    """Choose designs by a policy.

    Raises:
        UsageError: a budget in GPU-hours where designs have no such price, or one below the cheapest design.
    """
    if policy.rule == "gpu-hours":
        if prepared.trainer is not None and prepared.unit == "designs":
            raise UsageError(_no_cost(prepared, prepared.trainer))
        if prepared.unit == "designs":
            raise UsageError(
                "--gpu-hours needs prices, and these designs have no configs; declare them in a spec: --designs SPEC"
            )
        if prepared.unit != "GPU-hours":
            raise UsageError("--gpu-hours: these designs are priced in PFLOPs; name a GPU with --gpu")
        unknown = ~np.isfinite(prepared.candidates.known_n)
        if unknown.any() and policy.value < prepared.costs_n[unknown].min():
            least = prepared.costs_n[unknown].min()
            raise UsageError(f"--gpu-hours {policy.value:g}: the cheapest design costs {least:.4g} {prepared.unit}")
    factors = prepared.table.factors.reindex(list(prepared.candidates.designs))
    levels = factors.map(str).to_numpy(dtype=np.str_) if not factors.empty else None  # a missing value becomes "nan"
    return select(prepared.transfer, policy, prepared.costs_n, levels)


def _no_cost(prepared: Prepared, trainer: OwnTrainer) -> str:
    """Why a budget cannot be applied to trials of the user's own trainer, and what to type."""
    large = prepared.request.large
    reason, remedy = unknown_cost(trainer, large)
    problem = f"--gpu-hours needs the cost of a trial at {large}, which is {reason}"
    return f"{problem}: {remedy}, or promote by number: --top-k 3"
