"""The training curve of a trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ablate.record import AttemptFolder

CURVE_POINTS = 60
"""Number of points of a training curve: enough to show jumps, few enough for a store with thousands of trials."""


class TrainingCurve:
    """Writes the training curve: means over windows of equally many steps."""

    def __init__(self, folder: AttemptFolder) -> None:
        self._folder = folder
        self._window: list[dict[str, float]] = []
        self.samples = self.steps = self.shared = 0
        self.seconds = 0.0
        self._rate = 0.0
        self._last = 0  # the latest step of the points that an earlier attempt has written

    def add(self, step: dict[str, float]) -> float:
        """Add a training step; returns samples per second over the latest window."""
        previous, self.samples, self.steps = self.samples, int(step["samples"]), int(step["step"])
        self.shared += int(step["is_shared"])
        self.seconds += step["seconds"]
        if self.steps <= self._last:
            return self._rate or self.samples / self.seconds
        self._window.append(step | {"batch": self.samples - previous})
        if self.steps % max(1, int(step["steps"]) // CURVE_POINTS) == 0 or self.steps == step["steps"]:
            self._flush()
        return self._rate or self.samples / self.seconds

    def state(self) -> dict[str, Any]:
        """What the curve needs to go on in a later attempt, as JSON; its points are in the attempt's folder."""
        counters = {"samples": self.samples, "steps": self.steps, "seconds": self.seconds, "rate": self._rate}
        return counters | {"window": list(self._window)}

    def restore(self, state: Mapping[str, Any], last: int) -> None:
        """Go on from a state.

        Args:
            state: what `state` returned.
            last: step of the last point that the folder has; steps up to there, computed once more, add none.
        """
        self.samples, self.steps, self.seconds = state["samples"], state["steps"], state["seconds"]
        self._rate, self._last = state["rate"], last
        self._window = list(state["window"]) if last <= self.steps else []

    @property
    def counts(self) -> dict[str, float]:
        """Training samples, training steps, seconds of training."""
        return {"samples": self.samples, "steps": self.steps, "seconds_training": self.seconds}

    def _flush(self) -> None:
        window, seconds = self._window, sum(step["seconds"] for step in self._window)
        self._rate = sum(step["batch"] for step in window) / seconds
        means = {name: sum(step[name] for step in window) / len(window) for name in ("loss", "padding")}
        self._folder.event(
            {
                "step": self.steps,
                "samples": self.samples,
                "time": time.time(),
                "samples_per_s": self._rate,
                "tokens_per_s": sum(step["tokens"] for step in window) / seconds,
                **means,
            }
        )
        self._window = []
