"""ablate's own trainer in two processes of one node: what they write, and how the failure of one ends both.

The GPUs exist only for the request (ABLATE_FAKE_GPUS); the processes train on CPUs, in a gloo group.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.record import AttemptFolder, TrialFolder
from ablate.run.agent.contract import NodeRole, environments
from tests.ablate.run.agent.test_warm import HOSTILE, Worker, children

ON_SECOND = "if os.environ['RANK'] == '1': {}\ntorch.distributed.barrier()"
"""An act of the second process; the first one waits for it."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "hostile.py").write_text(HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_RUNS", str(folder / "runs"))
        patch.setenv("ABLATE_CACHE", str(folder / "cache"))
        patch.setenv("ABLATE_FAKE_GPUS", "1")
        worker = Worker(folder)
        yield worker
        worker.agent.close()
        assert not children()


@pytest.fixture
def worker(shared: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.syspath_prepend(str(shared.folder))
    return shared


def test_each_process_knows_its_place_and_has_its_share_of_the_cores(worker: Worker):
    job = worker.job(gpus=4, cpus=8, nodes=2)
    assert (job.processes, job.threads_of_process) == (4, 2)
    envs = environments(job, NodeRole(rank=1, nodes=2, master_addr="10.0.0.1", master_port=1234), {})
    assert [(env["RANK"], env["LOCAL_RANK"], env["WORLD_SIZE"]) for env in envs] == [
        (str(4 + n), str(n), "8") for n in range(4)
    ]
    assert {(env["MASTER_ADDR"], env["MASTER_PORT"], env["OMP_NUM_THREADS"]) for env in envs} == {
        ("10.0.0.1", "1234", "2")
    }
    assert [worker.job(gpus=gpus).processes for gpus in (0, 0.5, 1, 3)] == [1, 1, 1, 3]


def test_two_processes_train_a_trial_and_the_first_records_it(worker: Worker):
    job = worker.job(gpus=2, cpus=2)
    assert worker.run(job) is None
    folder = TrialFolder(Path(job.folder))
    result = folder.result()
    assert result is not None
    assert result.scores
    assert (result.environment["ranks"], result.environment["threads"]) == ("2", "1")
    (attempt,) = folder.attempts()
    assert "2 samples trained" in attempt.stdout(1).read_text()  # the log of the second process
    assert attempt.log.read_text().count("samples trained") == 1
    assert [event["step"] for event in attempt.events()] == [1]
    assert not children()
    alone = worker.job(folder=str(worker.study_folder("alone").path))
    assert worker.run(alone) is None
    assert worker.pid is not None  # one process is warm
    of_one = TrialFolder(Path(alone.folder)).result()
    assert of_one is not None
    for one, other in zip(of_one.scores, result.scores, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4)


ACTS = {
    "is out of memory": ("raise torch.OutOfMemoryError('CUDA out of memory')", "oom", "process 1 of 2: CUDA out of"),
    "is killed": ("os.kill(os.getpid(), 9)", "killed", "process 1 was ended by signal 9 (SIGKILL)"),
    "raises": ("raise ValueError('wrong')", "code", "process 1 of 2: wrong"),
    "exits": ("os._exit(3)", "code", ""),
    "finds a full disk": ("raise OSError(errno.ENOSPC, 'No space left')", "node", "No space left"),
    "is stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", "process 1 of the trial gave no sign of life"),
}


@pytest.mark.slow  # each starts two processes that import torch
@pytest.mark.parametrize("act", ACTS)
def test_the_failure_of_one_process_ends_all_and_keeps_its_class(worker: Worker, act: str):
    code, kind, message = ACTS[act]
    attempt = worker.begin(worker.hostile_job(ON_SECOND.format(code), gpus=2))
    failure = worker.end()
    assert failure is not None
    assert (failure.kind, message in failure.message) == (kind, True), failure
    assert attempt.failure() == failure
    assert not children()


@pytest.mark.slow
def test_a_stopped_attempt_ends_all_its_processes(worker: Worker):
    attempt = worker.begin(worker.hostile_job("time.sleep(100)", gpus=2))
    wait_for(attempt, "about to")
    assert len([p for p in children() if "ablate.run.worker.serve" in p.cmdline()]) == 2
    worker.agent.stop()
    assert not children()
    assert attempt.failure() is None


def wait_for(attempt: AttemptFolder, text: str) -> None:
    """Wait until both processes have written something."""
    until = time.monotonic() + 100
    while any(text not in (path.read_text() if path.exists() else "") for path in map(attempt.stdout, range(2))):
        assert time.monotonic() < until
        time.sleep(0.1)
