"""Sweeps and `ablate sync` against a real MLflow server behind a gateway: slow, away, hanging, with a login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pandas as pd
import pytest

from ablate.errors import AblateError
from ablate.paths import StudyPaths
from ablate.record import StudyFacts, scan
from ablate.study import load_scores
from ablate.study.table import scores_of_records
from ablate.tracking import BackgroundMirror, Mirror, background, server, sync
from tests.ablate.tracking.folders import about_of, begun, finished, runs_of
from tests.ablate.tracking.gateway import Gateway

pytestmark = pytest.mark.slow

WAIT_S = 120.0
KEYS = [f"k{i}" for i in range(4)]


@pytest.fixture(scope="module")
def real_server(tmp_path_factory) -> Iterator[str]:
    """Address of an MLflow server."""
    root = tmp_path_factory.mktemp("server")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    Mirror.open(StudyPaths(name="first", root=root), uri)
    with server.serving(uri, 5700) as address:
        yield address


@pytest.fixture
def gateway(real_server, monkeypatch) -> Iterator[Gateway]:
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gateway = Gateway(real_server)
    yield gateway
    gateway.stop()


def ablate(*arguments: str, runs, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ablate.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=os.environ | {"ABLATE_RUNS": str(runs)} | environment,
        check=False,
    )


def assert_all_mirrored(paths: StudyPaths, uri: str) -> None:
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))
    assert sync(paths, uri).unchanged == len(KEYS)
    assert len(runs_of(paths, uri)) == len(KEYS)


def test_a_slow_server_delays_no_sweep_and_gets_everything(paths, gateway, real_server):
    gateway.delay_s = 0.4
    mirror = BackgroundMirror(paths, gateway.address(), StudyFacts())
    duration_s = 0.0
    for key in KEYS:
        begun(paths, about_of(paths, key), steps=3)
        began = time.perf_counter()
        for _ in range(250):
            mirror.changed(key, is_running=True)
        duration_s += time.perf_counter() - began
        finished(paths, about_of(paths, key))
        mirror.changed(key, is_running=False)
    assert duration_s < 0.05
    report = mirror.close(WAIT_S)
    assert (report.missed, report.problem) == (0, None)
    assert_all_mirrored(paths, real_server)


def test_a_server_that_is_away_for_a_while_gets_everything(paths, gateway, real_server):
    gateway.stop()
    mirror = BackgroundMirror(paths, gateway.address(), StudyFacts())
    for number, key in enumerate(KEYS):
        if number == 1:
            gateway.start()
            while gateway.calls < 8:
                time.sleep(0.05)
            gateway.stop()
        begun(paths, about_of(paths, key))
        mirror.changed(key, is_running=True)
        finished(paths, about_of(paths, key))
        mirror.changed(key, is_running=False)
        time.sleep(0.5)
    gateway.start()
    report = mirror.close(WAIT_S)
    assert (report.missed, report.problem) == (0, None)
    assert_all_mirrored(paths, real_server)


def test_a_run_whose_creation_was_not_answered_in_time_is_used(paths, gateway, real_server):
    """The server creates the run, but its answer comes too late."""
    mirror = BackgroundMirror(paths, gateway.address(), StudyFacts())
    while gateway.calls < 6:
        time.sleep(0.05)
    gateway.is_hanging = True
    for key in KEYS:
        finished(paths, about_of(paths, key))
        mirror.changed(key, is_running=False)
    time.sleep(4)
    gateway.is_hanging = False
    report = mirror.close(2 * WAIT_S)  # a call and its repetition may take a minute
    assert (report.missed, report.problem) == (0, None)
    assert_all_mirrored(paths, real_server)


def test_sync_against_a_server_that_hangs_midway_ends(paths, gateway):
    for key in KEYS:
        finished(paths, about_of(paths, key))
    gateway.delay_s = 0.3
    running = subprocess.Popen(
        [sys.executable, "-m", "ablate.cli", "sync", paths.name, "--tracking-uri", gateway.address(), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while gateway.calls < 8:
        time.sleep(0.05)
    gateway.is_hanging = True
    began = time.monotonic()
    stdout, stderr = running.communicate(timeout=WAIT_S)
    assert time.monotonic() - began < 30
    assert running.returncode == 1
    assert "a call was not answered (Read" in json.loads(stdout)["problems"][0]
    assert "further trials were not tried" in json.loads(stdout)["problems"][-1]
    assert stderr == ""


@pytest.mark.parametrize("way", ["uri", "environment"])
def test_a_login_is_used_and_its_password_never_shown(paths, root, gateway, way):
    gateway.login = "me:s3cr3t/pw"
    login = "me:s3cr3t%2Fpw" if way == "uri" else ""
    environment = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cr3t/pw"} if way != "uri" else {}
    finished(paths, about_of(paths))
    address = gateway.address(login)
    runs = [
        ablate("sync", paths.name, "--tracking-uri", address, runs=root, **environment),
        ablate("ui", paths.name, "--tracking-uri", address, "--no-browser", runs=root, **environment),
    ]
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    runs.append(ablate("consistency", paths.name, "--tracking-uri", address, runs=root, **environment))
    assert "1 runs created" in runs[0].stdout
    assert f"{gateway.address()}/#/compare-runs" in runs[1].stdout
    for run in runs:
        assert "s3cr3t" not in run.stdout + run.stderr
    for path in root.rglob("*"):
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes()


def test_a_wrong_login_is_reported_with_the_fix_and_without_the_password(paths, root, gateway):
    gateway.login = "me:right"
    finished(paths, about_of(paths))
    refused = ablate("sync", paths.name, "--tracking-uri", gateway.address("me:wr0ng-pw"), runs=root)
    assert refused.returncode == 1
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.stderr
    assert gateway.address("me:***") in refused.stderr
    assert "wr0ng" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    with pytest.raises(AblateError, match="set MLFLOW_TRACKING_USERNAME") as raised:
        Mirror.open(paths, gateway.address("me:wr0ng-pw"))
    assert raised.value.__suppress_context__
    report = BackgroundMirror(paths, gateway.address("me:wr0ng-pw"), StudyFacts()).close(WAIT_S)
    assert "wr0ng" not in f"{report}"


def test_three_studies_are_written_to_a_new_store_at_once(tmp_path):
    studies = [StudyPaths(name=name, root=tmp_path) for name in ("a", "b", "c")]
    for paths in studies:
        finished(paths, about_of(paths))
    syncs = [
        subprocess.Popen(
            [sys.executable, "-m", "ablate.cli", "sync", paths.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"ABLATE_RUNS": str(tmp_path)},
        )
        for paths in studies
    ]
    outputs = [run.communicate(timeout=WAIT_S)[0] for run in syncs]
    assert [run.returncode for run in syncs] == [0, 0, 0], outputs
    for paths in studies:
        assert len(load_scores(paths.name, f"sqlite:///{tmp_path / 'mlflow.db'}")) == 3
