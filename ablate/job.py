"""What passes between the driver and a worker: a job to run, and the progress of it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to run one trial; plain data."""

    key: str
    label: str
    config: dict[str, object]
    """As `TrialConfig` reads it."""
    folder: str
    """The trial's folder."""
    cache: str
    """Folder of what trials share and can make again."""
    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Threads that a trial may spin: what it was given, so that two trials do not fight for cores."""
        return max(1, int(self.cpus))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a running trial is doing."""

    phase: Literal["preparing", "training", "testing", "done", "failed"]
    detail: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    samples_per_s: float | None = None
