"""How a plan is run: which of its missing trials, in which order, how many at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ablate.errors import UsageError
from ablate.plan import Plan, Planned
from ablate.record import Claim


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The trials that a sweep runs: those of `only`, those of `priority` first, at most `limit`."""

    only: tuple[str, ...] = ()
    """Labels of trials or designs, or patterns with `*`; empty for all."""
    priority: tuple[str, ...] = ()
    """Likewise: trials that run before the others, in this order."""
    limit: int | None = None
    """Most trials; None for all."""

    def missing(self, plan: Plan) -> list[Planned]:
        """The selected trials of a plan that are missing, in the order in which they start: larger scales first.

        Raises:
            UsageError: a label or pattern matches no trial of the plan.
        """
        for option, patterns in (("--only", self.only), ("--priority", self.priority)):
            for pattern in patterns:
                _check(option, pattern, plan)
        trials = [p for p in plan.missing if not self.only or any(_matches(p, pattern) for pattern in self.only)]
        return sorted(trials, key=self._rank)[: self.limit]  # the sort keeps the plan's order among equals

    def within(self, plan: Plan) -> Plan:
        """The plan without missing trials that are not selected; errors as in `missing`."""
        keys = {planned.trial.key for planned in self.missing(plan)}
        return replace(plan, planned=[p for p in plan.planned if not p.is_missing or p.trial.key in keys])

    def _rank(self, planned: Planned) -> int:
        ranks = (index for index, pattern in enumerate(self.priority) if _matches(planned, pattern))
        return next(ranks, len(self.priority))


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a plan is run."""

    selection: Selection = field(default_factory=Selection)
    """Which of the missing trials run."""
    max_running: int | None = None
    """Most trials at a time; None for as many as their resources allow."""
    take_over: bool = False
    """Whether an expired lease of another driver is taken over."""
    uri: str | None = None
    """MLflow's tracking URI; None for `paths.store_uri()`."""
    claimed: Callable[[Claim], None] | None = None
    """Called when this process is the study's only driver, instead of `Claim.begin`."""


def _matches(planned: Planned, pattern: str) -> bool:
    labels = (planned.trial.label, planned.trial.design_label)
    return pattern in labels or any(fnmatchcase(label, pattern) for label in labels)


def _check(option: str, pattern: str, plan: Plan) -> None:
    """Check that a pattern matches a trial.

    Raises:
        UsageError: it does not; the message names the nearest labels.
    """
    if any(_matches(planned, pattern) for planned in plan.planned):
        return
    labels = dict.fromkeys(label for p in plan.planned for label in (p.trial.label, p.trial.design_label))
    nearest = get_close_matches(pattern, labels, n=3, cutoff=0.4) or list(labels)[:3]
    raise UsageError(
        f"{option} {pattern!r} matches no trial or design of the sweep; the nearest are {', '.join(nearest)} "
        "(`ablate plan` lists all; `*` stands for any characters)"
    )
