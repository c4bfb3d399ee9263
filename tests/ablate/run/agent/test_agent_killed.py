"""An agent that is killed: its processes do not go on, and the next agent of the machine ends what they have forked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ablate.run.agent import end_leftovers
from tests.ablate.run.agent.conftest import GOOD, Node, alive

DRIVER = """
import sys, time
from pathlib import Path
from tests.ablate.run.agent.conftest import Node
node = Node(Path(sys.argv[1]))
node.begin(node.job(sys.stdin.read(), processes=sys.argv[2], gpus=int(sys.argv[3])))
time.sleep(600)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process with an agent that runs a script, and waits until the script has written `ready` files."""
    processes = []

    def start(script: str, kind: str = "node", gpus: int = 0, ready: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", DRIVER, str(tmp_path), kind, str(gpus)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4])
        processes.append(process)
        assert process.stdin is not None
        process.stdin.write(script)
        process.stdin.close()
        within(60, lambda: len(list(tmp_path.glob("ready*"))) == ready)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    end_leftovers()


def within(seconds: float, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(("kind", "gpus"), [("node", 0), ("gpu", 3)])
def test_its_processes_end_with_it(driver, tmp_path: Path, kind: str, gpus: int):
    script = "import os, time; open(f'ready{os.environ.get(\"RANK\")}', 'w'); time.sleep(600)"
    process = driver(script, kind, gpus, ready=max(1, gpus))
    assert alive(tmp_path)
    kill(process)
    within(5, lambda: not alive(tmp_path))


def test_what_they_have_forked_is_ended_by_the_next_agent(driver, tmp_path: Path, node: Node):
    script = """
import os, signal, subprocess, sys, time
child = "import time; open('ready', 'w'); time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", child, os.environ["ABLATE_OUT"]], start_new_session=True)
time.sleep(600)
"""
    process = driver(script)
    kill(process)
    within(5, lambda: len(alive(tmp_path)) == 1)  # limit: this one does not notice
    assert node.run(GOOD).failure is None
    assert not alive(tmp_path)


def test_a_program_that_ignores_sigterm_is_ended_by_the_next_agent(driver, tmp_path: Path, node: Node):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
    kill(driver(script))
    time.sleep(0.5)
    assert len(alive(tmp_path)) == 1  # limit: the kernel sends a launcher SIGTERM, so that torchrun ends its processes
    assert node.run(GOOD).failure is None
    assert not alive(tmp_path)


def test_processes_of_living_agents_are_no_leftovers(driver, tmp_path: Path):
    driver("import time; open('ready', 'w'); time.sleep(600)")
    before = alive(tmp_path)
    assert not {*before} & {*end_leftovers()}
    assert alive(tmp_path) == before


def test_processes_of_another_container_are_no_leftovers(tmp_path: Path):
    """There an agent has a process id that means another process here, or none."""
    foreign = subprocess.Popen(["sleep", "600"], env={"ABLATE_AGENT": "pid[1]:999999999:5:x"})
    marked = subprocess.Popen(["sleep", "600"], env={"ABLATE_AGENT": f"{namespace()}:999999999:5:x"})
    try:
        assert marked.pid in end_leftovers()
        assert psutil.Process(foreign.pid).is_running()
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
        marked.wait()


def test_leftovers_of_an_agent_whose_process_id_a_program_with_an_odd_name_has(tmp_path: Path):
    path = os.fsencode(tmp_path) + b"/\xff"
    shutil.copy(os.fsencode(shutil.which("sleep")), path)
    odd = subprocess.Popen([path, b"600"])
    marked = subprocess.Popen(["sleep", "600"], env={"ABLATE_AGENT": f"{namespace()}:{odd.pid}:5:x"})
    try:
        assert marked.pid in end_leftovers()
        assert odd.poll() is None
    finally:
        odd.kill()
        odd.wait()
        marked.kill()
        marked.wait()


def namespace() -> str:
    return os.readlink("/proc/self/ns/pid").replace(":", "")
