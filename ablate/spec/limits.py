"""Limits of a sweep and of its trials, and how often failed trials are retried."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: Any) -> float:
    """Seconds of a duration as people write it: `90s`, `20m`, `6h`, `3d`.

    Raises:
        ValueError: it is written otherwise.
    """
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{value!r} is no duration; write a number and s, m, h or d, as in 90s, 20m, 6h or 3d")
    return float(match[1]) * _SECONDS[match[2]]


def duration_text(seconds: float) -> str:
    """A duration as specs write it, in the largest unit that is whole: `90s`, `20m`, `6h`, `3d`."""
    unit, size = next(
        ((unit, size) for unit, size in reversed(_SECONDS.items()) if seconds >= size and seconds % size == 0),
        ("s", 1.0),
    )
    return f"{seconds / size:g}{unit}"


Duration = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=str)]
"""Seconds; written as a number and a unit: `90s`, `20m`, `6h`, `3d`."""


class Limits(BaseModel):
    """What ends an attempt or the sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    trial: Duration | None = None
    """Longest time of one attempt of a trial, as in `6h`."""
    silence: Duration | None = 3600.0
    """Longest time of an attempt without progress and without output, as in `20m`; an hour if omitted."""
    sweep: Duration | None = None
    """Longest time of the sweep, as in `3d`; trials that still run are interrupted, and run again next time."""
    gpu_hours: float | None = Field(default=None, gt=0, strict=True)
    """GPU-hours of all attempts of this run of the sweep; trials that still run are interrupted."""
    failures: int | None = Field(default=10, ge=1, strict=True)
    """Failed attempts in a row, of whichever trials, after which the sweep stops; 10 if omitted."""


NEVER_RETRIED = ("usage", "data", "diverged", "code")
"""Classes of failures that would repeat."""


class Retries(BaseModel):
    """Class of failure -> how often a trial is retried after failures of this class, each class counted alone.

    Failures of the classes `usage`, `data`, `diverged` and `code` are never retried: they would repeat.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    oom: int = Field(default=1, ge=0, strict=True)
    """Out of memory; the trainer can see in `{attempt}` that it runs again."""
    killed: int = Field(default=2, ge=0, strict=True)
    """Ended by signal 9, most often by the system for lack of memory."""
    timeout: int = Field(default=1, ge=0, strict=True)
    """Ended by `limits.trial` or `limits.silence`, or its process stopped."""
    node: int = Field(default=10, ge=0, strict=True)
    """Its machine was lost."""
    preempted: int = Field(default=100, ge=0, strict=True)
    """Its machine was taken away by the cluster."""
