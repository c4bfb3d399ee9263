"""Which records a trial skips because their media cannot be read: a list that is fixed before training.

The list follows from the manifests and from the results of `ablate check`. Its digest is part of a trial's config, so
that trials which skip different records have different keys. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.data.index import (
    IndexProgress,
    ManifestIndex,
    TestIndex,
    TrainingIndex,
    decode_medium,
    open_test,
    open_training,
)
from models.data.manifest import ManifestError
from models.data.media_facts import MediaFacts, facts_stamp, load_facts
from models.data.presence import refuse_missing
from models.weights import DIGEST_LENGTH

ROUNDING = 1e-6
"""Records by which rounding may lower the limit: 29% of 100 records are 28.999999999999996 in floating point."""


@dataclass(frozen=True)
class BadRecord:
    """A record that uses a medium that cannot be read."""

    manifest: str
    """Name of the manifest: `train.json` or `test.json`."""
    number: int
    """Number of the record in it, from 0."""
    id: str
    path: str
    """Path of the medium."""
    reason: str
    """Why it cannot be read."""


@dataclass(frozen=True)
class SkipList:
    """Numbers of the records that a trial skips."""

    train: tuple[int, ...] = ()
    test: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the list; empty if no record is skipped."""
        if not self.train and not self.test:
            return ""
        return hashlib.sha256(json.dumps([self.train, self.test]).encode()).hexdigest()[:DIGEST_LENGTH]


def bad_records(index: ManifestIndex[Any], facts: MediaFacts) -> Iterator[BadRecord]:
    """The records of a manifest that use a medium that cannot be read, in their order; one entry for each medium."""
    bad = facts.bad()
    for position, medium in dict.fromkeys(zip(*_uses(index, bad), strict=True)):
        path = decode_medium(medium).path
        yield BadRecord(index.manifest.name, int(index.numbers[position]), index[position].id, path, bad[medium])


def _uses(index: ManifestIndex[Any], bad: dict[str, str]) -> tuple[list[int], list[str]]:
    """Position of the record and the medium of each use of a bad medium."""
    positions, media = index.media_of_records()
    is_bad = pc.is_in(media, pa.array(list(bad), media.type))
    return positions[is_bad.to_numpy(zero_copy_only=False)].tolist(), media.filter(is_bad).to_pylist()


def skipped_records(train: TrainingIndex, test: TestIndex, cache: Path, max_bad: float) -> SkipList:
    """The records that a trial skips.

    Args:
        train: all training samples of a data folder.
        test: all its test items.
        cache: folder of reproducible files.
        max_bad: largest share of the training samples, and of the test items, that may be skipped.

    Raises:
        ManifestError: media have not been checked, have changed since, or more records use bad media than allowed, or
            all records do.
    """
    folder = train.manifest.parent
    command = f"ablate check {folder}"
    facts = load_facts(folder, cache)
    media = pa.chunked_array([train.distinct_media(), test.distinct_media()]).unique()
    unchecked = facts.num_unchecked(media) if facts else len(media)
    if facts is None or unchecked:
        raise ManifestError(
            f"max_bad {_percent(max_bad)} lets trials skip records with unreadable media, but {unchecked} of "
            f"{len(media)} media in {folder} have not been read yet; type: {command}"
        )
    bad = facts.bad()
    numbers: list[tuple[int, ...]] = []
    for index in (train, test):
        positions, names = _uses(index, bad)
        if changed := sorted({*names} & {*facts.changed()}):
            raise ManifestError(
                f"{len(changed)} media in {folder} that could not be read have changed since the last check, first "
                f"{decode_medium(changed[0]).path}; type: {command}"
            )
        skipped = tuple(sorted({int(index.numbers[position]) for position in positions}))
        _check_limit(index, len(skipped), max_bad, command)
        numbers.append(skipped)
    return SkipList(*numbers)


def _check_limit(index: ManifestIndex[Any], number: int, max_bad: float, command: str) -> None:
    """Refuse to skip all records of a manifest, or more than the limit allows."""
    if number == len(index):
        raise ManifestError(
            f"all {number} records of {index.manifest} use media that cannot be read; {command} lists them"
        )
    if number > max_bad * len(index) + ROUNDING:
        raise ManifestError(
            f"{number} of {len(index)} records ({_percent(number / len(index))}) of {index.manifest} "
            f"use media that cannot be read, but max_bad is {_percent(max_bad)}; {command} lists them"
        )


@lru_cache(maxsize=64)
def _digest_of(folder: Path, cache: Path, max_bad: float, _manifests: tuple[str, str], _facts: tuple[int, ...]) -> str:
    """Digest of the list of skipped records, computed once: the designs of a sweep share their data."""
    return skipped_records(open_training(folder, cache), open_test(folder, cache), cache, max_bad).digest


def skipped_digest(folder: Path, cache: Path, max_bad: float) -> str:
    """Digest of the list of records that trials skip; empty if none is. Errors as in `skipped_records`."""
    manifests = (open_training(folder, cache).digest, open_test(folder, cache).digest)
    return _digest_of(folder, cache, max_bad, manifests, facts_stamp(folder, cache))


@dataclass(frozen=True)
class Records:
    """The records of a data folder that a trial uses."""

    train: TrainingIndex
    test: TestIndex
    skipped: tuple[BadRecord, ...]
    """The records that it skips, of both manifests."""
    digest: str
    """Digest of the list of skipped records; empty if none is skipped."""

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.train.manifest.parent


def open_records(folder: Path, cache: Path, max_bad: float, progress: IndexProgress = lambda *_: None) -> Records:
    """The records that a trial uses: all whose media can be read, if a check has found few others; else all.

    Args:
        folder: the data folder.
        cache: folder of reproducible files.
        max_bad: largest share of the training samples, and of the test items, that may be skipped.
        progress: receives the progress of indexing.

    Raises:
        ManifestError: a manifest is missing or wrong; media are missing; as `skipped_records`.
    """
    train = open_training(folder, cache, progress)
    if not max_bad:
        refuse_missing(train, cache)
    test = open_test(folder, cache, progress)
    if not max_bad:
        refuse_missing(test, cache)
        return Records(train, test, (), "")
    skipped = skipped_records(train, test, cache, max_bad)
    facts = load_facts(folder, cache)
    bad = [*bad_records(train, facts), *bad_records(test, facts)] if facts else []
    return Records(train.without(skipped.train), test.without(skipped.test), tuple(bad), skipped.digest)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
