"""Brings MLflow up to date with a study's trial folders, after its sweeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ablate.paths import StudyPaths
from ablate.tracking.mirror import Change, Mirror
from ablate.tracking.problems import is_refusal, problem_of_write

MAX_FAILURES = 2
"""Consecutive writes that a store may fail, other than by refusing the trial, before `sync` ends."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What `sync` wrote: numbers of trials, and what it could not write."""

    created: int
    updated: int
    unchanged: int
    duplicates: tuple[str, ...]
    """Keys of trials with more than one run in MLflow; the oldest is used."""
    deleted: tuple[str, ...]
    """For each trial whose run was deleted in MLflow, which stays so: the trial, and how to restore the run."""
    problems: tuple[str, ...]
    """Why trials were not written, and the fix; empty if all were."""


@dataclass
class _Pass:
    """One pass over the trials of a study."""

    mirror: Mirror
    changes: Counter[Change] = field(default_factory=Counter)
    deleted: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failures_in_a_row: int = 0

    def write(self, key: str) -> None:
        """Mirror one trial; a problem is noted and does not stop the others."""
        try:
            record = self.mirror.record(key)
            change = self.mirror.write(record) if record else "not begun"
        except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests raise unrelated types
            self.failures_in_a_row = 0 if is_refusal(error) else self.failures_in_a_row + 1
            self.problems.append(f"{key}: {problem_of_write(self.mirror.uri, error)}")
            return
        self.failures_in_a_row = 0
        self.changes[change] += 1
        if record and change == "deleted":
            self.deleted.append(self.mirror.deleted_run(record.about.key, record.about.label))


def sync(paths: StudyPaths, uri: str | None = None, progress: Callable[[int, int], None] | None = None) -> Synced:
    """Write everything to MLflow that is in a study's folders but not there. A second call changes nothing.

    No trial of the study may be running: the caller has the study's lock. A damaged folder or a run that MLflow refuses
    does not stop the others.

    Args:
        paths: the study.
        uri: MLflow's tracking URI; by default `paths.store_uri()`.
        progress: called with the number of trials that are done, and of all.

    Raises:
        AblateError: the store cannot be used; nothing was written.
    """
    current = _Pass(Mirror.open(paths, uri))
    keys = current.mirror.trial_keys()
    for number, key in enumerate(keys):
        if progress:
            progress(number, len(keys))
        current.write(key)
        if current.failures_in_a_row == MAX_FAILURES:
            current.problems += [f"{rest} further trials were not tried"] if (rest := len(keys) - number - 1) else []
            break
    changes = current.changes
    return Synced(
        created=changes["created"],
        updated=changes["updated"],
        unchanged=changes["unchanged"],
        duplicates=current.mirror.duplicates,
        deleted=tuple(current.deleted),
        problems=tuple(current.problems),
    )
