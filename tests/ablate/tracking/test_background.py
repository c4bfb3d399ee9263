"""The mirror of a sweep: a slow, hanging or absent store delays nothing, and what it missed is written later."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import UsageError
from ablate.paths import StudyPaths
from ablate.record import StudyFacts, folder_of, scan
from ablate.study import load_scores
from ablate.study.table import scores_of_records
from ablate.tracking import BackgroundMirror, SweepSummary, background, sync
from ablate.tracking.tasks import Task, Tasks
from tests.ablate.tracking.folders import (
    BEGAN,
    about_of,
    begun,
    client_of,
    event,
    failed,
    failure_of,
    finished,
    history,
    runs_of,
)
from tests.ablate.tracking.gateway import Gateway

WAIT_S = 60.0
"""Longer than any test needs on a busy machine."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(background, "FLUSH_S", 0.05)


def open_mirror(paths: StudyPaths, uri: str) -> BackgroundMirror:
    return BackgroundMirror(paths, uri, StudyFacts(metric="tinybench/overall"))


def wait_until(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status_of(paths: StudyPaths, uri: str, key: str) -> str | None:
    try:
        runs = runs_of(paths, uri)
    except AttributeError:  # no experiment yet
        return None
    return next((run.info.status for run in runs if run.data.tags.get("ablate.trial") == key), None)


def test_a_sweep_is_mirrored_from_its_folders(paths, uri):
    mirror, about = open_mirror(paths, uri), about_of(paths)
    attempt = begun(paths, about, steps=2)
    mirror.changed("k0", is_running=True)
    wait_until(lambda: status_of(paths, uri, "k0") == "RUNNING")
    attempt.event(event(2))
    mirror.changed("k0", is_running=True)
    wait_until(lambda: len(history(uri, runs_of(paths, uri)[0], "train/loss")) == 3)
    attempt.fail(failure_of(kind="node"))
    mirror.changed("k0", is_running=False)
    wait_until(lambda: status_of(paths, uri, "k0") == "FAILED")  # until the next attempt starts
    begun(paths, about)
    mirror.changed("k0", is_running=True)
    wait_until(lambda: status_of(paths, uri, "k0") == "RUNNING")
    finished(paths, about)
    mirror.changed("k0", is_running=False)
    mirror.summarise(SweepSummary(sweep="sampling", spec="study: s\n", counts={"done": 1}, started_at=BEGAN))
    report = mirror.close(WAIT_S)
    assert (report.missed, report.problem) == (0, None)
    kinds = {run.data.tags["ablate.kind"]: run.info.status for run in runs_of(paths, uri)}
    assert kinds == {"trial": "FINISHED", "sweep": "FINISHED"}
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))
    assert sync(paths, uri).unchanged == 1


def test_what_earlier_sweeps_missed_is_written(paths, uri):
    finished(paths, about_of(paths, "k0"))
    failed(paths, about_of(paths, "k1"))
    begun(paths, about_of(paths, "k2"))
    mirror = open_mirror(paths, uri)
    mirror.changed("k2", is_running=True)
    mirror.adopt(about_of(paths, "k0", axes={"encoders": "siglip"}))
    mirror.close(WAIT_S)
    statuses = {run.data.tags["ablate.trial"]: run.info.status for run in runs_of(paths, uri)}
    assert statuses == {"k0": "FINISHED", "k1": "FAILED", "k2": "RUNNING"}
    client, runs = client_of(paths, uri)
    assert client.get_run(runs["k0"]).data.params["encoders"] == "siglip"


def test_a_store_that_is_away_at_the_start_is_filled_once_it_is_there(tmp_path):
    paths, place = StudyPaths(name="s", root=tmp_path), tmp_path / "later"
    place.write_text("a file where the store's folder has to be")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    mirror = open_mirror(paths, uri)
    begun(paths, about_of(paths))
    mirror.changed("k0", is_running=True)
    wait_until(lambda: mirror._problem is not None)
    assert "cannot be written" in mirror._problem
    place.unlink()
    finished(paths, about_of(paths))
    mirror.changed("k0", is_running=False)
    report = mirror.close(WAIT_S)
    assert (report.missed, report.problem) == (0, None)
    assert status_of(paths, uri, "k0") == "FINISHED"


def test_a_store_that_stays_away_is_reported_and_sync_catches_up(tmp_path):
    paths, place = StudyPaths(name="s", root=tmp_path), tmp_path / "later"
    place.touch()
    uri = f"sqlite:///{place / 'mlflow.db'}"
    mirror = open_mirror(paths, uri)
    for key in ("k0", "k1"):
        finished(paths, about_of(paths, key))
        mirror.changed(key, is_running=False)
    report = mirror.close(WAIT_S)
    assert report.missed == 2
    assert "cannot be written" in report.problem
    assert "`ablate sync s` writes what is missing" in report.problem
    place.unlink()
    assert sync(paths, uri).created == 2


def test_a_trial_that_cannot_be_mirrored_stops_no_other(paths, uri):
    mirror = open_mirror(paths, uri)
    for key in ("k0", "k1", "k2"):
        finished(paths, about_of(paths, key))
    (folder_of(paths, "k1").path / "result.json").write_text("{")
    for key in ("k0", "k1", "k2"):
        mirror.changed(key, is_running=False)
    summary = SweepSummary(
        sweep="x", spec="", counts={}, started_at=BEGAN, figures={"ranking": Path("missing/ranking.png")}
    )
    mirror.summarise(summary)
    report = mirror.close(WAIT_S)
    assert report.missed == 1
    assert "result.json is not valid JSON" in report.problem
    assert "1 more" in report.problem
    assert "run the sweep again to write its summary" in report.problem
    assert {key for key in ("k0", "k2") if status_of(paths, uri, key) == "FINISHED"} == {"k0", "k2"}


def test_a_study_that_is_deleted_meanwhile_is_reported_with_the_fix(paths, uri):
    mirror = open_mirror(paths, uri)
    finished(paths, about_of(paths))
    mirror.changed("k0", is_running=False)
    wait_until(lambda: status_of(paths, uri, "k0") == "FINISHED")
    client, _ = client_of(paths, uri)
    client.delete_experiment(client.get_experiment_by_name(paths.name).experiment_id)
    finished(paths, about_of(paths, "k1"))
    mirror.changed("k1", is_running=False)
    report = mirror.close(WAIT_S)
    assert report.missed == 1
    assert "mlflow experiments restore" in report.problem


def test_a_run_that_was_deleted_is_not_made_again(paths, uri):
    finished(paths, about_of(paths, "k0"))
    failed(paths, about_of(paths, "k1"))
    sync(paths, uri)
    client, runs = client_of(paths, uri)
    for run in runs.values():
        client.delete_run(run)
    mirror = open_mirror(paths, uri)  # k0 was deleted on purpose, and nothing is new
    finished(paths, about_of(paths, "k1"))
    mirror.changed("k1", is_running=False)
    report = mirror.close(WAIT_S)
    assert report.missed == 1
    assert f"mlflow runs restore --run-id {runs['k1']}" in report.problem
    assert runs_of(paths, uri) == []


@pytest.fixture(params=["accepts connections", "answers /health"])
def address(request) -> Iterator[str]:
    """URI of a server that never answers a call."""
    if request.param == "answers /health":
        gateway = Gateway()
        yield gateway.address("me:secret")
        gateway.stop()
        return
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        yield f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"


def test_a_server_that_never_answers_delays_neither_the_sweep_nor_its_end(tmp_path, address):
    """1,000 changes take less than 50 ms, `close` ends in time, and so does Python."""
    code = f"""
import json, time
from pathlib import Path
import ablate.tracking.location as location
from ablate.paths import StudyPaths
from ablate.record import StudyFacts
from ablate.tracking import BackgroundMirror
import sys
location.PROBE_S = 600.0
began = time.perf_counter()
mirror = BackgroundMirror(StudyPaths(name="s", root=Path({str(tmp_path)!r})), sys.argv[1], StudyFacts())
opened = time.perf_counter()
durations_s = []
for _ in range(5):  # a busy machine disturbs some of them
    start = time.perf_counter()
    for i in range(1000):
        mirror.changed(f"k{{i % 100}}", is_running=i % 3 == 0)
    durations_s.append(time.perf_counter() - start)
time.sleep(float(sys.argv[2]))
closing = time.perf_counter()
report = mirror.close(0.5)
closed = time.perf_counter()
print(json.dumps([opened - began, min(durations_s), closed - closing, report.missed, report.problem, report.uri]))
"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, address, "3"], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert time.monotonic() - began < 30
    open_s, changes_s, close_s, missed, problem, uri = json.loads(done.stdout)
    assert open_s < 0.5
    assert changes_s < 0.05
    assert close_s < 2
    assert missed == 100
    assert "did not take everything within 0.5 s" in problem
    assert "ablate sync s" in problem
    assert uri == address.replace("secret", "***")
    assert "secret" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_a_uri_that_mlflow_does_not_have_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"tracking URI foo://me:\*\*\*@bar: MLflow has no such store"):
        open_mirror(StudyPaths(name="s", root=tmp_path), "foo://me:pw@bar")
    assert os.listdir(tmp_path) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["running", "ended"]), st.booleans()), max_size=40))
def test_tasks_stay_few_and_the_latest_state_of_each_trial_is_written_last(changes):
    """Whenever the mirror's thread takes a task, and whether it can do it at once or not."""
    tasks, latest, written = Tasks(0.0), {}, {}

    def do_one(*, works: bool) -> bool:
        task = tasks.take()
        if task is None:
            return False
        if not works:
            tasks.postpone(task)
            return True
        written[task.key] = task.kind
        tasks.done(task)
        return True

    for key, kind, works in changes:
        tasks.add(Task(kind=kind, key=key, write=print))
        latest[key] = kind
        assert len(tasks.unfinished()) <= len(latest)
        if works or len(tasks.unfinished()) > 2:
            do_one(works=works)
    tasks.close(0.0)
    assert tasks.take() is None  # nobody waits any more
    remaining = {task.key for task in tasks.unfinished()}
    assert {key: written.get(key) for key in latest if key not in remaining} == {
        key: kind for key, kind in latest.items() if key not in remaining
    }


def test_trials_that_end_are_written_before_points_of_curves():
    tasks = Tasks(0.0)
    for key, kind in (("a", "running"), ("b", "running"), ("c", "ended")):
        tasks.add(Task(kind=kind, key=key, write=print))
    assert [tasks.take().key for _ in range(3)] == ["c", "a", "b"]
