"""How a program ended, by its files: valid, missing, malformed and incomplete results, and stated failures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time

import pytest

from ablate.record import Failure, Result, Score, TrialFolder
from ablate.run.program import STATED_CLASSES, changed_code, outcome, stated_failure
from ablate.run.program.results import MESSAGE_CHARACTERS
from ablate.run.start import Start
from tests.ablate.run.program.programs import job, program

MINE = {"benchmark": "mine", "score": 61.2}


@pytest.fixture
def trial(tmp_path):
    return job(tmp_path / "trial", program(workdir=tmp_path))


def ended(trial, attempt, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (attempt.out / f"{name}.json").write_text(text, encoding="utf-8")
    return outcome(trial, attempt, Start(at=time.time() - 2, steady=time.monotonic() - 2))


def test_a_valid_result_becomes_the_trials_result(trial, attempt):
    other = {"benchmark": "other", "category": "counting", "modality": "frame", "score": 3}
    result = ended(trial, attempt, result={"scores": [MINE, other], "counts": {"samples": 1000}})
    assert isinstance(result, Result)
    assert result.scores == [
        Score(benchmark="mine", category="overall", modality="video", score=61.2),
        Score(benchmark="other", category="counting", modality="frame", score=3.0),
    ]
    assert result.counts == {"samples": 1000}
    assert result.key == trial.key
    assert 1.9 < result.seconds < 60
    assert result.environment["trainer_workdir"] == trial.program.workdir


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"scores": [', "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[]", "valid dictionary"),
        ({}, "scores: Field required"),
        ({"scores": []}, "scores: List should have at least 1 item"),
        ({"scores": [{"benchmark": "mine"}]}, "scores[0].score: Field required"),
        (
            {"scores": [{"benchmark": "mine", "score": "61"}]},
            "scores[0].score: Input should be a valid number, not '61'",
        ),
        ({"scores": [MINE | {"group": "x"}]}, "scores[0].group: Extra inputs are not permitted"),
        ({"scores": [MINE | {"modality": "audio"}]}, "scores[0].modality: Input should be 'video', 'frame' or 'text'"),
        ({"scores": [MINE | {"benchmark": "a/b"}]}, "scores[0].benchmark"),
        ({"scores": [MINE | {"score": True}]}, "scores[0].score"),
        ('{"scores": [{"benchmark": "mine", "score": NaN}]}', "scores[0].score: Input should be a finite number"),
        ({"scores": [MINE, MINE]}, "mine/overall (video): more than one score"),
        ({"scores": [MINE], "counts": {"samples": "many"}}, "counts.samples: Input should be a valid number"),
        ({"scores": [MINE, MINE | {"benchmark": "a\0b"}]}, "scores[1].benchmark"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"scores": ' + "1" * 5000 + "}", "is not valid JSON"),
        ('{"scores": [{"benchmark": "mine", "score": 1' + "0" * 400 + "}]}", "scores[0].score"),
    ],
)
def test_a_malformed_result_is_a_failure_of_class_code(trial, attempt, content, problem):
    failure = ended(trial, attempt, result=content)
    assert isinstance(failure, Failure)
    assert failure.kind == "code"
    assert problem in failure.message
    assert str(attempt.out / "result.json") in failure.message


def test_no_result_after_exit_code_0(trial, attempt):
    failure = ended(trial, attempt)
    assert failure.kind == "code"
    assert f"there is no {attempt.out / 'result.json'}" in failure.message
    assert '"benchmark": "mine"' in failure.message
    assert failure.node
    assert failure.attempt == 0


@pytest.mark.parametrize("scores", [[{"benchmark": "other", "score": 1}], [MINE | {"modality": "frame"}]])
def test_a_result_without_the_metric_names_the_scores_that_it_has(trial, attempt, scores):
    failure = ended(trial, attempt, result={"scores": scores})
    assert failure.kind == "code"
    assert "has no score mine/overall of the modality video" in failure.message
    assert "other/overall" in failure.message or "it has: none" in failure.message


@pytest.mark.parametrize("kind", STATED_CLASSES)
def test_a_program_states_the_class_of_its_failure(trial, attempt, kind):
    failure = ended(trial, attempt, failure={"class": kind, "message": "loss 1e9 at step 3"}, result={"scores": [MINE]})
    assert (failure.kind, failure.message) == (kind, "loss 1e9 at step 3")
    assert stated_failure(trial, attempt, Start()).kind == kind


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"class": "interrupted", "message": "x"}, "classes are usage, data, diverged"),
        ({"class": "OOM", "message": "x"}, "not 'OOM'"),
        ({"class": "oom"}, "message: Field required"),
        ("oops", "is not valid JSON"),
    ],
)
def test_a_malformed_failure_is_a_failure_of_class_code(trial, attempt, content, problem):
    failure = ended(trial, attempt, failure=content)
    assert failure.kind == "code"
    assert problem in failure.message


def test_a_result_in_another_encoding_is_refused_and_no_name_changed(trial, attempt):
    text = json.dumps({"scores": [MINE, MINE | {"benchmark": "gr\xf6sse"}]}, ensure_ascii=False)
    (attempt.out / "result.json").write_bytes(text.encode("latin-1"))
    assert "is not UTF-8" in ended(trial, attempt).message


def test_a_failure_in_another_encoding_keeps_its_class(trial, attempt):
    (attempt.out / "failure.json").write_bytes(b'{"class": "oom", "message": "gr\xf6sse"}')
    assert ended(trial, attempt).kind == "oom"


@pytest.mark.parametrize("name", ["result", "failure"])
def test_a_huge_file_is_not_read_into_memory(trial, attempt, name):
    with (attempt.out / f"{name}.json").open("wb") as file:
        file.truncate(2**40)
    failure = ended(trial, attempt)
    assert failure.kind == "code"
    assert "1,099,511,627,776 bytes" in failure.message


def test_many_scores_are_read_in_no_time(trial, attempt):
    scores = [MINE, *({"benchmark": f"item{n}", "score": 1} for n in range(50_000))]
    began = time.monotonic()
    assert isinstance(ended(trial, attempt, result={"scores": scores}), Result)
    assert time.monotonic() - began < 10


def test_a_stated_message_controls_no_terminal_and_is_cut(trial, attempt):
    message = "\x1b[2J\x1b[31mout of\x07 memory\x1b[0m " + "x" * 1_000_000
    failure = ended(trial, attempt, failure={"class": "oom", "message": message})
    assert failure.message.startswith("out of memory xxx")
    assert len(failure.message) <= MESSAGE_CHARACTERS


def test_text_that_is_no_unicode_leaves_records_readable(trial, attempt):
    folder = TrialFolder(attempt.path.parents[1])
    failure = ended(trial, attempt, failure='{"class": "oom", "message": "\\ud800"}')
    attempt.fail(failure)
    assert folder.failures()[0].message == "?"
    (attempt.out / "failure.json").unlink()
    folder.finish(
        ended(trial, attempt, result='{"scores": [{"benchmark": "mine", "score": 1}], "counts": {"\\ud800": 2}}')
    )
    assert folder.result().counts == {"?": 2.0}


def test_pipes_instead_of_files_block_nobody(trial, attempt):
    os.mkfifo(attempt.out / "failure.json")
    os.mkfifo(attempt.out / "result.json")
    assert "there is no" in ended(trial, attempt).message


def test_without_failure_json_nothing_is_stated(trial, attempt):
    assert stated_failure(trial, attempt, Start()) is None


def test_the_environment_has_the_state_of_the_code(tmp_path, attempt):
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text("1")
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (work / "train.py").write_text("2")
    of = program(workdir=work, code={"train.py": hashlib.sha256(b"2").hexdigest()})
    result = ended(job(tmp_path / "trial", of), attempt, result={"scores": [MINE]})
    assert result.environment["trainer_git_commit"] == commit
    assert result.environment["trainer_git_dirty"] == "true"
    assert len(result.environment["trainer_code"]) == 64


def test_code_that_changed_after_the_plan_is_named(tmp_path):
    (tmp_path / "llava").mkdir()
    digests = {}
    for name in ("train.py", "llava/model.py"):
        (tmp_path / name).write_text(name)
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    of = program(workdir=tmp_path, code=digests)
    assert changed_code(of) == ""
    (tmp_path / "train.py").write_text("other")
    (tmp_path / "llava/model.py").unlink()
    problem = changed_code(of)
    assert f"{tmp_path}/train.py is {hashlib.sha256(b'other').hexdigest()[:12]} now" in problem
    assert f"was {digests['train.py'][:12]} when planned" in problem
    assert f"{tmp_path}/llava/model.py cannot be read now (No such file or directory)" in problem
    assert changed_code(program(workdir=tmp_path)) == ""


def test_a_name_of_code_that_is_not_utf8_costs_no_result(tmp_path, attempt):
    name = os.fsdecode(b"caf\xe9.py")
    trial = job(tmp_path / "trial", program(workdir=tmp_path, code={name: "0" * 64}))
    result = ended(trial, attempt, result={"scores": [MINE]})
    assert isinstance(result, Result)
    assert len(result.environment["trainer_code"]) == 64
