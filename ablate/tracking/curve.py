"""Training curves on their way to MLflow: the lines of an attempt's events.jsonl that are not there yet."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import Metric

from ablate.tracking import encode


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The part of an attempt's training curve that is in MLflow."""

    path: Path
    """The attempt's events.jsonl."""
    offset: int = 0
    """Number of bytes that are in MLflow."""
    mirrored: frozenset[tuple[int, int]] = frozenset()
    """Time in ms and step of points that are in MLflow from earlier attempts: one that resumes repeats theirs."""

    def of_attempt(self, path: Path) -> Curve:
        """The curve of another attempt of the trial, none of whose points are in MLflow, except those of this one."""
        try:
            with self.path.open("rb") as file:
                lines = file.read(self.offset).splitlines()
        except FileNotFoundError:
            lines = []
        positions = {(point.timestamp, point.step) for line in lines for point in _points(line)}
        return Curve(path=path, mirrored=self.mirrored | positions)

    def rest(self) -> tuple[list[Metric], Curve]:
        """The points that are not in MLflow, and the curve once they are.

        A last line without its end is still being written, and stays for the next time.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                text = file.read()
        except FileNotFoundError:
            return [], self
        end = text.rfind(b"\n") + 1
        points = [point for line in text[:end].splitlines() for point in _points(line)]
        points = [point for point in points if (point.timestamp, point.step) not in self.mirrored]
        return points, replace(self, offset=self.offset + end)


def _points(line: bytes) -> list[Metric]:
    """Metrics of one point; a line that is not an object of JSON has none."""
    try:
        event = json.loads(line)
    except ValueError:
        return []
    if not isinstance(event, dict):
        return []
    stamp_ms, step = encode.event_position(event)
    return [Metric(key, value, stamp_ms, step) for key, value in encode.event_metrics(event).items()]
