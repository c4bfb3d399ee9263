"""ablate's own trainer in the warm process: which trials share it, what ends it, and how it is watched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ablate.record import AttemptFolder, Failure, Result, TrialFolder, folder_of
from ablate.run import about, job_of
from ablate.run.agent import Agent, Ended, NodeRole, Patience, free_port
from ablate.run.job import Job, Progress
from tests.ablate.run.worker.studies import Study

HOSTILE = """
import ctypes, errno, os, signal, subprocess, sys, time
import torch
from models.encoders.base import VisionEncoder

class Encoder(VisionEncoder):
    def __init__(self, act):
        print("about to", act, flush=True)
        exec(act)
        raise RuntimeError("CUDA error: device-side assert triggered")

    def forward(self, clips):
        raise NotImplementedError
"""
"""An encoder of the user's that does anything."""
PATIENCE = Patience(grace_s=0.5, frozen_s=6.0, beat_s=0.2, tick_s=0.05, look_s=0.1)


class Worker:
    """An agent, and trials for it."""

    def __init__(self, folder: Path) -> None:
        self.agent, self.folder = Agent(PATIENCE), folder
        self.study = Study(folder)
        self.plan = self.study.plan("tiny/image-encoder@2")
        self.progress: list[Progress] = []

    def job(self, seed: int = 0, **fields: Any) -> Job:
        """A trial of one step, which takes half a second."""
        planned = self.plan.planned[seed]
        folder_of(self.plan.paths, planned.trial.key).describe(about(self.plan, planned.trial))
        return replace(job_of(self.plan, planned), **fields)

    def empty_job(self, name: str, **fields: Any) -> Job:
        """A trial that has a result already: nothing is left to do."""
        folder = TrialFolder(self.folder / name)
        with suppress(FileExistsError):
            folder.finish(Result(key="k", attempt=0, scores=[], seconds=1, started_at=1, ended_at=2, environment={}))
        return self.job(folder=str(folder.path), **fields)

    def hostile_job(self, act: str, **fields: Any) -> Job:
        """A trial whose encoder acts."""
        job = self.job(folder=str(self.hostile.path), **fields)
        design: Any = job.config["design"]
        encoder = {"kind": "custom", "path": "hostile:Encoder", "options": {"act": act}, "grid": [1, 2, 2], "width": 8}
        return replace(job, config=job.config | {"design": design | {"encoders": [encoder]}})

    @property
    def hostile(self) -> TrialFolder:
        """The folder of all hostile trials: it never has a result."""
        return self.study_folder("hostile")

    def study_folder(self, name: str) -> TrialFolder:
        return TrialFolder(self.folder / "study" / "trials" / name)

    def run(self, job: Job) -> Failure | None:
        self.begin(job)
        return self.end()

    def begin(self, job: Job) -> AttemptFolder:
        attempt = TrialFolder(Path(job.folder)).begin() if not TrialFolder(Path(job.folder)).result() else None
        attempt = attempt or AttemptFolder(Path(job.folder) / "attempts" / "0")
        attempt.path.mkdir(parents=True, exist_ok=True)
        self.agent.begin(job, attempt, NodeRole(master_port=free_port()))
        return attempt

    def end(self) -> Failure | None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            now = self.agent.poll(0.05)
            if isinstance(now, Ended):
                return now.failure
            self.progress.append(now)
        raise TimeoutError

    @property
    def pid(self) -> int | None:
        """The warm process of this test's process."""
        return next((p.pid for p in children() if "ablate.run.worker.serve" in p.cmdline()), None)


def children() -> list[psutil.Process]:
    processes = psutil.Process().children(recursive=True)
    return [process for process in processes if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("warm")
    (folder / "hostile.py").write_text(HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_RUNS", str(folder / "runs"))
        patch.setenv("ABLATE_CACHE", str(folder / "cache"))
        worker = Worker(folder)
        yield worker
        worker.agent.close()
        assert not children()


@pytest.fixture
def worker(shared: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.syspath_prepend(str(shared.folder))
    return shared


def test_trials_share_a_process_until_one_fails(worker: Worker, tmp_path: Path):
    assert worker.run(worker.job()) is None
    first = worker.pid
    assert first is not None
    assert worker.progress[-1].phase in ("preparing", "training", "testing")
    result = TrialFolder(Path(worker.job().folder)).result()
    assert result is not None
    assert result.scores
    assert worker.run(worker.empty_job("again")) is None
    assert worker.pid == first
    failure = worker.run(replace(worker.job(seed=1), config=worker.job().config | {"seed": -1}))
    assert failure is not None
    assert "greater than or equal to 0" in failure.message
    assert "ValidationError" in failure.traceback
    (attempt,) = TrialFolder(Path(worker.job(seed=1).folder)).attempts()
    assert attempt.failure() == failure
    assert "failed (" in attempt.log.read_text()
    assert worker.pid is None
    assert worker.run(worker.empty_job("third")) is None
    assert worker.pid not in (None, first)


def test_trials_of_a_process_share_first_stages(worker: Worker):
    folders = [worker.study_folder(name) for name in ("shared0", "shared1")]
    for folder in folders:
        assert worker.run(worker.job(folder=str(folder.path))) is None
    log = folders[1].file("log.txt").read_text()
    assert "reused the first 1 steps of an earlier trial of this worker, which are identical" in log
    first, second = (folder.result() for folder in folders)
    assert first is not None
    assert second is not None
    assert first.scores == second.scores


def test_a_process_has_the_threads_of_its_trials(worker: Worker):
    assert worker.run(worker.empty_job("one")) is None
    before = worker.pid
    assert worker.run(worker.empty_job("three", cpus=3)) is None
    assert worker.pid != before
    assert psutil.Process(worker.pid).environ()["OMP_NUM_THREADS"] == "3"


ACTS: dict[str, tuple[str, str, str]] = {
    "raises": ("pass", "code", "device-side assert"),
    "is out of memory": ("raise torch.OutOfMemoryError('CUDA out of memory')", "oom", "CUDA out of memory"),
    "finds a full disk": ("raise OSError(errno.ENOSPC, 'No space left on device')", "node", "No space left"),
    "cannot record its failure": (
        "log = os.readlink('/proc/self/fd/1'); folder = os.path.dirname(log); os.rename(folder, folder + '-moved');"
        "open(folder, 'w')",
        "node",
        "could not write its record",
    ),
    "aborts": ("print('terminate called', file=sys.stderr); os.abort()", "code", "(SIGABRT)"),
    "is killed": ("os.kill(os.getpid(), 9)", "killed", "signal 9 (SIGKILL)"),
    "exits": ("os._exit(3)", "code", "exit code 3"),
    "is stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", "no sign of life for 6 s"),
    "holds the GIL": ("ctypes.PyDLL(None).sleep(100)", "timeout", "its interpreter is blocked"),
    "is silent": ("time.sleep(100)", "timeout", "no progress and no output"),
    "forks and dies": (
        "subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(0.3); os._exit(1)",
        "code",
        "exit code 1",
    ),
}


@pytest.mark.slow  # each starts a process that imports torch
@pytest.mark.parametrize("act", ACTS)
def test_whatever_a_trial_does_it_has_a_class_and_the_next_one_runs(worker: Worker, act: str):
    code, kind, message = ACTS[act]
    assert worker.run(worker.empty_job("first")) is None  # torch is imported, and is no part of a silence
    attempt = worker.begin(worker.hostile_job(code, silence_limit_s=60.0 if act != "is silent" else 4.0))
    failure = worker.end()
    assert failure is not None
    assert (failure.kind, message in failure.message) == (kind, True), failure
    if attempt.path.is_file():
        attempt.path.unlink()
    else:
        assert attempt.failure() == failure
    assert not children()


@pytest.mark.slow
def test_a_poisoned_process_does_not_reach_the_next_trial(worker: Worker):
    """As after a CUDA error, all that the process computes later fails."""
    poison = "torch.Tensor.backward = None; torch.nn.Linear.forward = None"
    assert worker.run(worker.hostile_job(poison)) is not None
    assert worker.run(worker.job(seed=1)) is None


def test_output_is_in_the_attempts_files_and_later_output_in_none(worker: Worker):
    """What is printed between two trials may belong to neither."""
    failure = worker.run(worker.hostile_job("print('to stderr', file=sys.stderr); os.system('echo from a child')"))
    assert failure is not None
    attempt = worker.hostile.attempts()[-1]
    assert "from a child" in attempt.stdout().read_text()
    assert "to stderr" in attempt.stderr().read_text()


def test_a_stopped_trial_has_ended_and_has_no_record(worker: Worker):
    attempt = worker.begin(worker.hostile_job("time.sleep(100)"))
    until = time.monotonic() + 60
    while "about to" not in (attempt.stdout().read_text() if attempt.stdout().exists() else ""):
        assert time.monotonic() < until
        time.sleep(0.05)
    worker.agent.stop()
    assert not children()
    assert attempt.failure() is None


def test_a_config_records_what_ran(worker: Worker):
    worker.run(worker.empty_job("config"))
    data = json.loads((worker.folder / "config" / "attempts" / "0" / "config.json").read_text())
    assert data["job"]["config"] == worker.job().config
    assert os.path.basename(data["command"][0]).startswith("python")
