"""What an agent costs beside the processes of a trial."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.ablate.run.agent.conftest import Node, alive

BUDGET = 250 * 2**20
"""Bytes of an agent's process."""


def test_an_agent_loads_no_torch_and_is_small(tmp_path: Path):
    code = f"""
import sys, psutil
from pathlib import Path
from tests.ablate.run.agent.conftest import GOOD, Node
node = Node(Path({str(tmp_path)!r}))
assert node.run(GOOD).failure is None
assert psutil.Process().memory_info().rss < {BUDGET}
assert not psutil.Process().children()
node.agent.close()
heavy = {{"torch", "transformers", "decord", "ray", "mlflow", "pandas", "pyarrow", "matplotlib"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])


def test_a_program_runs_without_further_processes(node: Node):
    """What makes a process end with its agent has become the program: nothing stands between the two."""
    node.begin(node.job("import time; print('ready'); time.sleep(60)"))
    until = time.monotonic() + 30
    while not alive(node.folder):
        assert time.monotonic() < until
    (pid,) = alive(node.folder)
    assert psutil.Process(pid).ppid() == psutil.Process().pid
    node.agent.stop()


@pytest.mark.parametrize("module", ["ablate.run.agent", "ablate.run.worker.serve"])
def test_modules_can_be_imported_alone(module: str):
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=Path(__file__).parents[4])
