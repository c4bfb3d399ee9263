"""Small programs that an agent with little patience runs; no process may be left by any test."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ablate.record import AttemptFolder, Failure, Result, TrialFolder
from ablate.run.agent import Agent, Ended, NodeRole, Patience, free_port
from ablate.run.job import Job, Program, Progress

HASTY = Patience(grace_s=0.5, frozen_s=1.0, tick_s=0.02, look_s=0.1)
GOOD = """
import json, os
json.dump({"scores": [{"benchmark": "mine", "score": 61.2}]}, open(os.environ["ABLATE_OUT"] + "/result.json", "w"))
"""
"""A program that succeeds."""


@dataclass
class Node:
    """A node with an agent, and the trial that it runs."""

    folder: Path
    agent: Agent = field(default_factory=lambda: Agent(HASTY))
    progress: list[Progress] = field(default_factory=list)

    @property
    def trial(self) -> TrialFolder:
        return TrialFolder(self.folder / "trial")

    def job(self, script: str, *, processes: Any = "node", env: dict[str, str] | None = None, **fields: Any) -> Job:
        path = self.folder / f"{len(list(self.folder.glob('*.py')))}.py"
        path.write_text(textwrap.dedent(script))
        program = Program(
            command=(sys.executable, "-S", str(path)),
            workdir=str(self.folder),
            processes=processes,
            config={"lr": 1.0},
            metric="mine/overall",
            env=env or {},
        )
        job = Job(
            key="k" * 16, label="a@0.5B/s0", config={}, folder=str(self.trial.path), cache="", cpus=1, gpus=0,
            program=program,
        )  # fmt: skip
        return replace(job, **fields)

    def begin(self, job: Job, attempt: AttemptFolder | None = None, role: NodeRole | None = None) -> AttemptFolder:
        attempt = attempt or TrialFolder(Path(job.folder)).begin()
        self.agent.begin(job, attempt, role or NodeRole(master_port=free_port()))
        return attempt

    def end(self, within_s: float = 60.0) -> Ended:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            now = self.agent.poll(0.02)
            if isinstance(now, Ended):
                return now
            self.progress.append(now)
        raise TimeoutError

    def run(self, script: str, **fields: Any) -> Ended:
        self.begin(self.job(script, **fields))
        return self.end()

    def failure(self, script: str, **fields: Any) -> Failure:
        """The failure of a program, which is recorded as it is reported."""
        failure = self.run(script, **fields).failure
        assert failure is not None
        assert self.trial.attempts()[-1].failure() == failure
        assert self.trial.result() is None
        return failure

    def result(self) -> Result:
        result = self.trial.result()
        assert result is not None, self.trial.failures()
        return result


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.agent.close()
    assert not alive(tmp_path)


def alive(folder: Path) -> list[int]:
    """Processes that have a path below a folder in their command line, or in their environment."""
    numbers = []
    for process in psutil.process_iter():
        try:
            texts = [*process.cmdline(), process.environ().get("ABLATE_OUT", "")]
            if process.status() != psutil.STATUS_ZOMBIE and any(text.startswith(str(folder)) for text in texts):
                numbers.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return [number for number in numbers if number != os.getpid()]
