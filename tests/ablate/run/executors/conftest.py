"""Sweeps of small programs on clusters of several nodes, all on this machine. Nothing of Ray is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ablate.run.job import Job, Program

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
FINISH = """
import json, os, signal, sys, time
out = sys.argv[1]
def finish():
    with open(out + "/result.json", "w") as file:
        json.dump({"scores": [{"benchmark": "mine", "score": 1.0}]}, file)
"""
"""Beginning of each program; its argument is `{out}`."""


def program_job(trials: Path, label: str, script: str, **fields: Any) -> Job:
    """The job of a trial that runs a Python script after `FINISH`; it asks for one CPU."""
    folder = trials / label
    folder.mkdir(parents=True)
    resources = {"cpus": 1.0, "gpus": 0.0} | {name: fields.pop(name) for name in ("cpus", "gpus") if name in fields}
    job = {name: fields.pop(name) for name in ("nodes", "trial_limit_s") if name in fields}
    path = trials / f"{label}.py"
    path.write_text(FINISH + script)
    program = Program(
        command=(sys.executable, str(path), "{out}"), workdir=str(trials), metric="mine/overall", **fields
    )
    return Job(
        key=label, label=label, config={}, folder=str(folder), cache=str(trials), program=program, **resources, **job
    )


@dataclass
class Sweep:
    """A driver that runs: its events are read as they come."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]]

    def until(self, name: str, label: str | None = None) -> dict[str, Any]:
        """Read events until one of a kind, of a trial."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            self.events.append(event)
            if event["event"] == name and label in (None, event.get("label")):
                return dict(event)
        raise AssertionError(f"the driver ended before {name} {label}: {self.events} {self.process.stderr}")

    def end(self) -> list[dict[str, Any]]:
        """Wait for the end; returns all events."""
        output, errors = self.process.communicate(timeout=120)
        self.events += [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert self.process.returncode == 0, errors
        return self.events

    def close(self) -> None:
        """Kill the driver, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def of(self, name: str) -> list[dict[str, Any]]:
        """Events of a kind, so far."""
        return [event for event in self.events if event["event"] == name]


@dataclass
class RayNodes:
    """A cluster whose nodes a test adds and removes; the head has no CPU."""

    address: str
    process: subprocess.Popen[str]
    environment: dict[str, str]
    sweeps: list[Sweep] = field(default_factory=list)

    def add(self, name: str, *, cpus: int, gpus: int = 0) -> str:
        """Add a node, in whose processes NODE_NAME is the name; returns Ray's id of it."""
        return self._ask(f"add {cpus} {gpus} {name}")

    def remove(self, node_id: str) -> None:
        """Kill a node."""
        self._ask(f"remove {node_id}")

    def announce(self, *, cpus: int, gpus: int) -> None:
        """Say that the autoscaler may start nodes with these resources."""
        self._ask(f"announce {cpus} {gpus}")

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def sweep(self, jobs: list[Job], *, mode: str | None = "disabled", **order: Any) -> Sweep:
        """Start a driver that runs jobs on the cluster."""
        cluster = {"address": self.address} | order.pop("cluster", {})
        sweep = start_sweep(jobs, cluster, environment_with(self.environment, mode), **order)
        self.sweeps.append(sweep)
        return sweep


def environment_with(environment: dict[str, str], mode: str | None) -> dict[str, str]:
    """An environment with a mode of authentication, or without any."""
    rest = {name: value for name, value in environment.items() if name != "RAY_AUTH_MODE"}
    return rest | ({"RAY_AUTH_MODE": mode} if mode is not None else {})


def start_sweep(jobs: list[Job], cluster: dict[str, Any], environment: dict[str, str], **order: Any) -> Sweep:
    """Start a driver."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "driver_process.py")],
        env=environment,
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    json.dump({"jobs": [asdict(job) for job in jobs], "cluster": cluster, **order}, process.stdin)
    process.stdin.close()
    process.stdin = None
    return Sweep(process, [])


def ray_environment(home: Path) -> dict[str, str]:
    """This process's environment, with a home that has a token, and with this tree first on the path."""
    (home / ".ray").mkdir(parents=True, exist_ok=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 2)
    rest = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return rest | {"HOME": str(home), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """A cluster without authentication, for the tests of a module."""
    environment = ray_environment(tmp_path_factory.mktemp("home"))
    process = subprocess.Popen(
        [sys.executable, str(HERE / "nodes_process.py")],
        env=environment_with(environment, "disabled"),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    nodes = RayNodes(process.stdout.readline().strip(), process, environment)
    yield nodes
    for sweep in nodes.sweeps:
        sweep.close()
    process.communicate(timeout=60)
