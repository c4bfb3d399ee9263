"""Manifests: what is wrong is told with file, record and mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.manifest import ManifestError, load_test, load_train

TALK = [{"from": "human", "value": "<video>\nwhat"}, {"from": "gpt", "value": "that"}]
ASKED = {"question": "what", "options": ["a", "b"], "answer": 1, "category": "ocr"}


@pytest.fixture
def write(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")

    def write(data: object, name: str = "train.json") -> Path:
        (tmp_path / name).write_text(data if isinstance(data, str) else json.dumps(data))
        return tmp_path

    return write


def test_llava_records_are_read(write):
    more = [{"from": "human", "value": "and"}, {"from": "gpt", "value": "this"}]
    records = load_train(
        write([{"id": 7, "video": "a.mp4", "conversations": TALK + more}, {"conversations": more, "independent": True}])
    )
    assert records[0].turns == (("what", "that"), ("and", "this"))
    assert [(r.id, r.kind, r.independent) for r in records] == [("7", "video", False), ("1", "text", True)]


def test_a_placeholder_behind_the_question_is_removed_too(write):
    talk = [{"from": "human", "value": "what\n<image>"}, TALK[1]]
    assert load_train(write([{"image": "a.mp4", "conversations": talk}]))[0].turns == (("what", "that"),)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a list of records"),
        ([{"id": "x"}], r"record 0 \(id x\): needs `conversations`"),
        ([{"conversations": TALK[:1]}], "must alternate human, gpt"),
        ([{"video": "b.mp4", "conversations": TALK}], "1 of 1 media files are missing.*first b.mp4"),
    ],
)
def test_wrong_training_records(write, data, says):
    with pytest.raises(ManifestError, match=says):
        load_train(write(data))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": 2}, "`answer` must be the place of an option"),
        ({"options": ["a"]}, "`answer` must be the place of an option"),
        ({"category": "overall"}, "reserved"),
        ({"question": None, "options": None}, "needs `questions`"),
    ],
)
def test_wrong_questions(write, change, says):
    with pytest.raises(ManifestError, match=says):
        load_test(write([{"video": "a.mp4", "questions": [ASKED | change]}], "test.json"))


def test_questions_need_something_to_look_at(write):
    with pytest.raises(ManifestError, match="needs `video` or `image`"):
        load_test(write([{"questions": [ASKED]}], "test.json"))


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot read .*train.json"):
        load_train(tmp_path)
