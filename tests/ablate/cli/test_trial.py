"""`ablate trial`: one trial in the foreground, with programs that behave well and badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ablate.paths import study_paths
from tests.ablate.cli.test_app import REPOSITORY, ablate, refused

SPEC = """
study: mine
limits: {silence: 2s}
resources: {cpus: 1}
trainer:
  command: [PYTHON, program.py, "{config}", "{out}"]
  code: [program.py]
axes:
  does: [NAMES]
scales: [{label: 0.1M}, {label: 0.2M}]
metric: mine/overall
""".replace("PYTHON", sys.executable)
PROGRAM = """
import json, os, signal, subprocess, sys, time
config, out = json.load(open(sys.argv[1])), sys.argv[2]
does = config["does"]

def write(name, text, mode="w"):
    with open(os.path.join(out, name), mode) as file:
        file.write(text)

def progress(step):
    write("progress.jsonl", json.dumps({"step": step, "steps": 3, "loss": 1 / step}) + "\\n", "a")

def result():
    write("result.json", json.dumps({"scores": [{"benchmark": "mine", "score": 50 + config["seed"]}]}))

write("pid", str(os.getpid()))
write("gpus", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
for step in (1, 2, 3):
    progress(step)
match does:
    case "well":
        result()
    case "exit3":
        print("no such file", file=sys.stderr)
        sys.exit(3)
    case "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    case "oom":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB")
    case "hangs" | "waits":
        time.sleep(300)
    case "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        write("ready", "")
        time.sleep(300)
    case "garbage":
        write("progress.jsonl", "Epoch 1: 100%|###\\n\\x00{{{\\n", "a")
        print("\\x00\\xff" * 100)
        result()
    case "silent":
        os.remove(os.path.join(out, "progress.jsonl"))
        result()
    case "malformed":
        write("result.json", '{"scores": [')
    case "incomplete":
        write("result.json", json.dumps({"scores": [{"benchmark": "other", "score": 1.0}]}))
    case "states":
        write("failure.json", json.dumps({"class": "diverged", "message": "loss is NaN at step 3"}))
        sys.exit(1)
    case "forks":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        write("child", str(child.pid))
        result()
"""


@pytest.fixture
def spec(tmp_path):
    def written(*names):
        (tmp_path / "program.py").write_text(PROGRAM)
        path = tmp_path / "spec.yaml"
        path.write_text(SPEC.replace("NAMES", ", ".join(names)))
        return path

    return written


def attempts():
    return sorted(study_paths("mine").trials.glob("*/attempts/*"))


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_program_that_keeps_the_contract_is_recorded_like_a_trial_of_a_sweep(spec):
    path = spec("well", "exit3")
    answer = json.loads(ablate("trial", path, "well@0.1M", "--json").stdout)
    assert answer["trial"] == "well@0.1M/s0"
    assert answer["ran"] is True
    assert answer["failure"] is None
    assert answer["scores"] == [{"benchmark": "mine", "category": "overall", "modality": "video", "score": 50.0}]
    (attempt,) = attempts()
    assert [json.loads(line)["loss"] for line in (attempt / "events.jsonl").read_text().splitlines()] == [
        1,
        1 / 2,
        1 / 3,
    ]
    states = {p["label"]: p["status"] for p in json.loads(ablate("plan", path, "--json").stdout)["trials"]}
    assert states["well@0.1M/s0"] == "done"
    assert states["well@0.2M/s0"] == "new"
    again = ablate("trial", path, "well@0.1M/s0")
    assert "was done before; a finished trial never runs again" in again.stderr
    assert "50.00" in again.stdout
    assert len(attempts()) == 1


@pytest.mark.parametrize(
    ("does", "kind", "message"),
    [
        ("exit3", "code", "exit code 3"),
        ("killed", "killed", "signal 9"),
        ("oom", "oom", "CUDA out of memory"),
        ("hangs", "timeout", "silence"),
        ("malformed", "code", "is not valid JSON"),
        (
            "incomplete",
            "code",
            "has no score mine/overall of the modality video, which ranks the designs; it has: other",
        ),
        ("states", "diverged", "loss is NaN at step 3"),
    ],
)
def test_a_program_that_fails_is_recorded_with_its_class(spec, does, kind, message):
    answer = json.loads(ablate("trial", spec(does), f"{does}@0.1M", "--json", code=1).stdout)
    assert answer["failure"]["class"] == kind
    assert message in answer["failure"]["message"]
    assert answer["scores"] == []
    (attempt,) = attempts()
    assert json.loads((attempt / "failure.json").read_text())["kind"] == kind
    assert not is_alive(int((attempt / "out" / "pid").read_text()))


def test_garbage_in_progress_and_output_does_not_matter(spec):
    ablate("trial", spec("garbage"), "garbage@0.1M")
    (attempt,) = attempts()
    assert "line 4: not JSON" in (attempt / "log.txt").read_text()


def test_children_that_outlive_their_program_are_ended(spec):
    ablate("trial", spec("forks"), "forks@0.1M")
    (attempt,) = attempts()
    assert not is_alive(int((attempt / "out" / "child").read_text()))


def test_a_limit_of_the_command_line_ends_a_trial(spec):
    failed = ablate("trial", spec("waits"), "waits@0.1M", "--attempt-limit", "1s", code=1)
    assert "failed (timeout)" in failed.stderr


@pytest.mark.parametrize(("gpus", "visible"), [(2, "3,5"), (0.5, "3"), (0, "3,5,7")])
def test_a_program_sees_as_many_gpus_as_in_a_sweep(spec, monkeypatch, gpus, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    path = spec("well")
    path.write_text(path.read_text().replace("{cpus: 1}", f"{{cpus: 1, gpus: {gpus}}}"))
    ablate("trial", path, "well@0.1M")
    (attempt,) = attempts()
    assert (attempt / "out" / "gpus").read_text() == visible
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5,7"


def test_resources_that_this_machine_lacks_are_refused(spec, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    path = spec("well")
    path.write_text(path.read_text().replace("{cpus: 1}", "{cpus: 1, gpus: 8}"))
    assert "well@0.1M/s0 asks for 1 CPU, 8 GPU" in refused("trial", path, "well@0.1M", code=3)
    path.write_text(path.read_text().replace("gpus: 8", "nodes: 2"))
    assert "asks for 2 nodes" in refused("trial", path, "well@0.1M", "--smoke", code=3)


def test_labels(spec):
    path = spec("well", "exit3")
    assert "no trial of" in (message := refused("trial", path, "wells@0.1M"))
    assert "the nearest are well@0.1M/s0" in message
    assert "'well' is part of several labels: well@0.1M/s0, well@0.2M/s0; give one" in refused("trial", path, "well")
    assert "is no duration" in refused("trial", path, "well@0.1M", "--attempt-limit", "5")


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_copies_of_the_command_are_refused(spec, monkeypatch, variable):
    monkeypatch.setenv(variable, "4")
    assert f"{variable} is 4, but `ablate trial` runs in one process: it starts" in refused(
        "trial", spec("well"), "0.1M"
    )
    tiny = spec("well").with_name("tiny.yaml")
    tiny.write_text("study: t\nbase: tiny\naxes: {resampler.tokens_per_frame: [4]}\nscales: [0.05M]\nsamples: 64\n")
    assert f"{variable} is 4, but tpf4@0.05M/s0 has 1 process(es), one for each GPU" in refused("trial", tiny, "0.05M")
    assert "--smoke checks a training program of your own" in refused("trial", tiny, "0.05M", "--smoke")
    monkeypatch.setenv(variable, "1")
    ablate("trial", spec("well"), "well@0.1M")


def checks(*arguments, code):
    answer = json.loads(ablate("trial", *arguments, "--smoke", "--json", code=code).stdout)
    return {check["name"]: (check["verdict"], check["text"]) for check in answer["checks"]}, Path(answer["files"])


def test_smoke_of_a_program_that_keeps_the_contract(spec):
    found, files = checks(spec("well"), "well@0.1M", code=0)
    assert {name: verdict for name, (verdict, _) in found.items()} == {
        "design": "ok",
        "progress": "ok",
        "result": "ok",
        "processes": "ok",
    }
    assert "3 lines, the last at step 3 of 3" in found["progress"][1]
    assert (files / "out" / "result.json").exists()
    assert not study_paths("mine").folder.exists()  # nothing is recorded


@pytest.mark.parametrize(
    ("does", "check", "text"),
    [
        ("silent", "progress", "reporter.report("),
        ("garbage", "progress", "2 lines in"),
        ("incomplete", "result", "mine/overall"),
        ("exit3", "result", "exit code 3"),
        ("forks", "processes", "1 process that it had started outlived it"),
    ],
)
def test_smoke_says_what_is_missing(spec, does, check, text):
    found, _ = checks(spec(does), f"{does}@0.1M", code=1)
    assert [name for name, (verdict, _) in found.items() if verdict == "failed"] == [check]
    assert text in found[check][1]


def test_smoke_of_a_program_that_takes_longer_than_the_limit(spec):
    found, _ = checks(spec("waits"), "waits@0.1M", "--attempt-limit", "1s", code=0)
    assert found["result"][0] == "not checked"
    assert found["SIGTERM"][0] == "ok"


def test_smoke_of_a_command_without_the_design(spec):
    path = spec("well")
    path.write_text(path.read_text().replace('"{config}"', '"{out}/../inputs/config.json"'))
    found, _ = checks(path, "well@0.1M", code=0)
    assert found["design"][0] == "not checked"
    assert "ABLATE_CONFIG" in found["design"][1]


@pytest.mark.slow
def test_smoke_of_a_program_that_ignores_sigterm(spec):
    found, _ = checks(spec("stubborn"), "stubborn@0.1M", "--attempt-limit", "2s", code=1)
    assert "did not end within 10 s after SIGTERM and was killed" in found["SIGTERM"][1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_program_and_are_recorded(spec, number):
    path = spec("waits").with_name("spec.yaml")
    path.write_text(path.read_text().replace("limits: {silence: 2s}", ""))
    command = [sys.executable, "-m", "ablate.cli", "trial", str(path), "waits@0.1M"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (ready := [a for a in attempts() if (a / "events.jsonl").exists()]) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted; run the same command to start it again" in stderr
    assert json.loads((ready[0] / "failure.json").read_text())["kind"] == "interrupted"
    assert not is_alive(int((ready[0] / "out" / "pid").read_text()))


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "gpus"), [([], 0), ([*TORCHRUN, "1"], 0), ([], 2), ([*TORCHRUN, "2"], 2)])
def test_a_trial_of_our_own_trainer_runs_by_itself_and_under_torchrun(tmp_path, launcher, gpus):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "study: t\nbase: tiny\nset: {data.train_videos: 24, data.test_videos: 6}\n"
        f"axes: {{resampler.tokens_per_frame: [4]}}\nscales: [0.05M]\nsamples: 64\nresources: {{gpus: {gpus}}}\n"
    )
    command = [sys.executable, *launcher, "-m", "ablate.cli", "trial", str(path), "0.05M"]
    env = {**os.environ, "ABLATE_FAKE_GPUS": "1", "CUDA_VISIBLE_DEVICES": "0,1"}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "preparing: model" in done.stderr
    assert done.stdout.count("done in") == 1  # said once, by the first process
    (result,) = study_paths("t").trials.glob("*/result.json")
    assert json.loads(result.read_text())["environment"].get("ranks") == ("2" if gpus else None)
    assert len(list((result.parent / "attempts").iterdir())) == 1
