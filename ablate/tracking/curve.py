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
    mirrored: frozenset[bytes] = frozenset()
    """Lines of earlier attempts that are in MLflow: an attempt that resumes repeats them."""

    def of_attempt(self, path: Path) -> Curve:
        """The curve of another attempt of the trial, of which only what it has in common with this one is in MLflow."""
        try:
            with self.path.open("rb") as file:
                lines = file.read(self.offset).splitlines()
        except FileNotFoundError:
            lines = []
        return Curve(path=path, mirrored=self.mirrored.union(lines))

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
        lines = (line for line in text[:end].splitlines() if line not in self.mirrored)
        points = [point for line in lines for point in _points(line)]
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
