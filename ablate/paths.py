"""Locations of runs and caches. No other module joins path strings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from ablate.errors import UsageError

STUDY_NAME = re.compile(r"(?!(mlflow\.db|artifacts|Default)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Valid study names; the names of MLflow's files beside the studies and of its default experiment are reserved."""
PUBLISHED = "apollo"
"""Name of the built-in, read-only study."""


def runs_root() -> Path:
    """Folder of all studies: `$ABLATE_RUNS`, or `runs` below the working directory."""
    return Path(os.environ.get("ABLATE_RUNS") or "runs").resolve()


def cache_root() -> Path:
    """Folder of reproducible files (videos, features): `$ABLATE_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("ABLATE_CACHE") or user_cache_path("ablate")).resolve()


def store_uri() -> str:
    """MLflow's tracking URI: `$MLFLOW_TRACKING_URI`, or one sqlite file beside the studies."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_root() / 'mlflow.db'}"


@dataclass(frozen=True, kw_only=True)
class StudyPaths:
    """The paths of one study.

    Raises:
        UsageError: the name is not valid for a folder, or is reserved.
    """

    name: str
    root: Path

    def __post_init__(self) -> None:
        if not STUDY_NAME.fullmatch(self.name):
            raise UsageError(
                f"study name {self.name!r}: use up to 100 letters, digits, '_', '-' and '.', a letter or digit first; "
                "mlflow.db, artifacts and Default are reserved"
            )

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.root / self.name

    @property
    def trials(self) -> Path:
        """Folder with one folder per trial, named by its key."""
        return self.folder / "trials"

    @property
    def lock(self) -> Path:
        """The lease of the process that writes to the study; see `record.sole_driver`."""
        return self.folder / "driver.lock"

    @property
    def driver(self) -> Path:
        """The process that has the lease, or had it last; see `record.Driver`."""
        return self.folder / "driver.json"

    @property
    def driver_end(self) -> Path:
        """How the last sweep's driver ended; see `record.DriverEnd`."""
        return self.folder / "driver-end.json"

    @property
    def driver_log(self) -> Path:
        """Output of detached drivers, one after another."""
        return self.folder / "driver.log"

    @property
    def about(self) -> Path:
        """File with facts about the whole study; see `record.StudyFacts`."""
        return self.folder / "study.json"


def study_paths(study: str) -> StudyPaths:
    """Paths of a study in the current runs folder."""
    return StudyPaths(name=study, root=runs_root())
