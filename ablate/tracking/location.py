"""Location and state of MLflow's store: sqlite files and servers, without importing mlflow."""

from __future__ import annotations

import re
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ablate.errors import AblateError, NoStudyError, UsageError, first_line
from ablate.paths import runs_root, store_uri
from ablate.record import studies

SQLITE = "sqlite:///"
PROBE_S = 5.0
"""Timeout for a server to answer, in seconds."""
LOCAL_DISKS = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""Types of file systems that are not shared between machines; sqlite's write-ahead log needs one."""


def absolute_uri(uri: str | None = None) -> str:
    """A tracking URI that does not depend on the working directory; by default `paths.store_uri()`."""
    uri = uri or store_uri()
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).resolve()}" if uri.startswith(SQLITE) else uri.rstrip("/")


def without_password(uri: str) -> str:
    """A URI that may be printed."""
    return re.sub(r"(?<=://)([^:/@]*):[^@/]*@", r"\1:***@", uri)


def is_server(uri: str) -> bool:
    """Whether a URI is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def answers(uri: str) -> bool:
    """Whether a tracking server answers; always true for a database."""
    if not is_server(uri):
        return True
    is_here = urllib.parse.urlsplit(uri).hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if is_here else [])
    try:
        with opener.open(f"{uri}/health", timeout=PROBE_S):
            return True
    except urllib.error.HTTPError:
        return True  # something answers, perhaps a gateway that requires a login
    except (OSError, ValueError):
        return False


def require_server(uri: str) -> None:
    """Check that a server answers, if the URI is that of a server.

    Raises:
        AblateError: it does not answer.
    """
    if not answers(uri):
        raise AblateError(
            f"no MLflow server answers at {without_password(uri)}; start it, or unset MLFLOW_TRACKING_URI to use a "
            "file in the runs folder"
        )


def database(uri: str) -> Path | None:
    """The sqlite file of a URI; None for other stores."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_folder(uri: str) -> Path | None:
    """Folder for the artifacts of a sqlite store, beside the file; None for other stores, whose server decides."""
    file = database(uri)
    return file.parent / "artifacts" if file else None


def require_database(uri: str) -> None:
    """Check that the file of a sqlite URI is an MLflow store; reading must not create one.

    Raises:
        UsageError: the file does not exist, or is not an MLflow store.
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
            raise UsageError(f"{file} is not an MLflow store ({error})") from None


def read_only(file: Path) -> sqlite3.Connection:
    """A read-only connection to a sqlite file."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(file))}?mode=ro", uri=True, timeout=20, isolation_level=None)


def prepare_database(uri: str) -> None:
    """Create the folder of a sqlite file; on a local disk, allow reads during writes (write-ahead log).

    Raises:
        AblateError: the folder or file cannot be written.
    """
    file = database(uri)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():  # the journal of a deleted database would corrupt the new one
            for suffix in ("-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
        if is_local(file.parent):
            with closing(sqlite3.connect(file, timeout=20)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise AblateError(
            f"the MLflow store {file} cannot be written ({error}); set ABLATE_RUNS or MLFLOW_TRACKING_URI"
        ) from None


def is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine; False if unknown."""
    try:
        mounts = dict(line.split(" ")[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    except OSError:
        return False
    nearest = next((str(path) for path in (folder, *folder.parents) if str(path) in mounts), "")
    return mounts.get(nearest, "") in LOCAL_DISKS


def no_study(study: str, uri: str, names: Iterable[str]) -> NoStudyError:
    """The error for a study that a store does not contain; lists the studies that it contains."""
    fix = f"; `ablate sync {study}` adds it" if study in studies(runs_root()) else ""
    existing = ", ".join(sorted(names)) or "none"
    return NoStudyError(f"MLflow at {without_password(uri)} has no study {study!r}{fix}; there are: {existing}")


def unusable(uri: str, error: Exception) -> AblateError:
    """The error for a store that does not work, whether mlflow, sqlalchemy or requests raised the original."""
    return AblateError(f"MLflow at {without_password(uri)} cannot be used: {first_line(error)}")
