"""Trial folders: written atomically, finished by result.json alone, readable in all later versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.record import Failure, RecordError, Result, Score, TrialFolder, folder_of, scan
from ablate.record.files import write_json
from ablate.run import about
from ablate.spec import find_spec, load_spec


@pytest.fixture
def plan():
    return make_plan(load_spec(find_spec("sampling")))


def result(key: str, attempt: int = 0) -> Result:
    scores = [Score(benchmark="tinybench", category="overall", modality="video", score=50.0)]
    return Result(
        key=key, attempt=attempt, scores=scores, seconds=1, started_at=1, ended_at=2, environment={"git_commit": "x"}
    )


def failure(attempt: int, kind: str = "error") -> Failure:
    return Failure(attempt=attempt, kind=kind, message="m", traceback="t", seconds=1.0, ended_at=2.0)


def test_a_trial_goes_from_new_to_failed_to_done(plan):
    trial = plan.planned[0].trial
    folder = folder_of(plan.paths, trial.key)
    statuses = []
    for change in (
        lambda: folder.describe(about(plan, trial)),
        lambda: folder.fail(failure(folder.begin(), "interrupted")),
        lambda: folder.fail(failure(folder.begin(), "killed")),
        lambda: folder.finish(result(trial.key, folder.begin())),
    ):
        statuses.append(make_plan(plan.spec).planned[0].status)
        change()
    again = make_plan(plan.spec)
    assert [*statuses, again.planned[0].status] == ["new", "unfinished", "unfinished", "failed", "done"]
    assert (again.count("done"), len(again.missing)) == (1, 11)
    record = folder.read()
    assert record is not None
    assert record.result is not None
    assert (record.result.attempt, [f.attempt for f in record.failures]) == (2, [0, 1])
    assert record.about.config["design.sampling.frames"] == 4


def test_a_new_attempt_removes_files_of_an_interrupted_one(plan):
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    folder.describe(about(plan, plan.planned[0].trial))
    folder.begin()
    folder.event({"step": 1, "loss": 2.0})
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')  # killed in the middle of a line
    assert folder.events() == [{"step": 1, "loss": 2.0}]
    folder.begin()
    assert folder.events() == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_result_names_the_digests_of_the_other_files(plan):
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    folder.describe(about(plan, plan.planned[0].trial))
    (folder.path / "log.txt").write_text("hello")
    folder.finish(result("k"))
    assert set(folder.result().files) == {"trial.json", "log.txt"}


def test_a_damaged_folder_is_reported_with_the_fix(plan):
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    folder.describe(about(plan, plan.planned[0].trial))
    (folder.path / "trial.json").write_text("{")
    with pytest.raises(RecordError, match=r"trial.json is not valid JSON.*move its folder away"):
        list(scan(plan.paths))


def test_records_of_schema_1_stay_readable():
    """Written by version 0.1; never changed."""
    record = TrialFolder(Path(__file__).parent / "records" / "schema1").read()
    assert record is not None
    assert record.status == "done"
    assert record.about.design_label == "uniform4"
    assert record.result is not None
    assert record.result.scores[0].score == 61.5


def test_study_names_cannot_leave_the_runs_folder():
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="study name"):
            study_paths(name)
