"""The three decisions: which designs to promote, which training comes next, how policies would have done."""

from __future__ import annotations

import numpy as np

from ablate.errors import UsageError
from ablate.promotion.preparation import Prepared, Request, prior_for
from ablate.study import load_study
from analysis.promotion import (
    Advice,
    Backtest,
    Policy,
    Selection,
    advise,
    candidates,
    policies,
    replay,
    select,
)
from analysis.tables import TableError

REGRETS, CONFIDENCES = (0.1, 0.25, 0.5, 1.0), (0.8, 0.95)
"""Of the policies that a backtest replays, in points and as chances."""


def next_steps(prepared: Prepared, wanted: float) -> Advice:
    """The training whose result is worth most for its cost, and whether to stop at an expected regret."""
    return advise(prepared.transfer, prepared.run_costs(), wanted)


def backtests(request: Request, *, subsets: int) -> list[Backtest]:
    """Replay policies on a study whose scores at the large scale are known, for each small scale and all together.

    Raises:
        UsageError: no such study or scale, or fewer than six designs with scores at both.
    """
    scores = load_study(request.study, tracking_uri=request.tracking_uri, samples=request.samples)
    try:
        table = scores.table.select(request.metric or scores.metric, request.modality)
        every = candidates(table, request.large, request.scales or None)
        proxies = [(scale,) for scale in every.scales] + ([every.scales] if len(every.scales) > 1 else [])
        found = [every if proxy == every.scales else candidates(table, request.large, proxy) for proxy in proxies]
        prior, several = prior_for(request.study), policies(len(every.designs), REGRETS, CONFIDENCES)
        return [replay(each, prior, several, study=request.study, subsets=subsets) for each in found]
    except TableError as error:
        raise UsageError(f"study {request.study!r}: {error}") from None


def choose(prepared: Prepared, policy: Policy) -> Selection:
    """Choose designs by a policy.

    Raises:
        UsageError: a budget in GPU-hours where designs have no price, or one that buys nothing.
    """
    if policy.rule == "gpu-hours":
        if prepared.unit == "designs":
            raise UsageError(
                "--gpu-hours needs prices: no config of these designs is known; give a spec with --designs"
            )
        if prepared.unit != "GPU-hours":
            raise UsageError("--gpu-hours: these designs are priced in PFLOPs; price them in GPU-hours with --gpu")
        unknown = ~np.isfinite(prepared.found.known_n)
        if unknown.any() and policy.value < prepared.costs_n[unknown].min():
            least = prepared.costs_n[unknown].min()
            raise UsageError(f"--gpu-hours {policy.value:g}: the cheapest design takes {least:.4g} {prepared.unit}")
    factors = prepared.table.factors.reindex(list(prepared.found.designs))
    levels = factors.map(str).to_numpy(dtype=np.str_) if not factors.empty else None  # one not known is "nan"
    return select(prepared.transfer, policy, prepared.costs_n, levels)
