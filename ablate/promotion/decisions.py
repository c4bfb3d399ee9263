"""The three decisions: which designs to promote, which training comes next, how policies would have done."""

from __future__ import annotations

import numpy as np

from ablate.errors import UsageError
from ablate.promotion.preparation import Ask, Prepared, prior_for
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


def backtests(ask: Ask, *, subsets: int) -> list[Backtest]:
    """Replay policies on a study whose scores at the large scale are known, for each small scale and all together.

    Raises:
        UsageError: no such study or scale, or fewer than six designs with scores at both.
    """
    scores = load_study(ask.study, tracking_uri=ask.tracking_uri, samples=ask.samples)
    try:
        table = scores.table.select(ask.metric or scores.metric, ask.modality)
        every = candidates(table, ask.large, ask.scales or None)
        proxies = [(scale,) for scale in every.scales] + ([every.scales] if len(every.scales) > 1 else [])
        found = [every if proxy == every.scales else candidates(table, ask.large, proxy) for proxy in proxies]
        prior, several = prior_for(ask.study), policies(len(every.designs), REGRETS, CONFIDENCES)
        return [replay(each, prior, several, study=ask.study, subsets=subsets) for each in found]
    except TableError as error:
        raise UsageError(f"study {ask.study!r}: {error}") from None


def choose(prepared: Prepared, policy: Policy) -> Selection:
    """Choose designs by a policy.

    Raises:
        UsageError: a budget in GPU-hours where designs have no price, or one that buys nothing.
    """
    if policy.rule == "budget":
        if prepared.unit == "designs":
            raise UsageError("--budget needs prices: no config of these designs is known; name a spec with --designs")
        unknown = ~np.isfinite(prepared.found.known_n)
        if unknown.any() and policy.value < prepared.costs_n[unknown].min():
            least = prepared.costs_n[unknown].min()
            raise UsageError(f"--budget {policy.value:g}: the cheapest design takes {least:.4g} {prepared.unit}")
    factors = prepared.table.factors.reindex(list(prepared.found.designs))
    levels = factors.map(str).to_numpy(dtype=np.str_) if not factors.empty else None  # one not known is "nan"
    return select(prepared.transfer, policy, prepared.costs_n, levels)
