"""A store that is locked, damaged, read-only, full, of another MLflow or of another program: each has its own fix."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from ablate.errors import AblateError, UsageError
from ablate.tracking import Mirror, database, sqlite, sync
from ablate.tracking.problems import unusable
from tests.ablate.tracking.folders import about_of, finished


@pytest.fixture
def copied(paths, uri, tmp_path) -> str:
    """The URI of a copy of the store, with a study of one trial."""
    finished(paths, about_of(paths))
    sync(paths, uri)
    with closing(sqlite3.connect(database.database(uri))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copy(database.database(uri), folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


def change(uri: str, statement: str) -> None:
    with closing(sqlite3.connect(database.database(uri))) as connection, connection:
        connection.execute(statement)


def test_a_store_of_an_older_mlflow_is_reported_with_the_command_that_upgrades_it(paths, copied):
    change(copied, "UPDATE alembic_version SET version_num = '1b5f0d9ad7c1'")
    with pytest.raises(AblateError, match=f"an older MLflow made it; copy it, then `mlflow db upgrade {copied}`"):
        Mirror.open(paths, copied)


def test_a_store_of_a_newer_mlflow_is_reported(paths, copied):
    change(copied, "UPDATE alembic_version SET version_num = 'f00f00f00f00'")
    with pytest.raises(AblateError, match="a newer MLflow made it; install that version here"):
        Mirror.open(paths, copied)


def test_a_file_of_another_program_is_named(tmp_path):
    (tmp_path / "text.db").write_text("hello" * 100)
    with pytest.raises(UsageError, match=r"text.db is not an MLflow store: it is no sqlite file"):
        database.require_database(f"sqlite:///{tmp_path / 'text.db'}")
    change(f"sqlite:///{tmp_path / 'other.db'}", "CREATE TABLE songs (name TEXT)")
    with pytest.raises(UsageError, match=r"other.db is a sqlite file, but not an MLflow store"):
        database.require_database(f"sqlite:///{tmp_path / 'other.db'}")


def test_a_damaged_store_is_reported_with_the_fix(paths, copied):
    file = database.database(copied)
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * (len(content) // 2 - 100) + content[len(content) // 2 :])
    for use in (lambda: database.require_database(copied), lambda: Mirror.open(paths, copied)):
        with pytest.raises(AblateError, match="it is damaged; move it away, and `ablate sync"):
            use()


def test_a_locked_store_is_reported_with_the_fix(paths, copied, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    monkeypatch.setattr(database, "is_local", lambda folder: False)
    change(copied, "PRAGMA journal_mode=DELETE")
    with closing(sqlite3.connect(database.database(copied), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AblateError, match="another program writes to it and does not end; end it"):
            sqlite.load(paths.name, copied)


def test_a_full_disk_is_reported_with_the_fix(tmp_path):
    with closing(sqlite3.connect(tmp_path / "full.db")) as connection:
        connection.execute("CREATE TABLE texts (content TEXT)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO texts VALUES (?)", ["x" * 100_000])
    assert "free space, or set ABLATE_RUNS" in str(unusable(f"sqlite:///{tmp_path / 'full.db'}", raised.value))


AS_ANOTHER_USER = """
import os, sys
from ablate.tracking.sqlite import load
os.setgid(65534); os.setuid(65534)
print([trial.key for trial in load(sys.argv[1], sys.argv[2]).trials])
"""


def read_as_another_user(study: str, uri: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", AS_ANOTHER_USER, study, uri]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=Path.cwd())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_store_of_a_colleague_is_read_without_permission_to_write(paths, copied):
    change(copied, "PRAGMA journal_mode=WAL")
    with tempfile.TemporaryDirectory() as folder:  # others cannot enter pytest's
        Path(folder).chmod(0o755)
        file = Path(folder) / "mlflow.db"
        shutil.copy(database.database(copied), file)
        file.chmod(0o644)
        reader = read_as_another_user(paths.name, f"sqlite:///{file}")
        assert reader.stdout == "['k0']\n", reader.stderr
        with closing(sqlite3.connect(file)) as writer:  # its log has what the file has not
            writer.execute("UPDATE runs SET name = 'x'")
            writer.commit()
            for suffix in ("-wal", "-shm"):
                file.with_name(file.name + suffix).chmod(0o600)
            reader = read_as_another_user(paths.name, f"sqlite:///{file}")
    assert reader.returncode != 0
    assert "ask its owner" in reader.stderr
