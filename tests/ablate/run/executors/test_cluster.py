"""Sweeps on a Ray cluster of several nodes: placement, lost nodes and agents, nodes that fail everything."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.record import TrialFolder
from tests.ablate.run.executors.conftest import RayNodes, program_job

pytestmark = pytest.mark.slow

MEET = """
import socket
rank, address = int(os.environ["RANK"]), (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "NNODES", "CUDA_VISIBLE_DEVICES", "NODE_NAME"]
mine = {name: os.environ.get(name) for name in names}
if rank == 0:
    server = socket.create_server(("", address[1]))
    all_ranks = [mine]
    for _ in range(int(os.environ["WORLD_SIZE"]) - 1):
        all_ranks.append(json.loads(server.accept()[0].makefile().readline()))
    with open(out + "/ranks.json", "w") as file:
        json.dump(sorted(all_ranks, key=lambda one: int(one["RANK"])), file)
    finish()
else:
    for _ in range(300):
        try:
            socket.create_connection(address).sendall((json.dumps(mine) + "\\n").encode())
            break
        except OSError:
            time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def two_nodes(ray_nodes: RayNodes) -> list[str]:
    return [ray_nodes.add("first", cpus=2, gpus=2), ray_nodes.add("second", cpus=2, gpus=2)]


def test_a_trial_over_two_nodes_is_one_group_of_processes(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    job = program_job(tmp_path, "wide", MEET, gpus=2.0, nodes=2, processes="gpu")
    sweep = ray_nodes.sweep([job])
    sweep.end()
    assert len(sweep.of("finished")) == 1, sweep.events
    ranks = json.loads((TrialFolder(Path(job.folder)).file("out") / "ranks.json").read_text())
    assert [rank["RANK"] for rank in ranks] == ["0", "1", "2", "3"]
    assert [rank["LOCAL_RANK"] for rank in ranks] == ["0", "1", "0", "1"]
    assert [rank["NODE_RANK"] for rank in ranks] == ["0", "0", "1", "1"]
    assert {rank["WORLD_SIZE"] for rank in ranks} == {"4"}
    assert all(len(rank["CUDA_VISIBLE_DEVICES"].split(",")) == 2 for rank in ranks)
    assert {rank["NODE_NAME"] for rank in ranks} == {"first", "second"}


def test_a_failure_on_the_second_node_ends_the_trial_on_both(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    script = """
if os.environ["NODE_RANK"] == "1":
    time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)
open(out + "/pid", "w").write(str(os.getpid())); time.sleep(120)
"""
    job = program_job(tmp_path, "wide", script, nodes=2)
    sweep = ray_nodes.sweep([job])
    failure = sweep.until("failed")
    assert failure["kind"] == "killed"
    assert "signal 9" in failure["message"], failure
    first = TrialFolder(Path(job.folder)).attempts()[0]
    assert first.failure() is not None
    assert not Path("/proc", (first.out / "pid").read_text()).exists()
    sweep.process.kill()


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_kill_that_is_noticed_after_its_consequence_is_the_failure(
    ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path, victim: str
):
    """The other node's process reports a broken connection first, which alone would be `code`, never retried."""
    script = f"""
if os.environ["NODE_RANK"] != "{victim}":
    sys.exit(1)
time.sleep(1.5); os.kill(os.getpid(), signal.SIGKILL)
"""
    sweep = ray_nodes.sweep([program_job(tmp_path, "wide", script, nodes=2)])
    failure = sweep.until("failed")
    assert failure["kind"] == "killed", failure
    assert failure["retried"]
    sweep.process.kill()


QUICK = "finish()"


def test_a_lost_node_is_named_and_its_trial_runs_on_another(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    large = ray_nodes.add("doomed", cpus=4)
    script = """
open(out + "/node", "w").write(os.environ["NODE_NAME"])
if os.environ["NODE_NAME"] == "doomed":
    time.sleep(300)
finish()
"""
    sweep = ray_nodes.sweep([program_job(tmp_path, "large", script, cpus=4.0)])
    folder = TrialFolder(tmp_path / "large")
    sweep.until("started")
    _until(lambda: folder.attempts() and (folder.file("out") / "node").exists())
    ray_nodes.add("rescue", cpus=4)
    ray_nodes.remove(large)
    failure = sweep.until("failed")
    assert failure["kind"] == "node"
    assert failure["retried"]
    assert large[:8] in failure["message"]
    assert "None" not in failure["message"]
    sweep.end()
    assert (folder.file("out") / "node").read_text() == "rescue"


def test_an_agent_that_is_killed_costs_its_trial_alone(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    poison = "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    jobs = [program_job(tmp_path, "poison", poison)]
    jobs += [program_job(tmp_path, f"healthy{n}", QUICK) for n in range(6)]
    sweep = ray_nodes.sweep(
        jobs, raises=["started", "progressed", "finished", "failed"]
    )  # nor does the listener end it
    sweep.end()
    assert sorted(event["label"] for event in sweep.of("finished")) == [f"healthy{n}" for n in range(6)]
    failures = sweep.of("failed")
    assert {event["label"] for event in failures} == {"poison"}
    assert [event["retried"] for event in failures] == [True, True, False]
    assert {event["kind"] for event in failures} == {"killed"}
    assert all("signal 9" in event["message"] for event in failures)


def test_a_node_that_fails_everything_is_left_out(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    script = """
if os.environ["NODE_NAME"] == "second":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.5)
finish()
"""
    sweep = ray_nodes.sweep([program_job(tmp_path, f"t{n}", script) for n in range(10)])
    sweep.end()
    assert len(sweep.of("finished")) == 10
    assert 3 <= len(sweep.of("failed")) <= 4, "after 3 failures in a row nothing begins there, but what ran beside them"
    [note] = sweep.of("note")
    assert two_nodes[1][:8] in note["message"]
    assert "signal 9" in note["message"]


def test_small_jobs_start_beside_a_large_one_that_waits(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    """Both nodes have two CPUs: one is busy with the first job, the second job needs a node of its own and waits."""
    gate = tmp_path / "gate"
    blocked = f"""
while not os.path.exists({str(gate)!r}):
    time.sleep(0.1)
finish()
"""
    jobs = [program_job(tmp_path, f"first{n}", blocked) for n in range(2)]
    jobs += [program_job(tmp_path, "large", QUICK, cpus=2.0, nodes=2)]
    jobs += [program_job(tmp_path, f"small{n}", QUICK) for n in range(3)]
    sweep = ray_nodes.sweep(jobs)
    for _ in range(3):
        assert sweep.until("finished")["label"].startswith("small")
    gate.touch()
    sweep.end()
    assert len(sweep.of("finished")) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_driver_ends_all_processes(
    ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path, number: signal.Signals
):
    script = """
open(out + "/pid", "w").write(str(os.getpid()))
time.sleep(300)
"""
    jobs = [program_job(tmp_path, "narrow", script), program_job(tmp_path, "wide", script, nodes=2, processes="gpu")]
    sweep = ray_nodes.sweep(jobs)
    pids = [tmp_path / label / "attempts" / "0" / "out" / "pid" for label in ("narrow", "wide")]
    _until(lambda: all(path.exists() and path.read_text() for path in pids))
    sweep.process.send_signal(number)
    sweep.process.wait(timeout=40)
    _until(lambda: not any(Path("/proc", path.read_text()).exists() for path in pids))


def test_a_cluster_without_authentication_is_used_though_there_is_a_token(
    ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path
):
    sweep = ray_nodes.sweep([program_job(tmp_path, "trial", QUICK)], mode=None)
    sweep.end()
    assert len(sweep.of("finished")) == 1


def test_nodes_that_may_come_are_no_reason_to_refuse(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    ray_nodes.announce(cpus=32, gpus=8)
    trial = program_job(tmp_path, "trial", QUICK)
    sweep = ray_nodes.sweep([trial], infeasible="asks for 16 GPU", cluster={"nodes_may_come": True})
    sweep.end()
    [check], [note] = sweep.of("nodes"), sweep.of("note")
    assert {"CPU": 32.0, "GPU": 8.0} in check["nodes"], "what the autoscaler announces can be asked for"
    assert "asks for 16 GPU" in note["message"]
    assert len(sweep.of("finished")) == 1


def test_a_stopped_queue_takes_back_what_waits_for_resources(ray_nodes: RayNodes, two_nodes: list[str], tmp_path: Path):
    huge = program_job(tmp_path, "huge", QUICK, cpus=512.0)
    quick = program_job(tmp_path, "quick", "time.sleep(8); finish()")
    sweep = ray_nodes.sweep([huge, quick], stop_after="quick")
    sweep.end()
    assert [event["label"] for event in sweep.of("started")] == ["quick"]
    [note] = sweep.of("note")
    assert "huge waits: it needs 1 node(s) with 512 CPU" in note["message"]


def _until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
