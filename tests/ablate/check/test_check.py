"""`ablate check` as a user types it, and what plans and trials make of its results."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from ablate.cli.main import main
from ablate.plan import make_plan, sizes_of
from ablate.record import folder_of
from ablate.run import Queue, job_of
from ablate.run.executors.here import run_here
from ablate.spec import expand, load_spec
from models.tiny.files import write_video

TALK = [{"from": "human", "value": "what"}, {"from": "gpt", "value": "a dog"}]
SPEC = """study: mine
base: tiny
set:
  data: {kind: manifest, benchmark: b, folder: data, scoring: text%s}
  schedule: [{name: v, share: 1.0, batch: 4, mix: {video: 1.0}, lr: {connector: 1e-3}}]
axes: {sampling.frames: [4, 8]}
scales: [0.05M]
samples: 8
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Ten videos of 1 s, of which v3.mp4 is cut short."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(np.zeros((8, 32, 32, 3), np.uint8), folder / "v0.mp4")
    for number in range(1, 10):
        shutil.copy(folder / "v0.mp4", folder / f"v{number}.mp4")
    content = (folder / "v0.mp4").read_bytes()
    (folder / "v3.mp4").write_bytes(content[: len(content) // 2])
    return folder


@pytest.fixture
def study(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec and its data."""
    shutil.copytree(videos, tmp_path / "data")
    records = [{"id": f"r{i}", "video": f"v{i}.mp4", "conversations": TALK} for i in range(10)]
    (tmp_path / "data/train.json").write_text(json.dumps(records))
    question = {"question": "what", "options": ["one", "two"], "answer": 0, "category": "c"}
    (tmp_path / "data/test.json").write_text(json.dumps([{"video": "v0.mp4", "questions": [question]}]))
    write_spec(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_spec(folder: Path, more: str) -> Path:
    (folder / "s.yaml").write_text(SPEC % more)
    return folder / "s.yaml"


def ablate(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Stdout and stderr of a command."""
    out, err, exit_code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ablate", *arguments])
        try:
            main()
        except SystemExit as stop:
            exit_code = int(stop.code or 0)
    assert exit_code == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def test_a_check_lists_every_bad_medium_with_its_reason_and_its_records(study: Path):
    report = json.loads(ablate("check", "s.yaml", "--json", code=1)[0])["data"][0]
    assert (report["media"], report["read_now"], report["folder"]) == (10, 10, str(study / "data"))
    (bad,) = report["bad"]
    assert bad["path"] == "v3.mp4"
    assert "truncated" in bad["reason"]
    assert bad["records"] == [{"manifest": "train.json", "number": 3, "id": "r3"}]
    assert report["records"] == {"train.json": {"records": 10, "bad": 1}, "test.json": {"records": 1, "bad": 0}}
    assert json.loads(ablate("check", "data", "--json", code=1)[0])["data"][0]["read_now"] == 0
    shutil.copy(study / "data/v0.mp4", study / "data/v3.mp4")
    report = json.loads(ablate("check", "data", "--json")[0])["data"][0]
    assert (report["read_now"], report["bad"]) == (1, [])


def test_what_cannot_be_checked_is_refused(study: Path):
    assert "no sweep spec nothing" in ablate("check", "nothing", code=2)[1]
    assert "no data of kind `manifest`" in ablate("check", "sampling", code=2)[1]
    (study / "data/test.json").unlink()
    assert "cannot read" in ablate("check", "data", code=2)[1]
    shutil.rmtree(study / "data")
    assert "data does not exist" in ablate("check", "s.yaml", code=2)[1]


def test_data_folders_of_axes_are_checked_too(study: Path):
    shutil.copytree(study / "data", study / "other")
    text = (study / "s.yaml").read_text().replace("sampling.frames: [4, 8]", "data.folder: [data, other]")
    (study / "s.yaml").write_text(text)
    reports = json.loads(ablate("check", "s.yaml", "--json", code=1)[0])["data"]
    assert [Path(report["folder"]).name for report in reports] == ["data", "other"]


def test_a_plan_names_the_videos_that_it_could_not_open(study: Path):
    assert not any("could not be read" in warning for warning in make_plan(load_spec(study / "s.yaml")).warnings)
    (trial, _) = expand(load_spec(study / "s.yaml")).trials
    note = sizes_of(trial.config.design.data).note
    assert "durations are those of 9 of 10 videos; 1 video cannot be read: v3.mp4 (is truncated" in note
    assert "`ablate check" in note


def test_after_a_check_a_plan_opens_no_video(study: Path, monkeypatch: pytest.MonkeyPatch):
    ablate("check", "data", code=1)
    monkeypatch.setattr("models.video.decoder._start", lambda: pytest.fail("a video was opened"))
    (trial, _) = expand(load_spec(study / "s.yaml")).trials
    sizes = sizes_of(trial.config.design.data)
    assert sizes.video_s == pytest.approx((1.0,) * 9)
    assert "opened" not in sizes.note
    _, warning = make_plan(load_spec(study / "s.yaml")).warnings
    assert "1 media of" in warning
    assert "trials that use them fail: v3.mp4 (is truncated" in warning


def keys(spec: Path) -> list[str]:
    return [trial.key for trial in expand(load_spec(spec)).trials]


def test_skipped_records_are_part_of_the_key_and_the_limit_is_not(study: Path):
    without = keys(study / "s.yaml")
    limited = write_spec(study, ", max_bad: 10%")
    message = ablate("plan", "s.yaml", code=2)[1]
    assert message.startswith("ablate: s.yaml:4: set.data.max_bad: max_bad 10%")
    assert "10 of 10 media" in message
    assert "type: ablate check" in message
    ablate("check", "s.yaml", code=1)
    skipping = keys(limited)
    assert not {*skipping} & {*without}
    assert keys(write_spec(study, ", max_bad: 0.2")) == skipping
    write_spec(study, ", max_bad: 9%")
    assert "1 of 10 records (10%) of" in ablate("plan", "s.yaml", code=2)[1]
    shutil.copy(study / "data/v0.mp4", study / "data/v3.mp4")
    ablate("check", "data")
    assert keys(write_spec(study, ", max_bad: 10%")) == without  # nothing is skipped, so the trials are the same


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"0.5"', "max_bad must be a percentage such as 0.5% or a share such as 0.005, not '0.5'"),
        ("true", "max_bad must be a number, not True"),
        ("150%", "less than or equal to 1"),
        ("-1%", "must be a percentage"),
        ("2", "less than or equal to 1"),
    ],
)
def test_a_limit_is_a_percentage_or_a_share(study: Path, value: str, message: str):
    write_spec(study, f", max_bad: {value}")
    assert message in ablate("plan", "s.yaml", code=2)[1]


@pytest.mark.slow  # four small trials
def test_trials_skip_the_same_records_and_list_them(study: Path):
    def run(spec: Path) -> dict[str, object]:
        plan = make_plan(load_spec(spec))
        listener = Listener()
        run_here(Queue([job_of(plan, planned) for planned in plan.missing]), listener)
        return {planned.trial.key: folder_of(plan.paths, planned.trial.key) for planned in plan.planned}

    for folder in run(study / "s.yaml").values():
        assert "v3.mp4: is truncated" in folder.failures()[-1].message
        assert folder.result() is None
    ablate("check", "data", code=1)
    folders = run(write_spec(study, ", max_bad: 10%"))
    for folder in folders.values():
        assert folder.result() is not None, folder.failures()
        (skipped,) = json.loads(folder.file("skipped.json").read_text())
        assert (skipped["manifest"], skipped["number"], skipped["id"]) == ("train.json", 3, "r3")


class Listener:
    def started(self, job: object) -> None: ...
    def progressed(self, job: object, progress: object) -> None: ...
    def finished(self, job: object) -> None: ...
    def failed(self, job: object, failure: object, *, retried: bool) -> None: ...
    def note(self, message: str) -> None: ...


def test_letters_are_refused_for_llms_that_know_none_and_unknown_words_are_noted(study: Path):
    assert "take all others for one unknown word" in make_plan(load_spec(study / "s.yaml")).warnings[0]
    write_spec(study, "")
    text = (study / "s.yaml").read_text()
    (study / "s.yaml").write_text(text.replace("scoring: text", "scoring: letters"))
    assert "the embedded LLMs know no letters" in ablate("plan", "s.yaml", code=2)[1]


def test_keys_that_would_decide_nothing_are_refused(study: Path):
    text = (study / "s.yaml").read_text()
    for scoring, key in (("letters", "reduce: mean"), ("text", "instruction: Choose.")):
        (study / "s.yaml").write_text(text.replace("scoring: text", f"scoring: {scoring}, {key}"))
        assert f"`{key.split(':')[0]}" in ablate("plan", "s.yaml", code=2)[1]


def test_plans_count_the_records_that_trials_skip(study: Path):
    ablate("check", "data", code=1)
    write_spec(study, ", max_bad: 50%")
    warnings = make_plan(load_spec(study / "s.yaml")).warnings
    assert any("trials skip 1 records of" in warning for warning in warnings)
