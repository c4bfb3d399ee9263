"""What a spec's `data` names is what a trial reads, or the trial fails: its key has the content."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.plan import make_plan
from ablate.run.job import Job
from ablate.run.planned import job_of
from ablate.run.program import changed_data
from ablate.run.single import run_single
from ablate.spec import load_spec, tree_state

SPEC = """
study: clips
trainer: {command: [python, -c, "open('started', 'w')"], version: 1}
data: {train: train.json, clips: clips, name: videos}
axes: {lr: [1, 2]}
scales: [small]
metric: mine/overall
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec, its data, and the runs, which are no data even where they lie among them."""
    (tmp_path / "clips").mkdir()
    for name in ("train.json", "clips/a.mp4", "clips/b.mp4"):
        (tmp_path / name).write_text(name)
    (tmp_path / "spec.yaml").write_text(SPEC)
    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "clips" / "runs"))
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "clips" / "cache"))
    return tmp_path


def planned_job(folder: Path) -> Job:
    plan = make_plan(load_spec(folder / "spec.yaml"))
    return job_of(plan, plan.planned[0])


def test_data_that_changed_after_the_plan_are_refused_before_the_program_starts(data: Path):
    plan = make_plan(load_spec(data / "spec.yaml"))
    (data / "train.json").write_text("other")
    failure = run_single(plan, plan.planned[0], None, lambda _: None, lambda _: None).failure
    assert failure is not None
    assert failure.kind == "data"
    assert f"{data}/train.json is " in failure.message
    assert not (data / "started").exists()


@pytest.mark.parametrize("change", ["content", "removed", "added", "renamed"])
def test_each_change_of_a_folder_is_noticed(data: Path, change: str):
    job, clip = planned_job(data), data / "clips" / "a.mp4"
    assert changed_data(job) == ""
    match change:
        case "content":
            clip.write_text("clips/A.mp4")
        case "removed":
            clip.unlink()
        case "added":
            (data / "clips" / "c.mp4").write_text("new")
        case "renamed":
            clip.rename(data / "clips" / "z.mp4")
    assert f"{data}/clips is " in changed_data(job)


def test_what_is_gone_is_named(data: Path):
    job = planned_job(data)
    (data / "train.json").unlink()
    assert f"{data}/train.json" in changed_data(job)


def test_runs_beside_the_data_other_times_and_another_working_folder_are_no_change(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    job = planned_job(data)
    (data / "clips" / "runs" / "clips").mkdir(parents=True)
    (data / "clips" / "runs" / "clips" / "record.json").write_text("{}")
    (data / "train.json").touch()
    monkeypatch.delenv("ABLATE_RUNS")  # as on another node
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert changed_data(job) == ""


def test_files_are_read_again_only_if_their_sizes_or_times_are_others(data: Path, monkeypatch: pytest.MonkeyPatch):
    state = tree_state(data / "clips", data / "runs", data / "cache")
    monkeypatch.setattr("ablate.spec.file_trees.combined_digest", lambda *_: pytest.fail("the files were read"))
    assert tree_state(data / "clips", data / "runs", data / "cache", state) == state
