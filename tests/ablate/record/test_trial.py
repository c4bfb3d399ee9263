"""Trial folders: written atomically, finished by result.json alone, readable in all later versions."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.record import About, AttemptFolder, Failure, RecordError, Result, Score, TrialFolder, folder_of, scan
from ablate.run import about
from ablate.spec import find_spec, load_spec

RECORDS = Path(__file__).parent / "records"


@pytest.fixture
def plan():
    return make_plan(load_spec(find_spec("sampling")))


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    """A trial that is described, and has not begun."""
    folder = TrialFolder(tmp_path / "trials" / "k")
    folder.describe(description())
    return folder


def description(**changes) -> About:
    fields = {
        "key": "k", "design_key": "d", "label": "a@1B/s0", "design_label": "a", "study": "s", "sweep": "w",
        "scale": "1B", "seed": 0, "samples": 10, "axes": {"x": 1}, "config": {"design.x": 1}, "resolved": {},
    }  # fmt: skip
    return About(**(fields | changes))


def result(key: str = "k", attempt: int = 0, score: float = 50.0) -> Result:
    scores = [Score(benchmark="tinybench", category="overall", modality="video", score=score)]
    return Result(
        key=key, attempt=attempt, scores=scores, seconds=1, started_at=1, ended_at=2, environment={"git_commit": "x"}
    )


def failure(attempt: AttemptFolder, kind: str = "error") -> Failure:
    return Failure(attempt=attempt.number, kind=kind, message="m", traceback="t", seconds=1.0, ended_at=2.0)


def finished(folder: TrialFolder) -> AttemptFolder:
    """The attempt that finished, with files of all kinds."""
    attempt = folder.begin()
    attempt.configured({"seed": 0})
    attempt.log.write_text("hello\n")
    attempt.event({"step": 1, "loss": 2.0})
    attempt.predictions.write_bytes(b"PAR1")
    attempt.stdout().write_text("step 1\n")
    attempt.checkpoints.mkdir()
    (attempt.checkpoints / "1.pt").write_bytes(bytes(100))
    attempt.out.mkdir()
    for name in ("result.json", "progress.jsonl", "model.bin"):
        (attempt.out / name).write_text("{}")
    folder.finish(result(attempt=attempt.number))
    return attempt


# --- attempts -----------------------------------------------------------------------------------------------


def test_a_trial_goes_from_new_to_failed_to_done(plan):
    trial = plan.planned[0].trial
    folder = folder_of(plan.paths, trial.key)

    def fail(kind: str) -> None:
        attempt = folder.begin()
        attempt.fail(failure(attempt, kind))

    statuses = []
    for change in (
        lambda: folder.describe(about(plan, trial)),
        lambda: fail("interrupted"),
        lambda: fail("killed"),
        lambda: folder.finish(result(trial.key, folder.begin().number)),
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


def test_an_attempt_leaves_the_files_of_earlier_ones(folder):
    first = folder.begin()
    first.event({"step": 1, "loss": 2.0})
    with (first.path / "events.jsonl").open("a") as file:
        file.write('17\n{"step": 2, "lo')  # garbage, and killed in the middle of a line
    assert folder.events() == [{"step": 1, "loss": 2.0}]
    second = folder.begin()
    assert (second.number, folder.events()) == (1, [])
    assert first.events() == [{"step": 1, "loss": 2.0}]
    second.event({"step": 5, "loss": 1.0})
    folder.finish(result(attempt=0))
    assert folder.events() == [{"step": 1, "loss": 2.0}]  # those of the attempt that finished
    assert folder.file("log.txt") == first.log


@pytest.mark.parametrize("name", ["0 (copy).json", "0.json~", ".0.json.swp", "00", "3.txt", "-1", "\u0663", "9" * 200])
def test_files_with_odd_names_among_the_attempts_are_ignored(folder, name):
    attempt = folder.begin()
    attempt.fail(failure(attempt))
    (folder.path / "attempts" / name).write_text("")
    assert [one.number for one in folder.attempts()] == [0]
    assert [one.attempt for one in folder.failures()] == [0]
    assert folder.begin().number == 1


def test_a_file_with_the_name_of_an_attempt_takes_its_number(folder):
    (folder.path / "attempts").mkdir()
    for name in ("3", "5.json"):
        (folder.path / "attempts" / name).write_text("")
    assert folder.begin().number == 6
    assert [one.number for one in folder.attempts()] == [6]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": "zero"}', '{"schema_version": 99}'])
def test_a_damaged_failure_is_reported_and_the_trial_goes_on(folder, caplog, content):
    (folder.path / "attempts").mkdir()
    (folder.path / "attempts" / "0.json").write_text(content)  # version 1
    attempt = folder.begin()
    (attempt.path / "failure.json").write_text(content)
    later = folder.begin()
    later.fail(failure(later, "killed"))
    record = folder.read()
    assert ([one.attempt for one in record.failures], record.status) == ([2], "failed")
    folder.read()
    assert [path in caplog.text for path in ("attempts/0.json", "attempts/1/failure.json")] == [True, True]
    assert len(caplog.records) == 2  # once each
    folder.finish(result(attempt=folder.begin().number))
    assert folder.read().status == "done"


# --- digests ------------------------------------------------------------------------------------------------


def test_the_result_covers_what_was_reported_and_no_checkpoints_or_output(folder):
    finished(folder)
    names = ("config.json", "events.jsonl", "log.txt", "out/progress.jsonl", "out/result.json", "predictions.parquet")
    assert sorted(folder.result().files) == [*(f"attempts/0/{name}" for name in names), "trial.json"]
    assert list(folder.read().damage()) == []


@pytest.mark.parametrize("name", ["attempts/0/predictions.parquet", "attempts/0/out/result.json", "attempts/0/log.txt"])
def test_a_covered_file_that_changed_is_reported_with_both_digests(folder, name):
    finished(folder)
    before = folder.result().files[name]
    path = folder.path / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    record = folder.read()
    (error,) = record.damage()
    with pytest.raises(RecordError, match="has changed since the trial finished") as caught:
        record.verified(name.removeprefix("attempts/0/"))
    assert str(error) == str(caught.value)
    assert str(path) in str(error)
    assert before in str(error)
    assert "restore the file, or move the trial's folder away" in str(error)
    path.unlink()
    (missing,) = record.damage()
    assert "cannot be read (No such file or directory), but the trial's result covers it" in str(missing)


def test_output_after_the_result_changes_nothing(folder):
    attempt = finished(folder)
    attempt.stdout().write_text("a line that a process wrote when it ended")
    assert list(folder.read().damage()) == []


def test_a_changed_description_is_noticed_when_the_trial_is_read(folder):
    finished(folder)
    text = (folder.path / "trial.json").read_text()
    (folder.path / "trial.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(RecordError, match=r"trial.json has changed since the trial finished: its sha256 was "):
        folder.read()
    (folder.path / "trial.json").unlink()
    with pytest.raises(RecordError, match="trial.json is missing, but the trial has a result"):
        folder.read()


def test_a_finished_trial_is_not_described_again(folder):
    """A sweep that was planned before a zombie finished would else damage the record."""
    finished(folder)
    folder.describe(description(sweep="another"))
    assert folder.read().about.sweep == "w"


def test_each_change_of_a_result_is_noticed(folder):
    """Also those that leave it valid: a score, a digit of a time, the name of an attempt."""
    folder.finish(result(score=61.5))
    path = folder.path / "result.json"
    text = path.read_text()
    for old, new in (("61.5", "71.5"), ("61.5", "61.50001"), ('"attempt": 0', '"attempt": 1'), ("tinyb", "tinxb")):
        path.write_text(text.replace(old, new))
        with pytest.raises(RecordError, match=r"result.json has changed since the trial finished: its sha256 was"):
            folder.read()
    path.write_text(text)
    assert folder.read().result.scores[0].score == 61.5


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_result_goes_unnoticed(tmp_path_factory, position, bit):
    folder = TrialFolder(tmp_path_factory.mktemp("t") / "k")
    folder.describe(description())
    folder.finish(result())
    path = folder.path / "result.json"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"result.json "):
        folder.read()


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_truncated_result_is_never_read(folder, cut):
    folder.finish(result())
    path = folder.path / "result.json"
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 2)])
    with pytest.raises(RecordError, match=r"result.json is not valid JSON .*; move its folder away to continue"):
        folder.read()


# --- damage and versions ------------------------------------------------------------------------------------


def test_a_damaged_folder_is_reported_with_the_fix(plan):
    folder = folder_of(plan.paths, plan.planned[0].trial.key)
    folder.describe(about(plan, plan.planned[0].trial))
    (folder.path / "trial.json").write_text("{")
    with pytest.raises(RecordError, match=r"trial.json is not valid JSON.*move its folder away"):
        folder.read()


@pytest.mark.parametrize("name", ["trial.json", "result.json"])
def test_a_record_of_a_newer_version_is_refused_even_if_its_types_changed(folder, name):
    folder.finish(result())
    path = folder.path / name
    for change in ({}, {"key": ["a", "list"]}):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3} | change))
        with pytest.raises(RecordError, match=r"was written by a newer ablate \(schema version 3, this one .* 2\)"):
            folder.read()


def test_fields_of_a_later_release_with_the_same_version_are_ignored(folder):
    path = folder.path / "trial.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    folder.finish(result())
    assert folder.read().about == description()


def test_records_of_schema_1_stay_readable():
    """Written by version 0.1; never changed."""
    record = TrialFolder(RECORDS / "schema1").read()
    assert record is not None
    assert record.status == "done"
    assert record.about.design_label == "uniform4"
    assert record.result is not None
    assert record.result.scores[0].score == 61.5


def test_a_trial_of_schema_1_goes_on_in_folders_of_attempts(folder):
    """Its latest attempt has its files in the trial's folder."""
    (folder.path / "attempts").mkdir()
    old = {"attempt": 0, "kind": "killed", "message": "m", "traceback": "", "seconds": 1.0, "ended_at": 2.0}
    (folder.path / "attempts" / "0.json").write_text(json.dumps(old | {"schema_version": 1}))
    (folder.path / "events.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    assert (folder.read().status, folder.events()) == ("failed", [{"step": 1, "loss": 3.0}])
    attempt = folder.begin()
    assert (attempt.number, folder.events()) == (1, [])
    folder.finish(result(attempt=1))
    assert [one.kind for one in folder.read().failures] == ["killed"]


def test_files_of_schema_1_are_compared_with_their_digests(tmp_path):
    """Except trial.json, which later sweeps of that version wrote again."""
    shutil.copytree(RECORDS / "schema1", tmp_path / "k")
    stored = json.loads((tmp_path / "k" / "result.json").read_text())
    assert (stored["schema_version"], "digest" in stored) == (1, False)
    (tmp_path / "k" / "predictions.parquet").write_bytes(b"PAR1")
    digests = {"predictions.parquet": hashlib.sha256(b"PAR1").hexdigest(), "trial.json": "0" * 64}
    (tmp_path / "k" / "result.json").write_text(json.dumps(stored | {"files": digests}))
    record = TrialFolder(tmp_path / "k").read()
    assert record.verified("predictions.parquet") == tmp_path / "k" / "predictions.parquet"
    assert list(record.damage()) == []
    (tmp_path / "k" / "predictions.parquet").write_bytes(b"")
    with pytest.raises(RecordError, match="predictions.parquet has changed since the trial finished"):
        record.verified("predictions.parquet")


def test_scan_leaves_damaged_folders_out_and_reports_each_once(plan, caplog):
    for planned in plan.planned[:4]:
        folder = folder_of(plan.paths, planned.trial.key)
        folder.describe(about(plan, planned.trial))
        folder.finish(result(planned.trial.key))
    keys = sorted(planned.trial.key for planned in plan.planned[:4])
    (plan.paths.trials / keys[1] / "result.json").write_text("{")
    (plan.paths.trials / keys[2] / "trial.json").write_bytes(b"\x80")
    (plan.paths.trials / "empty").mkdir()
    (plan.paths.trials / ".DS_Store").write_text("")
    for _ in range(2):
        assert [record.about.key for record in scan(plan.paths)] == [keys[0], keys[3]]
    assert [f"{keys[1]}/result.json is not" in caplog.text, f"{keys[2]}/trial.json is not" in caplog.text] == [True] * 2
    assert len(caplog.records) == 2


def test_study_names_cannot_leave_the_runs_folder():
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="study name"):
            study_paths(name)
