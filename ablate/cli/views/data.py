"""The output of `ablate check`: progress, bad media with reasons and records, the next command."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli.views.out import ERR, OUT, clock_time, print_json
from ablate.environment import available

if TYPE_CHECKING:
    from ablate.check import BadMedium, FolderReport
    from models.data import CheckProgress

MAX_RECORDS = 3
"""Most records that are named for a bad medium; `--json` has all."""
LOG_S = 30.0
"""Seconds between two lines of progress where stderr is no terminal."""


def check_and_show(data: str, *, workers: int | None, as_json: bool) -> int:
    """Check the data folders of a name and print the reports.

    Returns:
        The exit code: 1 if a medium cannot be read, 130 if the check was interrupted.
    """
    from ablate.check import check_folder, folders_of

    folders = folders_of(data)
    show_indexing(folders)
    reports = []
    for folder in folders:
        try:
            with ProgressLine() as line:
                reports.append(check_folder(folder, workers or int(available()["CPU"]), line.checking))
        except KeyboardInterrupt:
            ERR.print("interrupted; run the same command to continue with the other media", style="yellow")
            return 130
    if as_json:
        print_json({"data": [report.to_json() for report in reports]})
    else:
        for report in reports:
            _show(report)
    return int(any(report.bad for report in reports))


def show_indexing(folders: Sequence[Path]) -> None:
    """Index the manifests of data folders, with the progress on stderr. An index that exists is used."""
    from ablate.check import index_manifests

    with ProgressLine() as line:
        index_manifests(folders, line.indexing)


class ProgressLine:
    """One line on the terminal that is updated; a line each half a minute elsewhere."""

    def __init__(self) -> None:
        self._status = ERR.status("") if ERR.is_terminal else None
        self._logged_at = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def indexing(self, manifest: Path, size: int, total: int) -> None:
        """Show how much of a manifest has been read."""
        self._show(f"indexing {manifest}: {size / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def checking(self, progress: CheckProgress) -> None:
        """Show how many media have been read, and the time left."""
        left = "" if progress.seconds_left is None else f", about {clock_time(progress.seconds_left)} left"
        self._show(f"{progress.done:,} of {progress.total:,} media read, {progress.bad:,} bad{left}")

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)
            self._status.start()
        elif time.monotonic() - self._logged_at >= LOG_S:
            self._logged_at = time.monotonic()
            ERR.print(text)


def _show(report: FolderReport) -> None:
    unchanged = report.media - report.read
    OUT.print(
        f"{report.folder}: {report.media:,} media, {report.media - len(report.bad):,} can be read, "
        f"{len(report.bad):,} bad ({report.read:,} read now, {unchanged:,} unchanged since the last check)"
    )
    for medium in report.bad:
        OUT.print(f"bad: {medium.path}: {medium.reason}; used by {_users(medium)}")
    if report.bad:
        shares = [
            f"{report.bad_records(name):,} of {number:,} records of {name} ({100 * report.share(name):.3g}%)"
            for name, number in report.records.items()
        ]
        OUT.print(f"bad media are used by {' and '.join(shares)}")
        OUT.print(
            "next: replace these files and run the same command, or let trials skip these records: "
            f"data.max_bad: {_limit(report)}"
        )
    OUT.print(f"durations and frame counts for plans: {report.results}")


def _users(medium: BadMedium) -> str:
    records = [f"{record.manifest} record {record.number} (id {record.id})" for record in medium.records]
    more = f" and {len(records) - MAX_RECORDS:,} more" if len(records) > MAX_RECORDS else ""
    return ", ".join(records[:MAX_RECORDS]) + more


def _limit(report: FolderReport) -> str:
    """The least limit, in tenths of a percent, under which trials can skip the records."""
    return f"{math.ceil(1000 * max(report.share(name) for name in report.records)) / 10:g}%"
