"""One damaged folder among many: every command goes on without it, names it once, and leaves it as it is."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.plan import Plan, make_plan
from ablate.record import AttemptFolder, Result, Score, folder_of
from ablate.run import about
from ablate.spec import load_spec
from ablate.study import load_study, overview, report_on, study_with_scales
from analysis.consistency import Request
from tests.ablate.cli.test_app import ablate

# mlflow 3.17 configures its tables with an option that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SPEC = """\
study: own
base: tiny
axes:
  sampling:
    - {kind: uniform, frames: 4}
    - {kind: uniform, frames: 8}
    - {kind: fps, fps: 1}
    - {kind: fps, fps: 2}
scales: [0.05M, 0.15M]
seeds: [0]
"""


def answers(attempt: AttemptFolder, share: float) -> None:
    """Predictions of 40 questions, of which a share is answered correctly."""
    rows = pd.DataFrame({"question": range(40), "item": [str(i // 2) for i in range(40)], "modality": "video"})
    rows["category"], rows["answer"], rows["probability"] = "order", 1, 0.5
    rows["predicted"] = (np.arange(40) < 40 * share).astype(int)
    rows.to_parquet(attempt.predictions)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A study whose trials are all done, with their predictions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(SPEC)
    plan = make_plan(load_spec(tmp_path / "own.yaml"))
    for number, planned in enumerate(plan.planned):
        folder = folder_of(plan.paths, planned.trial.key)
        folder.describe(about(plan, planned.trial))
        attempt = folder.begin()
        answers(attempt, 0.4 + number / 20)
        score = Score(benchmark="tinybench", category="overall", modality="video", score=40.0 + 5 * number)
        folder.finish(
            Result(key=folder.path.name, attempt=0, scores=[score], seconds=1, started_at=1, ended_at=2, environment={})
        )
    return make_plan(plan.spec)


def flip(path: Path) -> None:
    """Change one bit of a number, so that the file stays valid."""
    path.write_bytes(path.read_bytes().replace(b'"score": 4', b'"score": 5', 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = {"result.json": (flip, cut, empty), "trial.json": (cut, empty)}


@pytest.mark.parametrize(("name", "damage"), [(name, one) for name, ones in DAMAGE.items() for one in ones])
def test_commands_that_read_go_on_without_it(plan, name, damage, caplog):
    first = plan.planned[0].trial
    path = plan.paths.trials / first.key / name
    damage(path)
    content = path.read_bytes()
    output = json.loads(ablate("ls", "own", "--json").stdout)
    assert [len(rows) for rows in output["rankings"]] == [3, 4]
    messages = [one.message for one in caplog.records]
    assert len(messages) == 1
    assert messages[0].startswith(f"note: {path} ")
    assert messages[0].endswith("it is left out until then")
    report = json.loads(ablate("consistency", "--study", "own", "--json").stdout)
    assert report["n"] == 3
    (row,) = json.loads(ablate("ls", "--json").stdout)["studies"][:1]
    assert (row["done"], [str(path) in message for message in row["damaged"]]) == (7, [True])
    assert study_with_scales("0.05M", "0.15M") == "own"
    assert path.read_bytes() == content


def test_the_note_is_on_stderr_and_the_exit_code_is_0(plan):
    path = plan.paths.trials / plan.planned[0].trial.key / "result.json"
    flip(path)
    command = [sys.executable, "-m", "ablate.cli", "ls", "own", "--json"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(process.stdout)["study"] == "own"
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"note: {path} has changed since the trial finished")
    process = subprocess.run([*command[:-2]], capture_output=True, text=True, timeout=120, check=True)
    assert str(path) in process.stderr


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_plan_neither_counts_nor_runs_it(plan, damage, caplog):
    trial = plan.planned[0].trial
    path = plan.paths.trials / trial.key / "result.json"
    damage(path)
    again = make_plan(plan.spec)
    assert (again.count("damaged"), again.count("done"), again.missing) == (1, 7, [])
    (message,) = [one.message for one in caplog.records]
    assert message.startswith(f"note: {path} ")
    done = ablate("plan", "own.yaml")
    assert "7 done, 0 missing, 1 damaged" in done.stdout + done.stderr
    output = json.loads(ablate("plan", "own.yaml", "--json").stdout)
    assert (output["damaged"], output["trials"][0]["status"]) == (1, "damaged")
    shutil.rmtree(path.parent)
    assert len(make_plan(plan.spec).missing) == 1  # the fix that the message names


def test_a_sweep_leaves_it_as_it_is_and_ends_with_code_1(plan, caplog):
    path = plan.paths.trials / plan.planned[0].trial.key / "result.json"
    flip(path)
    content = path.read_bytes()
    done = ablate("sweep", "own.yaml", code=1)
    assert "7 done, 0 missing, 1 damaged" in done.stdout
    assert path.read_bytes() == content
    assert len(caplog.records) == 1


def test_predictions_that_changed_are_not_compared(plan, caplog):
    scores, request = load_study("own"), Request(small="0.05M", large="0.15M")
    assert report_on(scores, request).items is not None
    path = folder_of(plan.paths, plan.planned[0].trial.key).file("predictions.parquet")
    frame = pd.read_parquet(path)
    frame["predicted"] = 1 - frame["predicted"]
    frame.to_parquet(path)
    with caplog.at_level(logging.WARNING):
        assert report_on(scores, request).items is None
    assert f"{path} has changed since the trial finished" in caplog.text


def test_verify_names_each_file_that_changed(plan):
    assert "study own: 8 trials, 24 files with a digest, 0 damaged" in ablate("verify", "own").stdout
    changed, missing, cut_off = (plan.paths.trials / planned.trial.key for planned in plan.planned[:3])
    flip(changed / "result.json")
    (missing / "attempts" / "0" / "predictions.parquet").unlink()
    cut(cut_off / "attempts" / "0" / "predictions.parquet")
    done = ablate("verify", "own", code=1)
    assert "7 trials, 21 files with a digest, 3 damaged" in done.stdout
    for path in (changed / "result.json", *(one / "attempts/0/predictions.parquet" for one in (missing, cut_off))):
        assert done.stderr.count(f"damaged: {path} ") == 1
    output = json.loads(ablate("verify", "own", "--json", code=1).stdout)
    assert (output["trials"], output["files"], len(output["damaged"])) == (7, 21, 3)
    assert "no study 'other'" in ablate("verify", "other", code=2).stderr


def test_a_study_without_damage_has_no_such_entry(plan):
    assert overview() == [{"study": "own", "designs": 4, "scales": ["0.05M", "0.15M"], "done": 8, "failed": 0}]


def test_sync_copies_no_predictions_that_changed(plan):
    """The other trials are mirrored; the damaged one is named, with both digests."""
    path = folder_of(plan.paths, plan.planned[0].trial.key).file("predictions.parquet")
    content = path.read_bytes()
    cut(path)
    output = json.loads(ablate("sync", "own", "--json", code=1).stdout)
    assert (output["created"], len(output["problems"])) == (7, 1)
    assert f"{path} has changed since the trial finished: its sha256 was" in output["problems"][0]
    path.write_bytes(content)  # the fix that the message names
    output = json.loads(ablate("sync", "own", "--json").stdout)
    assert (output["created"], output["updated"], output["unchanged"], output["problems"]) == (0, 1, 7, [])
