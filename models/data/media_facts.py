"""Facts about the media of a data folder, measured once by `ablate check` and read by plans and trials.

They are stored in the data folder (`.ablate/`), where every node and every user of the data finds them; if that is not
writable, in the cache. Of the two the newer counts. No torch here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.data.content import path_digest
from models.data.index import decode_medium
from models.video import Medium

FORMAT = 1
"""Part of the files' names, raised when the columns change, or other files than before count as readable."""
ABSENT = (-1, -1)
"""Signature of a medium that does not exist."""


class Signature(NamedTuple):
    """Size and time of change: while both stay, a medium's content is taken to be the same."""

    size: int
    """Bytes; for a folder of frames their sum."""
    changed_ns: int
    """For a folder of frames that of the latest."""


@dataclass(frozen=True, kw_only=True)
class CheckedMedium:
    """One medium of the check's table; the facts are None if it cannot be read."""

    medium: str
    """See `encode_medium`."""
    path: str
    """Path relative to the data folder, for people who read the table."""
    size: int
    changed_ns: int
    reason: str | None
    """Why it cannot be read; None if it can."""
    reader: str | None = None
    frames: int | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None

    @property
    def signature(self) -> Signature:
        """Signature of the content that was read."""
        return Signature(self.size, self.changed_ns)


_TYPES = {"size": pa.int64(), "changed_ns": pa.int64(), "frames": pa.int64(), "width": pa.int32(), "height": pa.int32()}
_SCHEMA = pa.schema(
    [
        (field.name, pa.float64() if field.name == "duration_s" else _TYPES.get(field.name, pa.large_string()))
        for field in fields(CheckedMedium)
    ]
)


def signature_of(folder: Path, medium: Medium) -> Signature:
    """Size and time of change of a medium; `ABSENT` if it does not exist."""
    path = folder / medium.path
    try:
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [one.stat() for one in paths]
    except OSError:
        return Signature(*ABSENT)
    latest = max((max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats), default=0)
    return Signature(sum(stat.st_size for stat in stats), latest)


@dataclass(frozen=True, eq=False)
class MediaFacts:
    """The table of a data folder's checked media."""

    folder: Path
    file: Path
    """The file with the table."""
    table: pa.Table

    def rows(self) -> Iterator[CheckedMedium]:
        """All media of the table."""
        for batch in self.table.to_batches(max_chunksize=10_000):
            yield from (CheckedMedium(**row) for row in batch.to_pylist())

    def bad(self) -> dict[str, str]:
        """The media that cannot be read, encoded -> reason."""
        bad = self.table.filter(pc.is_valid(self.table["reason"]))
        return dict(zip(bad["medium"].to_pylist(), bad["reason"].to_pylist(), strict=True))

    def changed(self) -> list[str]:
        """The unreadable media, encoded, that have changed since: perhaps they are readable now."""
        bad = self.table.filter(pc.is_valid(self.table["reason"]))
        rows = [CheckedMedium(**row) for row in bad.to_pylist()]
        return [row.medium for row in rows if signature_of(self.folder, decode_medium(row.medium)) != row.signature]

    def num_unchecked(self, media: pa.Array) -> int:
        """How many of some encoded media the table lacks."""
        return len(media) - int(pc.sum(pc.is_in(media, self.table["medium"].combine_chunks())).as_py() or 0)

    def durations(self, media: pa.Array) -> NDArray[np.float64]:
        """Duration of each of some encoded media in seconds; NaN if it was not checked or cannot be read."""
        at = pc.index_in(media.cast(pa.large_string()), self.table["medium"].combine_chunks())
        return np.asarray(self.table["duration_s"].take(at).to_numpy(), dtype=np.float64)


def load_facts(folder: Path, cache: Path) -> MediaFacts | None:
    """The newest facts about a data folder; None before its first check, or if their file is damaged."""
    files = [store / _name("parquet") for store in _stores(folder, cache)]
    files = [file for file in files if file.is_file()]
    if not files:
        return None
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    try:
        return MediaFacts(folder, newest, pq.read_table(newest, schema=_SCHEMA))
    except pa.ArrowInvalid:  # such as a copy that was cut short; the next check writes it again
        return None


def facts_stamp(folder: Path, cache: Path) -> tuple[int, ...]:
    """A value that changes when the facts about a data folder do."""
    files = [store / _name("parquet") for store in _stores(folder, cache)]
    return tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)


def writable_store(folder: Path, cache: Path) -> Path:
    """The folder to which a check writes; created if missing."""
    in_data, in_cache = _stores(folder, cache)
    if os.access(in_data if in_data.exists() else folder, os.W_OK):
        in_data.mkdir(exist_ok=True)
        return in_data
    in_cache.mkdir(parents=True, exist_ok=True)
    return in_cache


def _stores(folder: Path, cache: Path) -> tuple[Path, Path]:
    return folder / ".ablate", cache / "media" / path_digest(folder)


def _name(ending: str) -> str:
    return f"media-v{FORMAT}.{ending}"


class Journal:
    """Results of a check that has not ended, appended one by one, so that a check that is stopped goes on later."""

    def __init__(self, store: Path) -> None:
        self._store, self._path = store, store / _name("jsonl")

    def read(self) -> Iterator[CheckedMedium]:
        """The results of a check that was stopped, without a last line that was not written in full."""
        if not self._path.is_file():
            return
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield CheckedMedium(**json.loads(line))
                except ValueError:
                    continue

    def append(self, rows: Iterable[CheckedMedium]) -> None:
        """Append results."""
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def finish(self, rows: Sequence[CheckedMedium]) -> None:
        """Write the table of all results, and delete the journal."""
        columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(CheckedMedium)}
        handle, temporary = tempfile.mkstemp(dir=self._store, prefix=".media.part-")
        os.close(handle)
        try:
            pq.write_table(pa.table(columns, schema=_SCHEMA), temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, self._store / _name("parquet"))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._path.unlink(missing_ok=True)
