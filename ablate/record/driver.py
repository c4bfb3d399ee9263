"""A lock that allows one driver per study at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ablate.errors import AblateError
from ablate.paths import StudyPaths


@contextmanager
def sole_driver(paths: StudyPaths) -> Iterator[None]:
    """Lock the study for one writer; the operating system releases the lock however the process ends.

    Raises:
        AblateError: another process has the lock.
    """
    paths.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(paths.lock, timeout=0):
            yield
    except Timeout:
        raise AblateError(
            f"another sweep is running in study {paths.name!r} ({paths.lock}); wait for it, or use another study"
        ) from None
