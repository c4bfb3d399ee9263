"""Refusals of a whole plan: data that are only assumed, trials that fit on no machine."""

from __future__ import annotations

from ablate.environment import available
from ablate.errors import InfeasibleError, UsageError
from ablate.plan.plan import Plan


def refuse_assumed(plan: Plan) -> None:
    """Refuse to run trials whose data are only assumed.

    Raises:
        UsageError: the data are only assumed; the message names the fix.
    """
    if plan.is_assumed:
        raise UsageError(
            "the data of this spec are only assumed, for plans: set `data` to {kind: manifest, ...} (docs/data.md)"
        )


def refuse_infeasible(plan: Plan, nodes: list[dict[str, float]] | None = None) -> None:
    """Refuse a plan with a missing trial that no node has the resources for.

    Args:
        plan: the plan.
        nodes: resources of each node, as Ray reports them; this machine's if omitted.

    Raises:
        InfeasibleError: the message names the trial's resources, the most that there are, and the fix.
    """
    if plan.is_assumed:  # it cannot run at all, see `refuse_assumed`
        return
    nodes = nodes if nodes is not None else [available()]
    for p in plan.missing:
        needs = {"CPU": p.cpus, "GPU": p.gpus}
        fitting = sum(all(node.get(kind, 0) >= need for kind, need in needs.items()) for node in nodes)
        if fitting >= p.nodes:
            continue
        largest = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in needs}
        problem = f"asks for {_listed(needs)}, but no node has that"
        if p.nodes > 1:
            problem = f"asks for {p.nodes} nodes with {_listed(needs)} each, but {fitting or 'no'} node(s) have that"
        raise InfeasibleError(
            f"{p.trial.label} {problem}; the most on one of {len(nodes)} node(s) "
            f"is {_listed(largest)}. Lower `resources` in {plan.spec.source.path}, run on a cluster with --address, or "
            "plan for other machines: ablate plan --gpu h100-80gb"
        )


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())
