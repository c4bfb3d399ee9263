"""Sweeps with real Ray, MLflow and videos: nothing is lost, nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.end_to_end.conftest import SMALL, Shop

pytestmark = pytest.mark.slow
THREE = SMALL.replace("    - {kind: fps, fps: 1}", "    - {kind: fps, fps: 1}\n    - {kind: fps, fps: 2}")
LONGER = THREE.replace("samples: 640", "samples: 6400")  # some seconds a trial, so that there is a middle to stop in


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "timeout"
        time.sleep(0.1)


def test_a_sweep_from_nothing_to_a_ranking(shop: Shop):
    spec = shop.spec()
    planned = shop.json("sweep", spec, "--dry-run")
    assert not (shop.folder / "runs").exists()  # a dry run writes nothing
    assert (planned["declared"], planned["missing"], planned["done"]) == (2, 2, 0)

    done = shop.json("sweep", spec)
    assert (done["declared"], done["missing"], done["done"], done["failed"]) == (2, 0, 2, 0)
    assert {row["design"] for row in done["rankings"][0]} == {"uniform4", "fps1"}
    records = shop.records()
    outcomes = pd.read_parquet(records["fps1@0.05M/s0"].file("predictions.parquet"))
    assert set(outcomes["modality"]) == {"video", "frame", "text"}
    accuracy = 100 * (outcomes["answer"] == outcomes["predicted"])[outcomes["modality"] == "video"].mean()
    runs = {run.data.tags["ablate.trial"]: run for run in shop.mlflow_runs()}
    assert len(runs) == 2
    run = runs[records["fps1@0.05M/s0"].about.key]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["score/tinybench/overall"] == pytest.approx(accuracy)
    assert run.data.params["sampling"] == "fps1"
    assert {"train/loss"} <= set(run.data.metrics)

    # The same file again: nothing runs, and Ray is not even started.
    began = time.monotonic()
    again = shop.run("sweep", spec)
    assert "2 done, 0 missing" in again.stderr
    assert time.monotonic() - began < 20
    assert "fps1" in again.stdout
    assert "ablate ui small" in again.stdout

    # One more value: only the new trial runs.
    before = {label: record.result for label, record in records.items()}
    more = shop.run("sweep", shop.spec(THREE))
    assert "3 declared, 0 excluded, 0 duplicate, 2 done, 1 missing" in more.stderr
    after = shop.records()
    assert len(after) == len(shop.mlflow_runs()) == 3
    assert {label: after[label].result for label in before} == before


def test_a_trial_has_the_same_scores_alone_and_beside_others(shop: Shop, tmp_path_factory: pytest.TempPathFactory):
    shop.run("sweep", shop.spec(THREE))
    alone = Shop(tmp_path_factory.mktemp("alone"), shop.folder / "fresh-cache")  # with its own videos and features
    alone.run("sweep", alone.spec(SMALL.replace("    - {kind: uniform, frames: 4}\n", "")), "--cpus", "1")
    label = "fps1@0.05M/s0"
    one, other = shop.records()[label], alone.records()[label]
    assert one.about.key == other.about.key
    assert one.result.scores == other.result.scores
    predictions = [pd.read_parquet(r.file("predictions.parquet")) for r in (one, other)]
    pd.testing.assert_frame_equal(*predictions)  # to the bit


def test_a_killed_driver_loses_nothing_and_repeats_nothing(shop: Shop):
    spec = shop.spec(LONGER)
    driver = shop.start("sweep", spec, "--cpus", "1")
    wait_for(lambda: sum(r.status == "done" for r in shop.records().values()) >= 1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    finished = {label: r.result for label, r in shop.records().items() if r.result}
    assert 1 <= len(finished) < 3
    done = shop.json("sweep", spec)
    assert (done["done"], done["failed"]) == (3, 0)
    after = shop.records()
    assert {label: after[label].result for label in finished} == finished
    runs = shop.mlflow_runs()
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_ctrl_c_stops_cleanly_and_the_next_run_continues(shop: Shop):
    spec = shop.spec(LONGER)
    driver = shop.start("sweep", spec, "--cpus", "1")
    wait_for(lambda: any((r.path / "attempts/0/events.jsonl").exists() for r in shop.records().values()))
    family = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, signal.SIGINT)  # to the whole group, as a terminal does
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "interrupted; run the same command to continue" in err
    assert "Traceback" not in out + err
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert {run.info.status for run in shop.mlflow_runs()} <= {"KILLED", "FINISHED"}
    assert shop.json("sweep", spec)["done"] == 3
    assert len(shop.mlflow_runs()) == 3


def test_a_killed_worker_is_retried(shop: Shop):
    driver = shop.start("sweep", shop.spec())

    def workers() -> list[psutil.Process]:
        processes = []
        for process in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # zombies too
                if "ablate.run.worker.serve" in " ".join(process.cmdline()):
                    processes.append(process)
        return processes

    wait_for(lambda: any((r.path / "attempts/0/log.txt").exists() for r in shop.records().values()))
    for worker in workers():
        worker.kill()
    out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert "failed (killed on " in err
    assert "; it is retried" in err
    statuses = [(r.status, {f.kind for f in r.failures}) for r in shop.records().values()]
    assert {status for status, _ in statuses} == {"done"}
    assert {"killed"} in [kinds for _, kinds in statuses]
    assert len(shop.mlflow_runs()) == 2


def test_a_broken_video_fails_only_its_trials(shop: Shop, cache):
    shop.run("sweep", shop.spec())
    (world,) = cache.rglob("train.json")
    mine = shop.folder / "mine"
    (mine / "videos").mkdir(parents=True)
    records = [r for r in json.loads(world.read_text()) if "video" in r][:2]
    tests = json.loads((world.parent / "test.json").read_text())[:1]
    for number, record in enumerate([*records, *tests]):
        whole = (world.parent / record["video"]).read_bytes()
        (mine / record["video"]).write_bytes(whole[: len(whole) // 2] if number == 0 else whole)
    (mine / "train.json").write_text(json.dumps(records))
    (mine / "test.json").write_text(json.dumps(tests))
    mix = "{text: 0.0, image: 0.0, video: 1.0}"
    spec = SMALL.replace(
        "data.train_videos: 24\n  data.test_videos: 6", f"schedule.0.mix: {mix}\n  schedule.1.mix: {mix}"
    )
    spec = spec.replace(
        "axes:", f"axes:\n  data:\n    - {{name: mine, kind: manifest, benchmark: b, folder: {mine}, scoring: text}}"
    )
    failed = shop.run("sweep", shop.spec(spec.replace("study: small", "study: mine")), code=1)
    assert records[0]["video"].split("/")[-1] in failed.stderr
    assert "truncated" in failed.stderr
    runs = shop.mlflow_runs("mine")
    assert {run.info.status for run in runs} == {"FAILED"}
    assert all("VideoError" in run.data.tags["ablate.traceback"] for run in runs)
    (mine / records[0]["video"]).write_bytes((world.parent / records[0]["video"]).read_bytes())
    assert shop.json("sweep", shop.spec(spec.replace("study: small", "study: mine")))["done"] == 2
    assert len(shop.mlflow_runs("mine")) == 2


def test_a_lost_store_is_rebuilt_from_the_folders(shop: Shop):
    shop.run("sweep", shop.spec())
    before = {r.data.tags["ablate.trial"]: (r.data.metrics, r.data.params) for r in shop.mlflow_runs()}
    (shop.folder / "runs" / "mlflow.db").unlink()
    assert shop.json("sync", "small")["created"] == 2
    assert {r.data.tags["ablate.trial"]: (r.data.metrics, r.data.params) for r in shop.mlflow_runs()} == before
    assert shop.json("sync", "small")["unchanged"] == 2


def test_a_running_cluster_is_used_by_its_address(shop: Shop):
    """`ray start --head` in a process of its own; its token, if Ray makes one, is used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += ["--include-dashboard=false", f"--temp-dir={tempfile.mkdtemp(dir='/tmp')}"]  # sockets need short paths
    head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_port(port)
        shop.spec()
        done = shop.run("sweep", "small.yaml", "--address", f"127.0.0.1:{port}")
        assert [record.status for record in shop.records().values()] == ["done", "done"]
        assert "gcs_client" not in done.stderr
    finally:
        head.terminate()  # --block: takes the cluster's other processes along
        head.wait(timeout=30)


def _await_port(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise TimeoutError(f"no Ray head at port {port} after a minute")


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "nothing listens at 127.0.0.1:1"), ("somewhere", "must be `auto` or HOST:PORT")],
)
def test_an_address_without_a_cluster_is_reported_at_once(shop: Shop, address: str, message: str):
    shop.spec()
    started = time.monotonic()
    assert message in shop.run("sweep", "small.yaml", "--address", address, code=2).stderr
    assert time.monotonic() - started < 15
