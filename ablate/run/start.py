"""When an attempt began, on the clock for people and on the one for durations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of an attempt: now, unless it is stated.

    The clock of a machine may be set while an attempt runs; its duration, from which prices are measured, is not
    affected.
    """

    at: float = field(default_factory=time.time)
    """Unix time."""
    steady: float = field(default_factory=time.monotonic)
    """The same on a clock that nobody sets."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.steady
