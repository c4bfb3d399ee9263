"""Location and state of MLflow's store; ports; names of designs."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from ablate.errors import AblateError, UsageError
from ablate.paths import StudyPaths
from ablate.study import load_scores
from ablate.study.table import design_names
from ablate.tracking import Mirror, database, location, server

# mlflow 3.17 configures its tables with an option that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def test_a_store_on_a_local_disk_lets_others_read_while_one_writes(tmp_path, monkeypatch):
    def mode(name: str) -> str:
        with database.sole_creator(f"sqlite:///{tmp_path / name}"):
            pass
        return str(sqlite3.connect(tmp_path / name).execute("PRAGMA journal_mode").fetchone()[0])

    monkeypatch.setattr(database, "is_local", lambda folder: True)
    assert mode("local.db") == "wal"
    monkeypatch.setattr(database, "is_local", lambda folder: False)
    assert mode("network.db") == "delete"


def test_uris_are_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert location.absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert location.absolute_uri("http://host:5000/") == "http://host:5000"


@pytest.mark.slow
def test_mlflow_neither_logs_nor_sends_telemetry(tmp_path):
    code = f"""
from ablate import paths, tracking
from mlflow.telemetry.client import get_telemetry_client
tracking.Mirror.open(paths.StudyPaths(name="s", root=paths.Path({str(tmp_path)!r})), "sqlite:///{tmp_path}/new/mlflow.db")
assert get_telemetry_client() is None
import os
assert not [name for name in os.environ if name.startswith("MLFLOW")], "trials inherit these"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_score_tables_and_sweeps_need_no_mlflow():
    code = (
        "import sys; from ablate.study import score_frame; "
        "from ablate.tracking import BackgroundMirror, encode, location; "
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_design_has_one_name_and_a_name_one_design():
    labelled = [("aaaa1", "fps2"), ("bbbb1", "fps2"), ("cccc1", "base"), ("cccc1", "base"), ("cccc1", "tpf2")]
    assert design_names(labelled) == {"aaaa1": "fps2~aaaa", "bbbb1": "fps2~bbbb", "cccc1": "base"}


def test_a_busy_port_is_skipped():
    with socket.socket() as busy:
        busy.bind((server.HOST, 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert port < server.free_port(port) < port + server.PORTS_TRIED
    assert server.free_port(5060) > 5061  # browsers refuse these


def test_a_server_that_does_not_answer_is_reported_at_once(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(AblateError, match=r"no MLflow server answers at http://user:\*{3}@127.0.0.1"):
        Mirror.open(StudyPaths(name="s", root=tmp_path), address)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("wrong", ["gopher://nowhere", "postgresql:/broken"])
def test_a_uri_that_mlflow_cannot_use_is_named(tmp_path, wrong):
    with pytest.raises(AblateError, match=wrong):
        Mirror.open(StudyPaths(name="s", root=tmp_path), wrong)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AblateError, match="cannot be written"):
        Mirror.open(StudyPaths(name="s", root=tmp_path), f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_reading_creates_no_store(tmp_path):
    with pytest.raises(UsageError, match="no MLflow store"):
        load_scores("s", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_away_is_no_reason_to_wait_for_its_pages():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(AblateError, match=f"no MLflow server answers at {address}"), server.serving(address):
        pass


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:pw@host:5000", "http://me:***@host:5000"),
        ("https://me:p@w:x@host/path", "https://me:***@host/path"),
        ("postgresql://me:p/w@host/db", "postgresql://me:***@host/db"),
        ("http://:pw@host", "http://:***@host"),
        ("http://me@host", "http://me@host"),
        (
            "postgresql+psycopg2://me:pw@host/db?password=other&x=1",
            "postgresql+psycopg2://me:***@host/db?password=***&x=1",
        ),
        ("sqlite:////a/b:c@d.db", "sqlite:////a/b:c@d.db"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert location.without_password(uri) == shown
    assert location.without_password(f"a call to {uri} failed") == f"a call to {shown} failed"


def test_a_password_is_not_shown_in_any_spelling():
    text = location.scrubbed("login 'me', 's3cr/t' (s3cr%2Ft) failed", "http://me:s3cr%2Ft@host")
    assert text == "login 'me', '***' (***) failed"

    text = location.scrubbed("login 'me', 's3cr/t' failed", "postgresql://me:s3cr/t@host/db")
    assert text == "login 'me', '***' failed"


@pytest.mark.parametrize("uri", ["http://", "http://host:port", "http://host:99999", "https://me:s3cr/t@host"])
def test_a_server_without_a_valid_host_is_refused(uri):
    with pytest.raises(UsageError, match="has no valid host and port; use http://HOST:PORT") as error:
        location.absolute_uri(uri)
    assert "s3cr" not in str(error.value)
    assert "/t@" not in str(error.value)


def test_links_contain_no_login():
    assert location.without_login("https://me:pw@host:5/x") == "https://host:5/x"


@pytest.mark.parametrize("uri", ["foo://bar", "sqlite:/mlflow.db", "sqlite://mlflow.db"])
def test_a_uri_that_is_not_one_of_mlflow_is_refused(uri):
    with pytest.raises(UsageError, match=r"MLflow has no such store; use http://HOST:PORT"):
        location.absolute_uri(uri)


def test_uris_of_other_stores_are_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for uri in (
        "postgresql://host/db",
        "mysql+pymysql://host/db",
        "file:///tmp/x",
        "databricks",
        "databricks://profile",
    ):
        assert location.absolute_uri(uri) == uri
    assert location.absolute_uri("mlruns") == str(tmp_path / "mlruns")
