"""Refusals of a whole plan: data that are not at hand, trials that fit no machine."""

from __future__ import annotations

from ablate.environment import available
from ablate.errors import InfeasibleError, UsageError
from ablate.plan.plan import Plan


def refuse_assumed(plan: Plan) -> None:
    """Refuse to run trials whose data are only assumed.

    Raises:
        UsageError: with the mend.
    """
    if plan.is_assumed:
        raise UsageError(
            "the data of this spec are only assumed, for plans: set `data` to {kind: manifest, ...} (docs/data.md)"
        )


def refuse_infeasible(plan: Plan, nodes: list[dict[str, float]] | None = None) -> None:
    """Refuse a plan with a trial that no node could ever hold.

    Args:
        plan: what would run.
        nodes: resources of each node, as Ray tells them; this machine's where left out.

    Raises:
        InfeasibleError: with what is asked for, what there is at most, and the mend.
    """
    if plan.is_assumed:  # runs nowhere, see `refuse_assumed`
        return
    nodes = nodes if nodes is not None else [available()]
    for p in plan.missing:
        asked = {"CPU": p.cpus, "GPU": p.gpus}
        if any(all(node.get(kind, 0) >= need for kind, need in asked.items()) for node in nodes):
            continue
        largest = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in asked}
        raise InfeasibleError(
            f"{p.trial.label} asks for {_told(asked)}, but no node has that; the most on one of {len(nodes)} node(s) "
            f"is {_told(largest)}. Lower `resources` in {plan.spec.source.path}, run on a cluster with --address, or "
            "plan for other machines: ablate plan --gpu h100-80gb"
        )


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())
