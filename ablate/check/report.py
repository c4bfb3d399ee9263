"""The check of a data folder: which media cannot be read, why, and which records use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablate.errors import UsageError
from ablate.paths import cache_root
from models.data import (
    BadRecord,
    CheckProgress,
    ManifestError,
    bad_records,
    check_media,
    open_test,
    open_training,
    writable_store,
)


@dataclass(frozen=True)
class BadMedium:
    """A medium that cannot be read."""

    path: str
    """Path relative to the data folder."""
    reason: str
    records: tuple[BadRecord, ...]
    """The records that use it."""


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """The result of the check of a data folder."""

    folder: Path
    media: int
    """Number of distinct media of both manifests."""
    read: int
    """Media that were read now; the others were read before and have not changed."""
    bad: tuple[BadMedium, ...]
    records: dict[str, int]
    """Name of a manifest -> number of its records."""
    results: Path
    """Folder that contains the table of durations and frame counts."""

    def bad_records(self, manifest: str) -> int:
        """Number of records of a manifest that use a bad medium."""
        uses = [record for medium in self.bad for record in medium.records if record.manifest == manifest]
        return len({record.number for record in uses})

    def share(self, manifest: str) -> float:
        """Share of the records of a manifest that use a bad medium."""
        return self.bad_records(manifest) / self.records[manifest]

    def to_json(self) -> dict[str, Any]:
        """Object for `--json`; its keys are stable."""
        records = {name: {"records": number, "bad": self.bad_records(name)} for name, number in self.records.items()}
        bad = [
            {
                "path": medium.path,
                "reason": medium.reason,
                "records": [
                    {name: value for name, value in asdict(record).items() if name in ("manifest", "number", "id")}
                    for record in medium.records
                ],
            }
            for medium in self.bad
        ]
        counts = {"media": self.media, "read_now": self.read, "bad": bad, "records": records}
        return {"folder": str(self.folder), "results": str(self.results), **counts}


def check_folder(folder: Path, workers: int, progress: Callable[[CheckProgress], None]) -> FolderReport:
    """Read all media of a data folder that were not read before or have changed.

    Args:
        folder: the data folder.
        workers: number of media to read at the same time.
        progress: receives the progress, about once a second.

    Raises:
        UsageError: a manifest is missing or wrong, another check is running, or this machine has no decoder.
    """
    cache = cache_root()
    try:
        train, test = open_training(folder, cache), open_test(folder, cache)
        media = list(dict.fromkeys([*train.media(), *test.media()]))
        facts, number = check_media(folder, media, cache, workers, progress)
    except (ManifestError, RuntimeError) as error:  # RuntimeError: the decoder process does not start
        raise UsageError(str(error)) from None
    uses: dict[tuple[str, str], list[BadRecord]] = {}
    for index in (train, test):
        for record in bad_records(index, facts):
            uses.setdefault((record.path, record.reason), []).append(record)
    return FolderReport(
        folder=folder,
        media=len(media),
        read=number,
        bad=tuple(BadMedium(path, reason, tuple(records)) for (path, reason), records in sorted(uses.items())),
        records={index.manifest.name: len(index) for index in (train, test)},
        results=writable_store(folder, cache),
    )
