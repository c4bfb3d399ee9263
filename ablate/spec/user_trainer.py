"""The user's own trainer of a spec with its files: their digests, absolute paths, what ranks and what trials cost.

Digests are taken once, when a spec is read, so that a sweep keeps its trials while somebody edits the code; each
attempt compares the files with `code` before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import SpecError
from ablate.paths import cache_root, runs_root
from ablate.spec.file_trees import TreeState, files_of, tree_state
from ablate.spec.keys import digest
from ablate.spec.source import Location, Source
from ablate.spec.trainer import Cost, Metric, Trainer
from models.weights import combined_digest, file_digest

_PATH = re.compile(r"(?!\w+://)((~|\.{0,2})/.*|[^\s]*/[^\s/]*\.[A-Za-z]\w{0,5})")
"""A text that is meant as a path: it begins like one, or has a folder and a file's suffix. Hub ids have no suffix."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """The value of a key of a spec, and the file that states it: the spec's own, or that of its base."""

    value: Any
    source: Source

    def error(self, location: Location, message: str) -> SpecError:
        """The error at a line of the file that states the value."""
        return self.source.error(location, message)


@dataclass(frozen=True, kw_only=True)
class UserTrainer:
    """The user's own trainer, resolved: where it starts, what identifies it, its data."""

    trainer: Trainer
    workdir: Path
    """Absolute path of the folder that the program starts in."""
    code: Mapping[str, str]
    """Path below `workdir` -> sha256 of each file of code; empty if the spec has a `version` instead."""
    identity: Mapping[str, Any]
    """What stands for the program in a trial's key: `{command, code}` or `{version}`."""
    data: Any
    """The spec's `data` with absolute paths."""
    data_digest: str | None
    """Digest of `data` with the content of the files that it names; None if it names none."""
    data_files: Mapping[str, TreeState]
    """Path of each file or folder that `data` names -> its state."""
    metric: Metric
    cost: Cost | None
    notes: tuple[str, ...] = ()
    """What a plan reports, one sentence each."""


def resolved_trainer(stated: Mapping[str, Stated]) -> UserTrainer:
    """The trainer of a spec with its files.

    Args:
        stated: `trainer`, and `data`, `metric` and `cost` where the spec or its base states them.

    Raises:
        SpecError: a folder or file is missing or cannot be read, or `metric` is missing or malformed.
    """
    trainer: Trainer = stated["trainer"].value
    workdir, notes = _workdir(stated["trainer"])
    files = _code_files(stated["trainer"], workdir)
    if any(Path(name) == Path() for name in trainer.code):
        notes.append(
            f"trainer.code: `.` stands for {len(files)} files, and for any that the program writes into {workdir}, "
            "which make new trials of all; name the files and folders of code instead"
        )
    data, data_files, data_notes = _data(stated.get("data"))
    try:
        code = {name: file_digest(path, cache_root()) for name, path in files.items()}
        combined = combined_digest(files, cache_root())
    except OSError as error:
        raise _unreadable(stated["trainer"], ("trainer", "code"), error) from None
    identity: dict[str, Any] = {"version": trainer.version}
    if trainer.version is None:
        identity = {"command": [one if isinstance(one, str) else [*one] for one in trainer.command], "code": combined}
    return UserTrainer(
        trainer=trainer,
        workdir=workdir,
        code=code,
        identity=identity,
        data=data,
        data_digest=digest(_with_digests(data, data_files)) if data_files else None,
        data_files=data_files,
        metric=_metric(stated),
        cost=stated["cost"].value if "cost" in stated else None,
        notes=(*notes, *data_notes),
    )


def _workdir(stated: Stated) -> tuple[Path, list[str]]:
    """The absolute path of the folder that the program starts in, and a note if it is not on this machine."""
    trainer: Trainer = stated.value
    try:
        workdir = (stated.source.path.parent / Path(trainer.workdir).expanduser()).resolve()
        is_here = workdir.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long for a path; `~name` of no user; a null character
        raise stated.error(("trainer", "workdir"), f"{trainer.workdir!r}: {error}") from None
    if is_here:
        return workdir, []
    if trainer.version is None:
        raise stated.error(("trainer", "workdir"), f"there is no folder {workdir}")
    return workdir, [f"trainer.workdir: there is no folder {workdir} on this machine; its nodes need it"]


def _code_files(stated: Stated, workdir: Path) -> dict[str, Path]:
    """The files of code: path below `workdir` -> path.

    Raises:
        SpecError: one is missing, or not below `workdir`.
    """
    trainer: Trainer = stated.value
    files: dict[str, Path] = {}
    for number, name in enumerate(trainer.code):
        location, path = ("trainer", "code", number), Path(workdir / name)
        if not name or ".." in Path(name).parts or Path(name).is_absolute():
            raise stated.error(location, f"{name!r} is not a path below `workdir`, {workdir}; set `workdir` above it")
        if _existing(name, workdir) is None:
            raise stated.error(location, f"there is no file or folder {path}; patterns such as *.py are not expanded")
        try:
            inner = files_of(path, (runs_root(), cache_root()))
        except OSError as error:
            raise _unreadable(stated, location, error) from None
        if not inner:
            raise stated.error(location, f"the folder {path} has no files")
        top = Path(name).as_posix()
        files |= {top: path} if path.is_file() else {_below(top, below): file for below, file in inner.items()}
    return dict(sorted(files.items()))


def _below(top: str, inner: str) -> str:
    return inner if top == "." else f"{top}/{inner}"


def _data(stated: Stated | None) -> tuple[Any, dict[str, TreeState], list[str]]:
    """A spec's `data` with absolute paths, the states of the files that it names, and notes.

    Raises:
        SpecError: a file cannot be read.
    """
    if stated is None:
        return None, {}, []
    paths: dict[str, Path] = {}
    notes: list[str] = []

    def absolute(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: absolute(item) for key, item in value.items()}
        if isinstance(value, list):
            return [absolute(item) for item in value]
        if not isinstance(value, str):
            return value
        path = _existing(value, stated.source.path.parent)
        if path is None:
            if _PATH.fullmatch(value):
                notes.append(f"data: there is no file or folder {value}; the text is passed on unchanged")
            return value
        paths[str(path)] = path
        return str(path)

    data = absolute(stated.value)
    try:
        states = {name: tree_state(path, runs_root(), cache_root()) for name, path in paths.items()}
    except OSError as error:
        raise _unreadable(stated, ("data",), error) from None
    return data, states, notes


def _existing(text: str, folder: Path) -> Path | None:
    """The absolute path of the file or folder that a text names, relative to a folder; None if it names none."""
    try:
        path = (folder / Path(text).expanduser()).resolve()
        return path if text.strip() and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path; `~name` of no user; a null character
        return None


def _with_digests(data: Any, states: Mapping[str, TreeState]) -> Any:
    """Data with each path replaced by the digest of its content."""
    if isinstance(data, Mapping):
        return {key: _with_digests(item, states) for key, item in data.items()}
    if isinstance(data, list):
        return [_with_digests(item, states) for item in data]
    return {"content": states[data]["digest"]} if isinstance(data, str) and data in states else data


def _metric(stated: Mapping[str, Stated]) -> Metric:
    """What ranks the designs.

    Raises:
        SpecError: it is missing, or has no benchmark or no category.
    """
    if "metric" not in stated:
        raise stated["trainer"].error(
            ("metric",), "missing; with a trainer of your own, name the score that ranks: metric: benchmark/category"
        )
    metric: Metric = stated["metric"].value
    benchmark, _, category = metric.name.partition("/")
    if not benchmark or not category or "/" in category or any(c.isspace() for c in metric.name):
        raise stated["metric"].error(
            ("metric",),
            f"{metric.name!r} is not `benchmark/category`; the category of a benchmark's only score is "
            f"overall: {benchmark.strip() or 'benchmark'}/overall",
        )
    return metric


def _unreadable(stated: Stated, location: Location, error: OSError) -> SpecError:
    return stated.error(location, f"cannot read {error.filename}: {error.strerror}; make it readable")
