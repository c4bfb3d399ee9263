"""The sqlite file of a local MLflow store: creating it once, opening it for reading, and what is wrong with it."""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ablate.errors import AblateError, UsageError
from ablate.tracking.location import database
from ablate.tracking.problems import unusable

LOCAL_DISKS = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""Types of file systems that are not shared between machines; sqlite's write-ahead log needs one."""
HEADER = b"SQLite format 3\0"
"""The first bytes of each sqlite file; a new one is empty."""
BUSY_S = 20.0
"""Timeout for another program's lock of the file, in seconds; same as MLflow's."""
CREATION_S = 300.0
"""Timeout for another process that creates the store, in seconds; a busy machine needs long."""


@contextmanager
def sole_creator(uri: str) -> Iterator[None]:
    """Lock a local store while its file and tables are created: MLflow fails if two processes do it at once.

    Raises:
        AblateError: the folder or file cannot be written, or another process creates the store for too long.
    """
    file = database(uri)
    if file is None:
        yield
        return
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=CREATION_S)  # not a valid name of a study
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise AblateError(
            f"another process creates the MLflow store {file}, for over {CREATION_S:.0f} s now; end it "
            f"({lock.lock_file})"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise _unwritable(file, error) from None
    try:
        _prepare(file)
        yield
    finally:
        lock.release()


def _prepare(file: Path) -> None:
    """On a local disk, allow reads during writes (write-ahead log).

    Raises:
        AblateError: the file cannot be written.
    """
    try:
        if not file.exists():  # the journal of a deleted database would corrupt the new one
            for suffix in ("-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
        if is_local(file.parent):
            with closing(sqlite3.connect(file, timeout=BUSY_S)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    except OSError as error:
        raise _unwritable(file, error) from None
    except sqlite3.Error as error:
        raise unusable(f"sqlite:///{file}", error) from None


def _unwritable(file: Path, error: Exception) -> AblateError:
    """The error for a store in a folder without permission to write."""
    return AblateError(
        f"the MLflow store {file} cannot be written ({error}); set ABLATE_RUNS or MLFLOW_TRACKING_URI to another place"
    )


def require_database(uri: str) -> None:
    """Check that the file of a sqlite URI is an MLflow store; reading must not create one.

    Raises:
        UsageError: the file does not exist, or is not an MLflow store.
        AblateError: it is locked, damaged, or cannot be read.
    """
    file = database(uri)
    if file is None:
        return
    if not file.is_file():
        raise UsageError(
            f"no MLflow store at {file}; run a sweep first, or `ablate sync` if its trial folders are there"
        )
    try:
        with file.open("rb") as content:
            header = content.read(len(HEADER))
        if header not in (b"", HEADER):
            raise UsageError(f"{file} is not an MLflow store: it is no sqlite file")
        with closing(read_only(file)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, sqlite3.Error) as error:
        raise unusable(uri, error) from None
    if "experiments" not in tables:
        raise UsageError(f"{file} is a sqlite file, but not an MLflow store: it has no table `experiments`")


def read_only(file: Path) -> sqlite3.Connection:
    """A connection to a sqlite file that changes nothing.

    A store with a write-ahead log in a folder without permission to write, such as a colleague's, is read without its
    log if the log is empty. Otherwise the file alone would be an old state, and the error is raised.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    path = urllib.parse.quote(str(file))
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        log = file.with_name(f"{file.name}-wal")
        is_refused = "readonly" in str(error) or "unable to open" in str(error)
        if not is_refused or (log.exists() and log.stat().st_size):
            raise
        return sqlite3.connect(f"file:{path}?immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_local(folder: Path) -> bool:
    """Whether a folder is on a disk of this machine; False if unknown."""
    try:
        mounts = dict(line.split(" ")[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    except OSError:
        return False
    nearest = next((str(path) for path in (folder, *folder.parents) if str(path) in mounts), "")
    return mounts.get(nearest, "") in LOCAL_DISKS
