"""Attempts: each run of a trial has a folder of its own, so that no process writes into the files of another.

A folder `trials/<key>/attempts/<N>/` contains
  config.json          what the attempt ran: the config, and the program if it is not ablate's own trainer
  log.txt              log of the trial, a few lines
  stdout.txt, stderr.txt  output of its first process; those of further processes are stdout-1.txt, ...
  events.jsonl         training curve, one line per report
  predictions.parquet  one row per question and modality
  skipped.json         records that the trial skipped since their media cannot be read; only if there are any
  out/                 files of a program that is not ablate's own trainer, `{out}` in its command
  checkpoints/         states of training from which a later attempt resumes; removed once the trial has a result
  weights/             the trained model with a card, if it is kept (models/architecture/model_folder.py)
  failure.json         class, message and traceback, if it failed
An attempt that goes on after another one has finished (its node was given up, but still runs) changes only these files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.record.files import read_record, write_json

SCHEMA_VERSION = 2
"""2: attempts have folders of their own. 1: all files of the latest attempt are in the trial's folder."""

FailureClass = Literal[
    "usage", "data", "diverged", "code", "oom", "killed", "node", "preempted", "timeout", "interrupted", "error"
]
"""Why an attempt failed (docs/reliability.md). `interrupted`: its sweep ended; `error`: records of version 1."""
WEIGHTS = "weights"
COVERED = (
    "config.json",
    "log.txt",
    "events.jsonl",
    "predictions.parquet",
    "skipped.json",
    "out/result.json",
    "out/progress.jsonl",
)
"""Files of an attempt whose digests are in the trial's result. Not the output of its processes, which may go on after
the result; not checkpoints and further files of the user's program, which may be large. All of `weights/` is covered,
too."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """failure.json: how a failed attempt ended."""

    attempt: int
    kind: FailureClass
    message: str
    traceback: str
    seconds: float
    ended_at: float
    """Unix time."""
    node: str = ""
    """Host name of the machine that it ran on, for people: executors know nodes by names of their own."""
    environment: dict[str, str] = field(default_factory=dict)
    """Same as in `Result`."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class AttemptFolder:
    """Reads and writes the folder of one attempt."""

    path: Path

    @property
    def number(self) -> int:
        """Number of the attempt, from 0."""
        return int(self.path.name)

    @property
    def out(self) -> Path:
        """Folder for the files of a program that is not ablate's own trainer."""
        return self.path / "out"

    @property
    def checkpoints(self) -> Path:
        """Folder for states of training."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """Folder of the trained model; it does not exist if the trial keeps none."""
        return self.path / WEIGHTS

    @property
    def log(self) -> Path:
        """The log of the trial."""
        return self.path / "log.txt"

    @property
    def predictions(self) -> Path:
        """One row per question and modality."""
        return self.path / "predictions.parquet"

    def stdout(self, process: int = 0) -> Path:
        """Standard output of a process of the attempt."""
        return self.path / (f"stdout-{process}.txt" if process else "stdout.txt")

    def stderr(self, process: int = 0) -> Path:
        """Standard error of a process of the attempt."""
        return self.path / (f"stderr-{process}.txt" if process else "stderr.txt")

    def covered(self) -> list[Path]:
        """The files whose digests a result contains, those that exist."""
        weights = sorted(path for path in self.weights.rglob("*") if path.is_file())
        return [*(path for name in COVERED if (path := self.path / name).is_file()), *weights]

    def log_line(self, line: str) -> None:
        """Append a line to log.txt, after the time of day."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    def configured(self, config: Mapping[str, Any]) -> None:
        """Write config.json."""
        write_json(self.path / "config.json", dict(config))

    def event(self, values: Mapping[str, float]) -> None:
        """Append one point of the training curve; `step` is among the values."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(values)) + "\n")

    def events(self) -> list[dict[str, float]]:
        """The training curve, without a last line that a killed process left incomplete."""
        return read_events(self.path / "events.jsonl")

    def skipped(self, records: list[dict[str, Any]]) -> None:
        """Record which records of the data the trial skips, each with the reason."""
        write_json(self.path / "skipped.json", records)

    def fail(self, failure: Failure) -> None:
        """Record that the attempt failed."""
        write_json(self.path / "failure.json", asdict(failure))

    def failure(self) -> Failure | None:
        """How it failed; None if it did not, or has no record of it.

        Raises:
            RecordError: the record cannot be read.
        """
        return read_record(Failure, self.path / "failure.json", SCHEMA_VERSION)


def read_events(path: Path) -> list[dict[str, float]]:
    """The complete lines of an events.jsonl; empty if there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    points = []
    for line in lines:
        try:
            point = json.loads(line)
        except ValueError:
            continue
        if isinstance(point, dict):
            points.append(point)
    return points
