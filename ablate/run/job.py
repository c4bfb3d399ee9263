"""The messages between the driver and a worker: a job to run, and its progress. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a worker needs to run one trial."""

    key: str
    label: str
    config: dict[str, object]
    """The config, as `TrialConfig` validates it."""
    folder: str
    """Path of the trial's folder."""
    cache: str
    """Path of the folder of reproducible files that trials share."""
    cpus: float
    """Number of CPU cores."""
    gpus: float
    """Number of GPUs."""

    @property
    def threads(self) -> int:
        """Number of threads: one per core of the trial, so that trials do not compete for cores."""
        return max(1, int(self.cpus))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a running trial."""

    phase: Literal["preparing", "training", "testing", "done", "failed"]
    detail: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    samples_per_s: float | None = None
