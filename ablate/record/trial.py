"""Trial folders: config, training curve, failures and result of a trial. Written atomically, `result.json` last.

A folder `trials/<key>/` contains
  trial.json           description: config, labels, study, sweep
  events.jsonl         training curve of the current attempt, one line per report
  attempts/N.json      class, message and traceback of a failed attempt
  predictions.parquet  one row per question and modality
  log.txt              log of the trial, a few lines
  skipped.json         records that the trial skipped since their media cannot be read; only if there are any
  result.json          scores, seconds, environment, digests of the files above; exists only when the trial is finished
Imported scores are stored the same way, with `source: import` and without events.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from ablate.paths import StudyPaths
from ablate.record.files import RecordError, invalid_json, read_json, write_json

SCHEMA_VERSION = 1
FailureClass = Literal["error", "diverged", "killed", "interrupted"]

Value = str | int | float | bool
T = TypeVar("T", "About", "Failure", "Result")


@dataclass(frozen=True, kw_only=True)
class About:
    """trial.json: description of a trial."""

    key: str
    design_key: str
    label: str
    design_label: str
    study: str
    sweep: str
    scale: str
    seed: int
    samples: int | None
    """Number of training samples; None if scores were imported without it."""
    axes: dict[str, Value]
    config: dict[str, Value]
    """The whole config, flattened: dotted path -> value."""
    resolved: dict[str, Any]
    """The same config, nested, as `TrialConfig` validates it."""
    source: Literal["trial", "import"] = "trial"
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score, of a benchmark, a category and a modality (video, frame, text)."""

    benchmark: str
    category: str
    modality: str
    score: float
    """In the unit of the benchmark."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """attempts/N.json: how a failed attempt ended."""

    attempt: int
    kind: FailureClass
    message: str
    traceback: str
    seconds: float
    ended_at: float
    """Unix time."""
    environment: dict[str, str] = field(default_factory=dict)
    """Same as in `Result`."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class Result:
    """result.json: scores and provenance of a finished trial."""

    key: str
    attempt: int
    scores: list[Score]
    seconds: float
    started_at: float
    """Unix time."""
    ended_at: float
    environment: dict[str, str]
    """Git commit, versions, device."""
    counts: dict[str, float] = field(default_factory=dict)
    """Training samples, training steps, seconds of training."""
    files: dict[str, str] = field(default_factory=dict)
    """File name -> sha256, for the other files of this folder."""
    schema_version: int = SCHEMA_VERSION


_READERS: dict[Any, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (About, Failure, Result)}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that a trial folder contains."""

    about: About
    result: Result | None
    failures: tuple[Failure, ...]
    path: Path

    @property
    def status(self) -> Literal["done", "failed", "unfinished"]:
        """`failed` if its last attempt failed; `unfinished` if it was interrupted or there was none."""
        if self.result is not None:
            return "done"
        if self.failures and self.failures[-1].kind != "interrupted":
            return "failed"
        return "unfinished"


@dataclass(frozen=True)
class TrialFolder:
    """Reads and writes one trial's folder."""

    path: Path

    def describe(self, about: About) -> None:
        """Write trial.json, unless it has the same content already."""
        data = asdict(about)
        if read_json(self.path / "trial.json") != data:
            write_json(self.path / "trial.json", data)

    def begin(self) -> int:
        """Remove files of an interrupted attempt; returns the number of this attempt."""
        assert self.result() is None, "a finished trial is never run again"
        for name in ("events.jsonl", "predictions.parquet", "log.txt", "skipped.json"):
            (self.path / name).unlink(missing_ok=True)
        return len(self.failures())

    def event(self, values: dict[str, float]) -> None:
        """Append one point of the training curve; `step` is among the values."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def events(self) -> list[dict[str, float]]:
        """The training curve, without a last line that a killed process left incomplete."""
        try:
            lines = (self.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        points = []
        for line in lines:
            try:
                points.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return points

    def skipped(self, records: list[dict[str, Any]]) -> None:
        """Record which records of the data the trial skips, each with the reason."""
        write_json(self.path / "skipped.json", records)

    def fail(self, failure: Failure) -> None:
        """Record a failed attempt."""
        write_json(self.path / "attempts" / f"{failure.attempt}.json", asdict(failure))

    def failures(self) -> tuple[Failure, ...]:
        """Failed attempts, oldest first."""
        paths = sorted((self.path / "attempts").glob("*.json"), key=lambda p: int(p.stem))
        return tuple(failure for path in paths if (failure := self._checked(Failure, path)))

    def finish(self, result: Result) -> None:
        """Write result.json, the last file: the trial is then done."""
        present = [p for p in self.path.iterdir() if p.is_file() and p.name != "result.json"]
        digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(present)}
        write_json(self.path / "result.json", asdict(result) | {"files": digests})

    def result(self) -> Result | None:
        """The result, if the trial is done."""
        return self._checked(Result, self.path / "result.json")

    def _checked(self, kind: type[T], path: Path) -> T | None:
        """Read a file as a record and check its types; None if there is no such file.

        Raises:
            RecordError: it cannot be read as a record of this or an earlier version.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise invalid_json(path, error) from None
        try:
            record: T = _READERS[kind].validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] == "json_invalid":
                raise invalid_json(path, first["msg"]) from None
            where = ".".join(str(piece) for piece in first["loc"])
            raise RecordError(
                f"{self.path} is not a readable trial folder ({where}: {first['msg']}); move it away to continue"
            ) from None
        if record.schema_version > SCHEMA_VERSION:
            raise RecordError(f"{self.path} was written by a newer ablate; update to read it")
        return record

    def read(self) -> Record | None:
        """Read the folder; None if it has no trial.json.

        Raises:
            RecordError: a file cannot be read as a record of this or an earlier version.
        """
        about = self._checked(About, self.path / "trial.json")
        if about is None:
            return None
        return Record(about=about, result=self.result(), failures=self.failures(), path=self.path)


def folder_of(paths: StudyPaths, key: str) -> TrialFolder:
    """The folder of a trial, whether or not it exists."""
    return TrialFolder(paths.trials / key)
