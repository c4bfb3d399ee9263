"""Runs commands in their own processes, on a few rendered videos that all tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablate.paths import StudyPaths
from ablate.record import Record, scan

SMALL = """\
study: small
base: tiny
set:
  data.train_videos: 24
  data.test_videos: 6
axes:
  sampling:
    - {kind: uniform, frames: 4}
    - {kind: fps, fps: 1}
scales: [0.05M]
samples: 640
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


class Shop:
    """A user's working directory."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "ABLATE_RUNS": str(folder / "runs"),
            "ABLATE_CACHE": str(cache),
            "COLUMNS": "200",
            "PYTHONWARNINGS": "default",
        }

    def spec(self, text: str = SMALL, name: str = "small.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ablate.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # As in a terminal: where the tests run in the background, children inherit that ^C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: object, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in out + err, out + err
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: object, code: int = 0, **env: str) -> dict[str, Any]:
        return json.loads(self.run(*arguments, "--json", code=code, **env).stdout)

    def records(self, study: str = "small") -> dict[str, Record]:
        paths = StudyPaths(name=study, root=self.folder / "runs")
        return {record.about.label: record for record in scan(paths)}

    def mlflow_runs(self, study: str = "small") -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'runs' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(study)
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        return [run for run in runs if run.data.tags["ablate.kind"] == "trial"]


@pytest.fixture
def shop(tmp_path: Path, cache: Path) -> Shop:
    return Shop(tmp_path, cache)
