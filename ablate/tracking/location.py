"""Where MLflow's store is and whether it can be used: sqlite files and servers, without mlflow itself."""

from __future__ import annotations

import re
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ablate.errors import AblateError, NoStudyError, UsageError
from ablate.paths import runs_root, store_uri
from ablate.record import studies

SQLITE = "sqlite:///"
PROBE_S = 5.0
LOCAL_DISKS = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""Kinds of file system that one machine has to itself, so that write-ahead logging works."""


def absolute_uri(uri: str | None = None) -> str:
    """A tracking URI that means the same from every folder; `paths.store_uri()` where none is given."""
    uri = uri or store_uri()
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).resolve()}" if uri.startswith(SQLITE) else uri.rstrip("/")


def shown(uri: str) -> str:
    """A URI fit to be printed: without a password."""
    return re.sub(r"(?<=://)([^:/@]*):[^@/]*@", r"\1:***@", uri)


def is_server(uri: str) -> bool:
    """Whether a URI is a tracking server's."""
    return uri.startswith(("http://", "https://"))


def answers(uri: str) -> bool:
    """Whether a tracking server answers; a database is always there."""
    if not is_server(uri):
        return True
    near = urllib.parse.urlsplit(uri).hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if near else [])
    try:
        with opener.open(f"{uri}/health", timeout=PROBE_S):
            return True
    except urllib.error.HTTPError:
        return True  # somebody is there, be it a gateway that asks for a login
    except (OSError, ValueError):
        return False


def require_server(uri: str) -> None:
    """Raises:
    AblateError: the URI is a server's, and it does not answer.
    """
    if not answers(uri):
        raise AblateError(
            f"no MLflow server answers at {shown(uri)}; start it, or unset MLFLOW_TRACKING_URI to use a file in the "
            "runs folder"
        )


def database(uri: str) -> Path | None:
    """The sqlite file of a URI, if it is one."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts of a sqlite store lie: beside the file. None where a server decides."""
    file = database(uri)
    return file.parent / "artifacts" if file else None


def require_database(uri: str) -> None:
    """Raises:
    UsageError: the URI is a sqlite file's that does not exist; reading must not make one.
    """
    file = database(uri)
    if file and not file.is_file():
        raise UsageError(
            f"no MLflow store at {file}; run a sweep first, or `ablate sync` if its trial folders are there"
        )
    if file:
        try:
            with closing(read_only(file)) as connection:
                connection.execute("SELECT 1 FROM experiments LIMIT 1")
        except sqlite3.Error as error:
            raise UsageError(f"{file} is no MLflow store ({error})") from None


def read_only(file: Path) -> sqlite3.Connection:
    """A connection to a sqlite file that can change nothing."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(file))}?mode=ro", uri=True, timeout=20, isolation_level=None)


def prepare_database(uri: str) -> None:
    """Make a sqlite file's folder; on a local disk, let others read while one writes.

    Raises:
        AblateError: the folder or file cannot be written.
    """
    file = database(uri)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():  # a journal whose database was deleted would spoil the new one
            for rest in ("-wal", "-shm"):
                file.with_name(file.name + rest).unlink(missing_ok=True)
        if is_local(file.parent):
            with closing(sqlite3.connect(file, timeout=20)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise AblateError(
            f"the MLflow store {file} cannot be written ({error}); set ABLATE_RUNS or MLFLOW_TRACKING_URI"
        ) from None


def is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine, so far as that can be told."""
    try:
        mounts = dict(line.split(" ")[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    except OSError:
        return False
    nearest = next((str(place) for place in (folder, *folder.parents) if str(place) in mounts), "")
    return mounts.get(nearest, "") in LOCAL_DISKS


def no_study(study: str, uri: str, known: Iterable[str]) -> NoStudyError:
    """The error for a study that a store does not hold; names those that it holds."""
    mend = f"; `ablate sync {study}` brings it in" if study in studies(runs_root()) else ""
    there = ", ".join(sorted(known)) or "none"
    return NoStudyError(f"MLflow at {shown(uri)} has no study {study!r}{mend}; there are: {there}")


def unusable(uri: str, error: Exception) -> AblateError:
    """The one error for a store that does not work, whatever mlflow, sqlalchemy or requests raised."""
    return AblateError(f"MLflow at {shown(uri)} cannot be used: {first_line(error)}")


def first_line(error: Exception) -> str:
    """The first line of what an exception says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
