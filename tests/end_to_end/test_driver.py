"""The driver of a sweep as a process: signals, terminals, other drivers. The trials run a small user program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Shop
from tests.end_to_end.test_sweep import wait_for

pytestmark = pytest.mark.slow
PROGRAM = """\
import json, os, signal, sys, time
out, config = sys.argv[1], json.load(open(sys.argv[2]))
if config.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for step in range(config["steps"]):
    with open(os.path.join(out, "progress.jsonl"), "a") as file:
        file.write(json.dumps({"step": step, "steps": config["steps"], "loss": 1.0}) + "\\n")
    time.sleep(0.1)
if config.get("fails"):
    sys.exit("no such file: weights.pt")
with open(os.path.join(out, "result.json"), "w") as file:
    json.dump({"scores": [{"benchmark": "mine", "score": config["size"]}]}, file)
"""
SPEC = """\
study: small
resources: {cpus: 1, gpus: 0}
trainer: {command: [python3, train.py, "{out}", "{config}"], code: [train.py]}
set: {steps: 3}
axes: {size: [1, 2, 3]}
scales: [{label: s}]
metric: {name: mine/overall, lower_is_better: false}
"""
HANGING = SPEC.replace("steps: 3", "steps: 600")


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A working directory with a program."""
    (shop.folder / "train.py").write_text(PROGRAM)
    return shop


def programs(shop: Shop) -> list[psutil.Process]:
    """The processes of trials that run."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "train.py" in words and any(word.startswith(str(shop.folder)) for word in words):
            found.append(process)
    return found


def started(shop: Shop, text: str, *options: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A sweep with a trial that runs, and all processes of both."""
    driver = shop.start("sweep", shop.spec(text), "--max-running", "1", *options)
    wait_for(lambda: bool(programs(shop)))
    return driver, [*psutil.Process(driver.pid).children(recursive=True), *programs(shop)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_sweep_and_its_processes_with_a_record(shop: Shop, number: signal.Signals):
    driver, family = started(shop, HANGING)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "interrupted; run the same command to continue" in err
    assert "Traceback" not in out + err
    assert not psutil.wait_procs(family, timeout=20)[1]
    (record,) = [r for r in shop.records().values() if r.failures]
    assert [failure.kind for failure in record.failures] == ["interrupted"]
    assert shop.run("attach", "small", code=130).stderr.count("exit code 130, interrupted") == 1


def test_ctrl_c_twice_ends_at_once_and_leaves_no_process(shop: Shop):
    driver, family = started(shop, HANGING.replace("steps: 600", "steps: 600, stubborn: true"))
    driver.send_signal(signal.SIGINT)
    time.sleep(1)
    assert driver.poll() is None  # it gives the program its time to end
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert driver.returncode == 130
    assert "Traceback" not in out + err
    assert not psutil.wait_procs(family, timeout=20)[1]
    spec = shop.spec(HANGING.replace("steps: 600", "steps: 3"))
    assert shop.json("sweep", spec)["done"] == 3  # nothing is left that stands in the way


def test_a_second_driver_is_refused_and_a_killed_one_replaced(shop: Shop):
    driver, _ = started(shop, HANGING)
    orphans = programs(shop)
    (shop.folder / "short.yaml").write_text(SPEC)
    for command in (("sweep", "short.yaml"), ("sync", "small")):
        refused = shop.run(*command, code=1).stderr
        assert f"study 'small' belongs to process {driver.pid} of" in refused
        assert "ablate sweep" in refused
        assert f"`kill {driver.pid}`" in refused
    driver.kill()
    driver.communicate()
    assert not psutil.wait_procs(orphans, timeout=30)[1]  # Ray's own helpers may stay for a minute
    assert shop.json("sweep", "short.yaml")["done"] == 3  # without any flag


def test_a_detached_sweep_survives_its_terminal_and_is_followed(shop: Shop):
    spec = shop.spec(SPEC.replace("steps: 3", "steps: 30"))
    begun = shop.run("sweep", spec, "--max-running", "1", "--detach").stdout
    pid = json.loads((shop.folder / "runs" / "small" / "driver.json").read_text())["pid"]
    assert f"end it: kill {pid}" in begun
    assert "ablate attach small" in begun
    assert os.getsid(pid) == pid  # a session of its own: no terminal sends it SIGHUP
    follower = shop.start("attach")
    wait_for(lambda: bool(programs(shop)))
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert f"the sweep goes on; end it with `kill {pid}`" in err
    assert psutil.pid_exists(pid)
    followed = shop.run("attach", "small")
    assert "size1@s/s0 started" in followed.stdout
    assert "3 done, 0 missing" in followed.stdout
    assert "exit code 0, all trials done" in followed.stderr
    assert "\x1b" not in followed.stdout
    again = shop.json("sweep", spec, "--detach")  # a second one appends to the log, and is followed from its start
    wait_for(lambda: not psutil.pid_exists(again["pid"]))
    assert Path(again["log"]).read_text().count("3 done, 0 missing") == 2
    assert "no sweep runs in the study" in shop.run("attach", "small").stderr


def test_errors_before_a_detached_sweep_starts_are_seen(shop: Shop):
    wrong = shop.run("sweep", shop.spec(SPEC.replace("axes", "axis")), "--detach", code=2)
    assert "small.yaml:" in wrong.stderr
    large = shop.run("sweep", shop.spec(SPEC.replace("gpus: 0", "gpus: 64")), "--detach", code=3)
    assert "asks for 1 CPU, 64 GPU" in large.stderr
    driver, _ = started(shop, HANGING)
    assert f"belongs to process {driver.pid}" in shop.run("sweep", "small.yaml", "--detach", code=1).stderr
    driver.terminate()
    driver.communicate(timeout=60)
    assert not (shop.folder / "runs" / "small" / "driver.log").exists()


def test_failures_in_a_row_stop_the_sweep(shop: Shop):
    spec = shop.spec(SPEC.replace("steps: 3", "steps: 3, fails: true") + "limits: {failures: 2}\n")
    done = shop.json("sweep", spec, "--max-running", "1", code=1)
    assert "2 code, first size1@s/s0: " in done["stopped"]
    assert len(done["failures"]) == 2
    assert done["unfinished"] == [f"size{n}@s/s0" for n in (1, 2, 3)]


def test_the_limit_of_a_sweep_ends_a_hanging_trial(shop: Shop):
    done = shop.json("sweep", shop.spec(HANGING + "limits: {sweep: 15s}\n"), code=1)
    assert done["stopped"].startswith("`limits.sweep` is reached: the sweep ran for 15s")
    assert not done["interrupted"]
    assert not programs(shop)


def test_a_sweep_is_done_in_parts(shop: Shop):
    spec = shop.spec(SPEC)
    shown = shop.json("sweep", spec, "--dry-run", "--only", "size2")
    assert [trial["label"] for trial in shown["trials"]] == ["size2@s/s0"]
    part = shop.json("sweep", spec, "--priority", "size3", "--limit", "1")
    assert (part["selected"], part["done"], part["missing"]) == (1, 1, 2)
    assert [label for label, record in shop.records().items() if record.result] == ["size3@s/s0"]
    assert "nearest are size2" in shop.run("sweep", spec, "--only", "size20", code=2).stderr
    assert shop.json("sweep", spec)["selected"] == 2


def test_nobody_reads_the_output(shop: Shop):
    """`ablate sweep | head`, and a terminal that is closed while the sweep goes on: the exit code is the sweep's."""
    driver = shop.start("sweep", shop.spec(SPEC))
    assert driver.stdout is not None
    assert driver.stderr is not None
    driver.stdout.close()
    driver.stderr.close()
    assert driver.wait(timeout=120) == 0
    assert [record.status for record in shop.records().values()] == ["done"] * 3
    assert json.loads((shop.folder / "runs" / "small" / "driver-end.json").read_text())["exit_code"] == 0
