"""What ends a sweep early: its limits of time and GPU-hours, and failures in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ablate.record import Failure
from ablate.run.job import Job
from ablate.spec import Limits, duration_text

CHECK_EVERY_S = 1.0
"""Seconds between two looks at the limits."""
NOT_COUNTED = frozenset({"preempted", "interrupted", "diverged"})
"""Classes of failures that say nothing about the sweep's machinery: they do not count as failures in a row."""
SAME_LOSS_S = 60.0
"""Seconds within which the attempts that a lost node ran count as one failure."""


@contextmanager
def watched(limits: Limits, gpu_seconds: Callable[[], float], exceed: Callable[[str], None]) -> Iterator[None]:
    """Watch the limits of a sweep in a thread, so that they hold although no event arrives.

    Args:
        limits: the limits.
        gpu_seconds: the GPU-seconds that the sweep has used.
        exceed: called at most once, from the thread, with a message.
    """
    ended, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(CHECK_EVERY_S):
            message = _exceeded(limits, time.monotonic() - began, gpu_seconds())
            if message is not None:
                return exceed(message)

    if limits.sweep is not None or limits.gpu_hours is not None:
        threading.Thread(target=watch, name="ablate-limits", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _exceeded(limits: Limits, seconds: float, gpu_seconds: float) -> str | None:
    """Which limit a sweep has reached, and what to do."""
    again = "run the same command to continue with the missing trials, or change the limit in the spec"
    if limits.sweep is not None and seconds >= limits.sweep:
        return f"`limits.sweep` is reached: the sweep ran for {duration_text(limits.sweep)}; {again}"
    if limits.gpu_hours is not None and gpu_seconds >= 3600 * limits.gpu_hours:
        return f"`limits.gpu_hours` is reached: the attempts of this run used {limits.gpu_hours:g} GPU-hours; {again}"
    return None


class Breaker:
    """Counts failed attempts in a row, of whichever trials: many mean that something other than a design is broken."""

    def __init__(self, most: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero.

        Args:
            most: number of failures in a row after which no more trials start; None for no limit.
            clock: seconds.
        """
        self._most, self._clock = most, clock
        self._in_row: list[tuple[Job, Failure]] = []
        self._lost_nodes: dict[str, float] = {}

    def succeeded(self) -> None:
        """A trial is done."""
        self._in_row.clear()

    def failed(self, job: Job, failure: Failure) -> str | None:
        """An attempt failed; returns a message when the limit is reached, once."""
        if self._most is None or failure.kind in NOT_COUNTED or self._is_same_loss(failure):
            return None
        self._in_row.append((job, failure))
        if len(self._in_row) != self._most:
            return None
        count = f"{self._most} failed attempts" if self._most > 1 else "a failed attempt"
        return (
            f"no more trials are started after {count} in a row (`limits.failures`), running ones go on; "
            f"{self._causes()}; fix the cause and run the same command, or raise the limit in the spec"
        )

    def _is_same_loss(self, failure: Failure) -> bool:
        """Whether another attempt was lost together with the same node."""
        if failure.kind != "node" or not failure.node:
            return False
        lost_at, now = self._lost_nodes.get(failure.node), self._clock()
        self._lost_nodes[failure.node] = now
        return lost_at is not None and now - lost_at < SAME_LOSS_S

    def _causes(self) -> str:
        """The classes of the failures, each with its number and its first message."""
        by_class: dict[str, list[tuple[Job, Failure]]] = {}
        for job, failure in self._in_row:
            by_class.setdefault(failure.kind, []).append((job, failure))
        return "; ".join(
            f"{len(group)} {kind}, first {group[0][0].label}: {group[0][1].message}" for kind, group in by_class.items()
        )
