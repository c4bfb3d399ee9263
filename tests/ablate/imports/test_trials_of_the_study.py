"""Imports beside trials that the study ran: their records never change, and copies of a study answer the same."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ablate.errors import UsageError
from ablate.imports import LayoutOptions, import_scores
from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.record import RecordError, Result, Score, folder_of, read_axes, read_trial, scan, trials_of_records
from ablate.run import about
from ablate.spec import load_spec
from ablate.study import known_designs, load_study
from ablate.study.table import factor_frame

SPEC = """\
study: own
base: tiny
axes:
  sampling:
    - {kind: uniform, frames: 4, name: few}
    - {kind: uniform, frames: 8, name: many}
scales: [0.05M]
seeds: [0]
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two designs at one scale, both finished."""
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "own.yaml"
    spec.write_text(SPEC)
    plan = make_plan(load_spec(spec))
    for planned in plan.planned:
        folder = folder_of(plan.paths, planned.trial.key)
        folder.describe(about(plan, planned.trial))
        score = Score(benchmark="tinybench", category="overall", modality="video", score=50.0)
        folder.finish(
            Result(key=folder.path.name, attempt=folder.begin().number, scores=[score], seconds=1.0, started_at=1.0,
                   ended_at=2.0, environment={})
        )  # fmt: skip
    return spec


def take(spec: Path, text: str, *, replace: bool = False) -> None:
    layout = LayoutOptions(axis=["cost"] if "cost" in text else []).layout()
    file = spec.parent / "t.csv"
    file.write_text(text)
    import_scores(file, "own", layout, lower_is_better=False, replace=replace, designs=str(spec))


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in study_paths("own").trials.rglob("*") if path.is_file()}


def costs() -> dict[str, object]:
    return {record.about.label: record.about.axes.get("cost") for record in scan(study_paths("own"))}


def test_a_new_axis_leaves_the_records_of_finished_trials_as_they_are(spec):
    before = contents()
    take(spec, "design,scale,score,cost\nfew,7B,60,3\n")
    assert {path: content for path, content in contents().items() if path in before} == before
    assert costs() == {"few@0.05M/s0": 3, "many@0.05M/s0": None, "few@7B/s0": 3}
    frame = factor_frame(trials_of_records(scan(study_paths("own"))))
    assert frame["cost"].dropna().to_dict() == {"few": 3}
    assert "design" not in frame.columns
    assert known_designs("own").values["few"]["cost"] == 3
    paths = study_paths("own")
    assert [read_trial(paths, record.about.key) for record in scan(paths)] == list(scan(paths))
    take(spec, "design,scale,score\nfew,7B,60\n")  # without the axis
    take(spec, "design,scale,score,cost\nmany,7B,60,4\n")  # another design
    assert costs() == {"few@0.05M/s0": 3, "many@0.05M/s0": 4, "few@7B/s0": 3, "many@7B/s0": 4}


def test_another_value_of_an_axis_needs_replace_and_then_holds_for_all_trials_of_the_design(spec):
    take(spec, "design,scale,score,cost\nfew,7B,60,3\nfew,8B,61,3\n")
    other = "design,scale,score,cost\nfew,8B,61,5\n"
    with pytest.raises(UsageError, match="1 trials of study 'own' have other axes already, first few@8B/s0"):
        take(spec, other)
    take(spec, other, replace=True)
    assert {value for label, value in costs().items() if label.startswith("few")} == {5}
    take(spec, other.replace("8B", "7B").replace("61,5", "60,6"), replace=True)
    assert {value for label, value in costs().items() if label.startswith("few")} == {6}
    own = next(r.about.key for r in scan(study_paths("own")) if r.about.label == "few@0.05M/s0")
    assert read_axes(study_paths("own"))[own] == {"cost": 6}


def test_a_damaged_file_of_axes_is_left_out_by_readers_and_stops_imports(spec, caplog):
    take(spec, "design,scale,score,cost\nfew,7B,60,3\n")
    path = study_paths("own").folder / "axes.json"
    for content, says in (("{", "is not valid JSON"), ('{"schema_version": 2, "trials": []}', "by a newer ablate")):
        path.write_text(content)
        assert costs() == {"few@0.05M/s0": None, "many@0.05M/s0": None, "few@7B/s0": 3}
        assert says in caplog.text
        with pytest.raises(RecordError, match=says):
            take(spec, "design,scale,score,cost\nmany,7B,60,3\n")
        assert path.read_text() == content
    assert "restore it, or move it away and import the tables with --axis again" in caplog.text


def test_a_damaged_import_is_replaced_only_on_request(spec):
    text = "design,scale,score\nfew,7B,60\nmany,7B,61\n"
    take(spec, text)
    record = next(record for record in scan(study_paths("own")) if record.about.label == "few@7B/s0")
    (record.path / "result.json").write_text("{")
    with pytest.raises(UsageError, match="1 trials of study 'own' have damaged records already, first few@7B/s0"):
        take(spec, text)
    assert (record.path / "result.json").read_text() == "{"
    take(spec, text, replace=True)
    assert len(list(scan(study_paths("own")))) == 4


def test_a_copy_of_a_study_has_the_same_scores_whatever_its_times_of_files(spec):
    """Imported scores count by the time of their import, which is in the record."""
    take(spec, "design,scale,score\nfew,7B,60\n")
    take(spec, "design,scale,score\nfew,7B,70\n", replace=True)
    expected = [(trial.key, trial.ended_at) for trial in trials_of_records(scan(study_paths("own")))]
    for path in contents():
        os.utime(path, (0, 0))
    assert [(trial.key, trial.ended_at) for trial in trials_of_records(scan(study_paths("own")))] == expected
    assert load_study("own").table.frame["score"].max() == 70


def test_an_import_of_version_1_has_the_time_of_its_file(spec):
    take(spec, "design,scale,score\nfew,7B,60\n")
    record = next(record for record in scan(study_paths("own")) if record.about.source == "import")
    path = record.path / "result.json"
    stored = json.loads(path.read_text())
    del stored["digest"]
    path.write_text(json.dumps(stored | {"schema_version": 1, "ended_at": 0.0}))
    os.utime(path, (1000, 1000))
    (ended,) = [
        trial.ended_at for trial in trials_of_records(scan(study_paths("own"))) if trial.key == record.about.key
    ]
    assert ended == 1000


def test_the_same_file_again_changes_no_byte(spec):
    text = "design,scale,score,cost\nfew,7B,60,3\n"
    take(spec, text)
    before = contents()
    take(spec, text)
    assert contents() == before


def test_a_study_that_was_copied_elsewhere_is_intact(spec, tmp_path, monkeypatch):
    take(spec, "design,scale,score,cost\nfew,7B,60,3\n")
    here = costs()
    shutil.copytree(study_paths("own").root, tmp_path / "copy")
    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "copy"))
    assert costs() == here
    assert [list(record.damage()) for record in scan(study_paths("own"))] == [[], [], []]
