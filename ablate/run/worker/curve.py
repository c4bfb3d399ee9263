"""The training curve of a trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ablate.record import AttemptFolder

if TYPE_CHECKING:
    from models.training import Step

CURVE_POINTS = 60
"""Most points of a training curve: enough to show jumps, few enough for a store with thousands of trials."""
POINT_S = 6.0
"""Least seconds of training from one point to the next, unless it is the first or the last of a stage: ten a minute."""


class TrainingCurve:
    """Writes the training curve: a point for the first and for the last step of each stage, and some between them.

    A point has the means over the steps since the one before. `tokens_per_s` are positions without padding, `data_wait`
    is the share of the time in which the model waited for data, `rate/PART` the learning rates of the last step.
    """

    def __init__(self, folder: AttemptFolder | None, stages: int = 1) -> None:
        """Begin before the first step.

        Args:
            folder: where the curve is written; None if another process of the trial writes it.
            stages: number of stages.
        """
        self._folder = folder
        self._between = max(1, CURVE_POINTS - 2 * stages)
        self._window: list[Step] = []
        self._stage: str | None = None
        self._samples_before = 0  # before the window
        self._window_s = self._useful = 0.0  # seconds, and positions without padding, of the window
        self.samples = self.steps = self.shared = 0
        self.seconds = 0.0
        self.samples_per_s = self.tokens_per_s = 0.0
        self._last = 0  # the latest step of the points that an earlier attempt has written

    def add(self, step: Step) -> None:
        """Add a training step."""
        is_new_stage = step.stage != self._stage
        if is_new_stage and self._window:
            self._write()  # the last steps of the stage before
        self._stage = step.stage
        self.samples, self.steps = step.samples, step.step
        self.shared += int(step.is_shared)
        self.seconds += step.seconds
        if step.step <= self._last:
            self._samples_before = step.samples
            return
        self._window.append(step)
        self._window_s += step.seconds
        self._useful += step.tokens * (1 - step.padding)
        if not self.samples_per_s or self._window_s >= 1.0:
            self._measure()
        if is_new_stage or step.step == step.steps or self._is_due(step):
            self._write()

    def state(self) -> dict[str, Any]:
        """What the curve needs to go on in a later attempt, as JSON; its points are in the attempt's folder."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "seconds": self.seconds,
            "stage": self._stage,
            "samples_before": self._samples_before,
            "window": [asdict(step) for step in self._window],
        }

    def restore(self, state: Mapping[str, Any], last: int) -> None:
        """Go on from a state.

        Args:
            state: what `state` returned.
            last: step of the last point that the folder has; steps up to there, computed once more, add none.
        """
        from models.training import Step

        self.samples, self.steps, self.seconds = state["samples"], state["steps"], state["seconds"]
        self._stage, self._last = state["stage"], last
        is_whole = last <= self.steps  # else the points have the steps of the window, too
        self._window = [Step(**step) for step in state["window"]] if is_whole else []
        self._samples_before = state["samples_before"] if is_whole else self.samples
        self._window_s = sum(step.seconds for step in self._window)
        self._useful = sum(step.tokens * (1 - step.padding) for step in self._window)

    @property
    def counts(self) -> dict[str, float]:
        """Training samples, training steps, seconds of training."""
        return {"samples": self.samples, "steps": self.steps, "seconds_training": self.seconds}

    def _is_due(self, step: Step) -> bool:
        return self._window_s >= POINT_S and len(self._window) >= math.ceil(step.steps / self._between)

    def _measure(self) -> None:
        """The speed over the window, which people see until the window is long enough for the next one."""
        seconds = max(1e-9, self._window_s)
        self.samples_per_s = (self.samples - self._samples_before) / seconds
        self.tokens_per_s = self._useful / seconds

    def _write(self) -> None:
        self._measure()
        if self._folder is not None:
            self._folder.event({"step": self.steps, "samples": self.samples, "time": time.time(), **self._point()})
        self._window, self._samples_before = [], self.samples
        self._window_s = self._useful = 0.0

    def _point(self) -> dict[str, float]:
        window, last, seconds = self._window, self._window[-1], max(1e-9, self._window_s)

        def mean(value: Callable[[Step], float]) -> float:
            return sum(map(value, window)) / len(window)

        return {
            "samples_per_s": self.samples_per_s,
            "tokens_per_s": self.tokens_per_s,
            "positions_per_s": sum(step.tokens for step in window) / seconds,
            "loss": mean(lambda step: step.loss),
            "padding": mean(lambda step: step.padding),
            "gradient_norm": mean(lambda step: step.gradient_norm),
            "data_wait": sum(step.data_s for step in window) / seconds,
            **{f"rate/{part}": rate for part, rate in last.rates.items()},
            **({"memory_gib": last.memory_bytes / 2**30} if last.memory_bytes else {}),
        }
