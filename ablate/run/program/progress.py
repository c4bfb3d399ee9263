"""Reading progress.jsonl while a program writes it."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from io import BufferedReader
from typing import Any

from pydantic import ValidationError

from ablate.record import AttemptFolder
from ablate.run.job import Progress
from ablate.run.program.schema import ProgressLine, problem_of

POINTS = 500
"""A metric enters the training curve at most each 1/500 of the steps: enough to show jumps, few enough for a store
with thousands of trials. The program's own file has all of them."""
READ_BYTES = 4 * 2**20
"""Most bytes that one call reads, so that a large file does not keep the agent from watching its processes."""
LINE_BYTES = 2**20
"""Longer lines are not progress."""


class ProgressFile:
    """Follows out/progress.jsonl of an attempt: each call returns what is new since the last one.

    Lines that are not progress are skipped and counted; the first is named in log.txt. A file that becomes shorter or
    is replaced is read again from its start; log.txt says so once.
    """

    def __init__(self, attempt: AttemptFolder) -> None:
        self.path = attempt.out / "progress.jsonl"
        self.lines = 0
        """Lines that are progress."""
        self.latest = Progress(phase="preparing")
        """The newest progress."""
        self.garbage = 0
        """Lines that are not."""
        self.first_garbage = ""
        """Number of the first line that is not progress, and what is wrong with it."""
        self._attempt = attempt
        self._position = self._number = self._inode = 0
        self._recorded: dict[str, int] = {}  # metric -> step of its latest point in the training curve
        self._not_finite: set[str] = set()
        self._has_restarted = False

    def new(self, *, has_ended: bool = False) -> list[Progress]:
        """The progress of each new line, oldest first.

        Args:
            has_ended: whether the program has ended: all that is left is read, and a last line without a line break
                is complete. Only the newest progress is returned then.
        """
        if not self.path.is_file():  # also a pipe, which would block the agent
            return []
        try:
            with self.path.open("rb") as file:
                new = self._read(file, has_ended)
                while has_ended and self._position < os.fstat(file.fileno()).st_size:
                    new = new[-1:] + self._read(file, has_ended)
        except FileNotFoundError:
            return []
        return new[-1:] if has_ended else new

    def _read(self, file: BufferedReader, has_ended: bool) -> list[Progress]:
        """Read one block, up to the end of its last line."""
        self._restart_if_replaced(file)
        file.seek(self._position)
        block = file.read(READ_BYTES)
        end = block.rfind(b"\n") + 1
        if (end == 0 and len(block) > LINE_BYTES) or (has_ended and len(block) < READ_BYTES):
            end = len(block)
        self._position += end
        lines = block[:end].split(b"\n")
        return [progress for line in lines[: -1 if lines[-1] == b"" else None] if (progress := self._take(line))]

    def _restart_if_replaced(self, file: BufferedReader) -> None:
        state = os.fstat(file.fileno())
        if self._position and (state.st_size < self._position or state.st_ino != self._inode):
            if not self._has_restarted:
                self._has_restarted = True
                self._attempt.log_line(
                    f"{self.path} became shorter or was replaced, and is read from its start; open it to append, since "
                    "lines may be missed otherwise"
                )
            self._position = self._number = 0
        self._inode = state.st_ino

    def _take(self, text: bytes) -> Progress | None:
        """The progress after a line; None if it is empty or no progress."""
        self._number += 1
        if not text.strip():
            return None
        try:
            line = self._parse(text)
        except ValueError as error:
            self.garbage += 1
            if self.garbage == 1:
                problem = problem_of(error) if isinstance(error, ValidationError) else str(error)
                self.first_garbage = f"line {self._number}: {problem}"
                self._attempt.log_line(f"{self.path} {self.first_garbage}; such lines are skipped")
            return None
        self.lines += 1
        self._advance(line)
        self._record(line)
        return self.latest

    @staticmethod
    def _parse(text: bytes) -> ProgressLine:
        if len(text) > LINE_BYTES:
            raise ValueError(f"{len(text):,} bytes; at most {LINE_BYTES:,} are read as one line")
        try:
            return ProgressLine.model_validate(json.loads(text.decode("utf-8", errors="replace")))
        except RecursionError:
            raise ValueError("not one object, but nested too deeply") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error}): {text[:80].decode('utf-8', errors='replace')!r}") from None

    def _advance(self, line: ProgressLine) -> None:
        phase = line.phase or ("training" if line.step is not None else self.latest.phase)
        changes: dict[str, Any] = {"phase": phase}
        for name in ("step", "steps", "loss", "samples_per_s"):
            value = getattr(line, name)
            if value is not None and math.isfinite(value):
                changes[name] = value
        self.latest = replace(self.latest, **changes)

    def _record(self, line: ProgressLine) -> None:
        """Append the line's metrics to the training curve, each at most `POINTS` times."""
        step, steps = self.latest.step, self.latest.steps
        interval = max(1, max(steps or 0, step) // POINTS)
        metrics = {"loss": line.loss, "samples_per_s": line.samples_per_s, **(line.model_extra or {})}
        due: dict[str, float] = {}
        for name, value in metrics.items():
            if value is None or name == "time":
                continue
            if not math.isfinite(value):
                if name not in self._not_finite:
                    self._not_finite.add(name)
                    self._attempt.log_line(
                        f"{name} is {value} at step {step}; NaN and infinite values are left out of the curve"
                    )
            elif self._is_due(step - self._recorded.get(name, -interval), interval, is_last=step == steps):
                self._recorded[name] = step
                due[name] = value
        if due:
            self._attempt.event({"step": step, "time": time.time(), **due})

    @staticmethod
    def _is_due(distance: int, interval: int, *, is_last: bool) -> bool:
        """Whether a point is far enough from the metric's latest one; the last step has one however near that is."""
        return abs(distance) >= interval or (is_last and distance != 0)
