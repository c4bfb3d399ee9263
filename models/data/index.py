"""An index of a manifest: its records in an Arrow file that is memory-mapped, with columns for plans and for `draw`.

A manifest of a million records takes a minute and gigabytes to parse; its index is made once for each content, and
opened in a fraction of a second. A row contains the record's own JSON, which is parsed when the record is used. So a
trial is not affected if the manifest is edited while it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock
from numpy.typing import NDArray

from models.data.content import path_digest
from models.data.json_stream import JsonRecord, JsonStream
from models.data.manifest import (
    Kind,
    ManifestError,
    TestItem,
    TrainingSample,
    manifest_file,
    parse_item,
    parse_training,
)
from models.video import Medium
from models.weights import file_digest

FORMAT = 2
"""Part of the files' names, raised when columns change or records are parsed differently."""
ROWS_PER_BATCH = 10_000
_SCHEMA = pa.schema(
    [
        ("json", pa.large_string()),
        ("id", pa.large_string()),
        ("kind", pa.string()),
        ("duration_s", pa.float64()),
        ("turns", pa.int64()),
        ("question_characters", pa.int64()),
        ("answer_characters", pa.int64()),
        ("choices", pa.int64()),
        ("options", pa.int64()),
        ("option_characters", pa.int64()),
        ("chosen_characters", pa.int64()),
        ("independent", pa.bool_()),
        ("system", pa.bool_()),
        ("media", pa.list_(pa.large_string())),
    ]
)
T = TypeVar("T", TrainingSample, TestItem)

IndexProgress = Callable[[Path, int, int], None]
"""Receives a manifest that is being indexed, the bytes that have been read of it, and its size in bytes."""


def encode_medium(medium: Medium) -> str:
    """A medium as a string, equal for equal media."""
    return json.dumps([medium.path, medium.kind, medium.start_s, medium.end_s, medium.fps])


def decode_medium(text: str) -> Medium:
    """The medium of `encode_medium`."""
    path, kind, start_s, end_s, fps = json.loads(text)
    return Medium(path=path, kind=kind, start_s=start_s, end_s=end_s, fps=fps)


@dataclass(frozen=True, eq=False)
class ManifestIndex(Sequence[T]):
    """The records of a manifest as a sequence; each is parsed when it is used."""

    manifest: Path
    """The file that was indexed, for messages."""
    digest: str
    """SHA-256 of the bytes that were indexed."""
    table: pa.Table
    parse: Callable[[Path, int, dict[str, Any]], T]
    numbers: NDArray[np.int64]
    """Row of the table, and so number of the record in the manifest, for each record of this sequence."""

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, position: int) -> T: ...
    @overload
    def __getitem__(self, position: slice) -> list[T]: ...
    def __getitem__(self, position: int | slice) -> T | list[T]:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        number = int(self.numbers[position])
        return self.parse(self.manifest, number, json.loads(self.table["json"][number].as_py()))

    def of_kind(self, kind: Kind) -> NDArray[np.int64]:
        """Positions of the records of one kind, in their order."""
        return np.flatnonzero(self._rows("kind").to_numpy(zero_copy_only=False) == kind)

    def column(self, name: str) -> NDArray[Any]:
        """A value for each record of `train.json`.

        `duration_s` (NaN without one), `turns` (questions), `question_characters`, `answer_characters`, `choices`
        (questions with options), `options` and `option_characters` (of all options), `chosen_characters` (answers of
        `choices`): sums over its turns. `independent`, `system` (whether it has a system message).
        """
        return cast("NDArray[Any]", self._rows(name).to_numpy(zero_copy_only=False))

    def media(self) -> list[str]:
        """The distinct media of all records, encoded, in the order of their first use."""
        return cast("list[str]", self.distinct_media().to_pylist())

    def distinct_media(self) -> pa.Array:
        """As `media`, without a Python string for each."""
        return pc.list_flatten(self._rows("media")).unique()

    def media_of_records(self) -> tuple[NDArray[np.int64], pa.Array]:
        """Position of a record, and a medium of it, encoded: one entry for each use of a medium."""
        media = self._rows("media").combine_chunks()
        return pc.list_parent_indices(media).to_numpy(zero_copy_only=False), pc.list_flatten(media)

    def without(self, numbers: Sequence[int]) -> ManifestIndex[T]:
        """The sequence without the records of these numbers."""
        return replace(self, numbers=np.setdiff1d(self.numbers, np.asarray(numbers, np.int64), assume_unique=True))

    def _rows(self, name: str) -> pa.ChunkedArray:
        column = self.table[name]
        return column if len(self.numbers) == len(column) else column.take(pa.array(self.numbers))


TrainingIndex = ManifestIndex[TrainingSample]
TestIndex = ManifestIndex[TestItem]


def open_training(folder: Path, cache: Path, progress: IndexProgress = lambda *_: None) -> TrainingIndex:
    """The training samples of a data folder, from the index of its `train.json`, which is made first if necessary.

    Args:
        folder: the data folder.
        cache: folder of reproducible files; the index is stored in its `manifests/`.
        progress: receives the progress of indexing.

    Raises:
        ManifestError: the file cannot be read, or a record is not in the format.
    """
    return _open(manifest_file(folder, "train"), cache, parse_training, _training_row, progress)


def open_test(folder: Path, cache: Path, progress: IndexProgress = lambda *_: None) -> TestIndex:
    """The test items of a data folder, from the index of its `test.json`: as `open_training`.

    Raises:
        ManifestError: also if two items have the same id.
    """
    items = _open(manifest_file(folder, "test"), cache, parse_item, _test_row, progress)
    _check_ids(items.manifest, items.table["id"].to_pylist())
    return items


def _check_ids(file: Path, ids: Iterable[str]) -> None:
    """Check that test items have different ids: outcomes are counted by item.

    Args:
        file: the manifest, for messages.
        ids: the ids of its items, in order.

    Raises:
        ManifestError: two items have the same id.
    """
    numbers: dict[str, int] = {}
    for number, name in enumerate(ids):
        if (earlier := numbers.setdefault(name, number)) != number:
            raise ManifestError(
                f"{file}: record {number} has the id of record {earlier}, {name!r:.60}: give each item its own id, or "
                "put all questions about a video into one item"
            )


def _training_row(sample: TrainingSample) -> dict[str, Any]:
    choices = [turn for turn in sample.turns if turn.options]
    return {
        "duration_s": sample.duration_s,
        "turns": len(sample.turns),
        "question_characters": sum(len(turn.text) for turn in sample.turns),
        "answer_characters": sum(len(turn.answer) for turn in sample.turns),
        "choices": len(choices),
        "options": sum(len(turn.options) for turn in choices),
        "option_characters": sum(len(option) for turn in choices for option in turn.options),
        "chosen_characters": sum(len(turn.answer) for turn in choices),
        "independent": sample.independent,
        "system": sample.system is not None,
    }


def _test_row(item: TestItem) -> dict[str, Any]:
    return {"turns": len(item.questions)}


Parse = Callable[[Path, int, dict[str, Any]], T]
RowOf = Callable[[T], dict[str, Any]]


def _open(manifest: Path, cache: Path, parse: Parse[T], row_of: RowOf[T], progress: IndexProgress) -> ManifestIndex[T]:
    store = cache / "manifests"
    digest = _digest(manifest, cache)
    if digest is None or not _arrow_file(store, manifest, digest).is_file():
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(_own_file(store, manifest, ".lock")):
            digest = _digest(manifest, cache)  # another process may have indexed it meanwhile
            if digest is None or not _arrow_file(store, manifest, digest).is_file():
                digest = _index(store, manifest, parse, row_of, progress)
    with pa.memory_map(str(_arrow_file(store, manifest, digest))) as source:
        table = pa.ipc.open_file(source).read_all()
    return ManifestIndex(manifest, digest, table, parse, np.arange(len(table)))


def _digest(manifest: Path, cache: Path) -> str | None:
    """SHA-256 of a manifest, by the same rule as in keys; None if it cannot be read, which indexing reports."""
    try:
        return file_digest(manifest, cache)
    except OSError:
        return None


def _arrow_file(store: Path, manifest: Path, digest: str) -> Path:
    return store / f"{manifest.stem}-{digest[:32]}-v{FORMAT}.arrow"


def _index(store: Path, manifest: Path, parse: Parse[T], row_of: RowOf[T], progress: IndexProgress) -> str:
    """Write the index of a manifest; returns the digest of the bytes that were read."""
    total = manifest.stat().st_size if manifest.exists() else 0
    stream = JsonStream(manifest, lambda size: progress(manifest, size, max(size, total)))
    part = _own_file(store, manifest, ".part")  # of this process alone, which has the manifest's lock
    try:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
            for batch in _batches(stream, lambda record: _row(manifest, record, parse, row_of)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=_SCHEMA))
        os.replace(part, _arrow_file(store, manifest, stream.digest))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return stream.digest


def _row(manifest: Path, record: JsonRecord, parse: Parse[T], row_of: RowOf[T]) -> dict[str, Any]:
    parsed = parse(manifest, record.number, record.data)
    media = [encode_medium(medium) for medium in parsed.media]
    return {"json": record.text, "id": parsed.id, "kind": parsed.kind, "media": media, **row_of(parsed)}


def _batches(stream: JsonStream, row: Callable[[JsonRecord], dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for record in stream:
        batch.append(row(record))
        if len(batch) == ROWS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _own_file(store: Path, manifest: Path, ending: str) -> Path:
    """A file for a manifest, by its path."""
    return store / f"{path_digest(manifest)}{ending}"
