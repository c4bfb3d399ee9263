"""Trial folders: description, attempts and result of a trial. Written atomically, `result.json` last and once.

A folder `trials/<key>/` contains
  trial.json           description: config, labels, study, sweep
  attempts/N/          the files of each attempt (ablate/record/attempts.py)
  result.json          scores, seconds, environment; exists only when the trial is finished, and never changes
`result.json` contains the digests of trial.json and of the files of its attempt, and of its own content; who reads one
of them compares them. Several attempts may run at a time, where one was given up but went on: exactly one finishes.
Imported scores are stored the same way, with `source: import`, without attempts and digests of other files; a later
import may replace them. Records of version 1 stay readable: they have the files of the latest attempt in the trial's
folder, and failures in `attempts/N.json`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.paths import StudyPaths
from ablate.record.attempts import SCHEMA_VERSION, AttemptFolder, Failure, read_events
from ablate.record.digests import file_digest, text_with_digest, verify_content, verify_file, verify_own_digest
from ablate.record.files import (
    RecordError,
    make_folder,
    parse_record,
    read_bytes,
    read_json,
    read_record,
    sync_file,
    sync_folder,
    write_json,
    write_text,
)
from ablate.record.notices import report_damage

ABOUT, RESULT = "trial.json", "result.json"
Value = str | int | float | bool


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
class Result:
    """result.json: scores and provenance of a finished trial."""

    key: str
    attempt: int
    scores: list[Score]
    seconds: float
    started_at: float
    """Unix time."""
    ended_at: float
    """Unix time; for imported scores, whose trial's end is unknown, the time of the import."""
    environment: dict[str, str]
    """Git commit, versions, device."""
    counts: dict[str, float] = field(default_factory=dict)
    """Training samples, training steps, seconds of training."""
    files: dict[str, str] = field(default_factory=dict)
    """Path below the trial's folder -> sha256, for trial.json and the files of the attempt."""
    schema_version: int = SCHEMA_VERSION


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

    def file(self, name: str) -> Path:
        """The path of a file of the finished attempt or, without a result, of the latest one."""
        folder = TrialFolder(self.path)
        return (folder.path_of(self.result) if self.result else folder.latest()) / name

    def verified(self, name: str) -> Path:
        """Same as `file`, after a comparison with the digest in the result, if it has one.

        Raises:
            RecordError: the file has changed since the trial finished.
        """
        path = self.path / name if name == ABOUT else self.file(name)
        digests = self.result.files if self.result else {}
        if stated := digests.get(str(path.relative_to(self.path))):
            verify_file(path, stated)
        return path

    def damage(self) -> Iterator[RecordError]:
        """An error for each file that the result covers and that was changed or removed since. Reads all of them."""
        for name, stated in (self.result.files if self.result else {}).items():
            if name == ABOUT and not _covers_about(self.result):
                continue
            try:
                verify_file(self.path / name, stated)
            except RecordError as error:
                yield error


_ATTEMPT = re.compile(r"(0|[1-9][0-9]{0,8})(\.json)?")
"""Name of an attempt's folder, or of the record of a failure of version 1."""


@dataclass(frozen=True)
class TrialFolder:
    """Reads and writes one trial's folder."""

    path: Path

    def describe(self, about: About) -> None:
        """Write trial.json, unless it has the same content already, or the trial is finished: its result covers it."""
        data = asdict(about)
        if not (self.path / RESULT).exists() and read_json(self.path / ABOUT) != data:
            write_json(self.path / ABOUT, data)

    def begin(self) -> AttemptFolder:
        """Make the folder of a new attempt: the next number, also if others make one at the same time.

        The trial may have finished meanwhile, by an attempt that was given up but went on.
        """
        make_folder(self.path / "attempts")
        while True:
            path = self.path / "attempts" / str(max((number for number, _ in self._entries()), default=-1) + 1)
            try:
                path.mkdir()
            except FileExistsError:  # another process was faster
                continue
            sync_folder(path.parent)
            return AttemptFolder(path)

    def attempts(self) -> list[AttemptFolder]:
        """All attempts, oldest first, finished or not."""
        return [AttemptFolder(path) for _, path in self._entries() if path.is_dir()]

    def latest(self) -> Path:
        """Folder of the latest attempt; of the trial if there is none, or if its record is of version 1."""
        attempts = self.attempts()
        return attempts[-1].path if attempts else self.path

    def path_of(self, result: Result) -> Path:
        """Folder of the attempt that finished; of the trial if its record is of version 1, or was imported."""
        folder = self.path / "attempts" / str(result.attempt)
        return folder if folder.is_dir() else self.path

    def file(self, name: str) -> Path:
        """The path of a file of the finished attempt or, without a result, of the latest one."""
        result = self.result()
        return (self.path_of(result) if result else self.latest()) / name

    def events(self) -> list[dict[str, float]]:
        """The training curve of the finished attempt or, without a result, of the latest one."""
        return read_events(self.file("events.jsonl"))

    def failures(self) -> tuple[Failure, ...]:
        """Failed attempts, oldest first. A damaged record of one is left out and logged: it is no reason to stop."""
        failures = []
        for _, path in self._entries():
            try:
                file = path if path.suffix else path / "failure.json"
                failures.append(read_record(Failure, file, SCHEMA_VERSION))
            except RecordError as error:
                report_damage(error)
        return tuple(failure for failure in failures if failure is not None)

    def _entries(self) -> list[tuple[int, Path]]:
        """Number and path of each attempt: a folder, or a JSON file of version 1. Other names are ignored."""
        folder = self.path / "attempts"
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return []
        return sorted((int(match[1]), folder / match[0]) for name in names if (match := _ATTEMPT.fullmatch(name)))

    def finish(self, result: Result) -> None:
        """Make the attempt's files durable, then write result.json, the last file: the trial is then done.

        Raises:
            FileExistsError: another attempt has finished; its result stays.
        """
        covered = AttemptFolder(self.path / "attempts" / str(result.attempt)).covered()
        about = [path for path in (self.path / ABOUT,) if path.is_file()]
        digests = {}
        for path in (*covered, *about):
            sync_file(path)
            digests[str(path.relative_to(self.path))] = file_digest(path)
        for folder in dict.fromkeys(path.parent for path in covered):
            sync_folder(folder)
        write_text(self.path / RESULT, text_with_digest(asdict(result) | {"files": digests}), once=True)

    def remove_checkpoints(self) -> None:
        """Remove the states of training of all attempts: those of a trial with a result are of no use."""
        for attempt in self.attempts():
            shutil.rmtree(attempt.checkpoints, ignore_errors=True)

    def import_result(self, about: About, result: Result) -> None:
        """Write imported scores; they replace those of an earlier import."""
        if read_json(self.path / ABOUT) != asdict(about):
            write_json(self.path / ABOUT, asdict(about))
        write_text(self.path / RESULT, text_with_digest(asdict(result)))

    def result(self) -> Result | None:
        """The result, if the trial is done.

        Raises:
            RecordError: it cannot be read as a record of this or an earlier version, or differs from its digest.
        """
        path = self.path / RESULT
        content = read_bytes(path)
        if content is None:
            return None
        result = parse_record(Result, path, content, SCHEMA_VERSION)
        verify_own_digest(path, content, is_required=result.schema_version > 1)
        return result

    def read(self) -> Record | None:
        """Read the folder; None if it has no trial.json.

        Raises:
            RecordError: a file cannot be read as a record of this or an earlier version, or differs from its digest.
        """
        path = self.path / ABOUT
        content, result = read_bytes(path), self.result()
        if content is None:
            if result is None:
                return None
            raise RecordError(f"{path} is missing, but the trial has a result; restore it, or move its folder away")
        about = parse_record(About, path, content, SCHEMA_VERSION)
        if result and _covers_about(result):
            verify_content(path, content, result.files[ABOUT])
        return Record(about=about, result=result, failures=self.failures(), path=self.path)


def _covers_about(result: Result | None) -> bool:
    """Whether the digest of trial.json is current: ablate of version 1 wrote the file again for later sweeps."""
    return result is not None and ABOUT in result.files and result.schema_version > 1


def folder_of(paths: StudyPaths, key: str) -> TrialFolder:
    """The folder of a trial, whether or not it exists."""
    return TrialFolder(paths.trials / key)
