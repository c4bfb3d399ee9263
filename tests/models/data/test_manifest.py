"""Manifests: errors name the file, the record and the fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.data import ManifestError, load_test, load_train

TALK = [{"from": "human", "value": "<video>\nwhat"}, {"from": "gpt", "value": "that"}]
QUESTION = {"question": "what", "options": ["a", "b"], "answer": 1, "category": "ocr"}


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
    assert [r.media for r in records] == [("a.mp4",), ()]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("<image>\n<image>\nwhat", "what"),
        ("what\n<image>\n<image>", "what"),
        ("Image 1: <image>\nImage 2: <image>\nwhat", "Image 1: \nImage 2: \nwhat"),
    ],
)
def test_several_images_are_a_list(write, text, question):
    talk = [{"from": "human", "value": text}, TALK[1], {"from": "human", "value": "<image>\nand"}, TALK[1]]
    (record,) = load_train(write([{"image": ["a.mp4", "a.mp4"], "conversations": talk}]))
    assert (record.kind, record.media) == ("multi_image", ("a.mp4", "a.mp4"))
    assert record.turns == ((question, "that"), ("and", "that"))


def test_a_list_of_one_image_is_an_image(write):
    (record,) = load_train(write([{"image": ["a.mp4"], "conversations": TALK}]))
    assert (record.kind, record.media) == ("image", ("a.mp4",))


def test_questions_may_be_about_several_images(write):
    (item,) = load_test(write([{"image": ["a.mp4", "a.mp4"], "questions": [QUESTION]}], "test.json"))
    assert (item.kind, item.media) == ("multi_image", ("a.mp4", "a.mp4"))


def test_text_without_media_is_unchanged(write):
    talk = [{"from": "human", "value": "what is <image>"}, TALK[1]]
    assert load_train(write([{"conversations": talk}]))[0].turns == (("what is <image>", "that"),)


def test_a_placeholder_behind_the_question_is_removed_too(write):
    talk = [{"from": "human", "value": "what\n<image>"}, TALK[1]]
    assert load_train(write([{"image": "a.mp4", "conversations": talk}]))[0].turns == (("what", "that"),)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a list of at least one record"),
        ([{"id": "x"}], r"record 0 \(id x\): needs `conversations`"),
        ([{"conversations": TALK[:1]}], "must alternate human, gpt"),
        ([{"video": "b.mp4", "conversations": TALK}], "1 of 1 media files are missing.*first b.mp4"),
        ([{"image": ["a.mp4", "b.png"], "conversations": TALK}], "1 of 2 media files are missing.*first b.png"),
        ([{"image": [], "conversations": TALK}], r"record 0 .*`image` must be a path or a list of at least one path"),
        ([{"image": ["a.mp4", 3], "conversations": TALK}], r"list of at least one path, not \['a.mp4', 3\]"),
        ([{"video": ["a.mp4"], "conversations": TALK}], "`video` must be a path, not"),
        ([{"video": "a.mp4", "image": "a.mp4", "conversations": TALK}], "has both `video` and `image`; give one"),
    ],
)
def test_wrong_training_records(write, data, says):
    with pytest.raises(ManifestError, match=says):
        load_train(write(data))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": 2}, "`answer` must be the index of an option"),
        ({"options": ["a"]}, "`answer` must be the index of an option"),
        ({"category": "overall"}, "reserved"),
        ({"question": None, "options": None}, "needs `questions`"),
    ],
)
def test_wrong_questions(write, change, says):
    with pytest.raises(ManifestError, match=says):
        load_test(write([{"video": "a.mp4", "questions": [QUESTION | change]}], "test.json"))


def test_questions_need_something_to_look_at(write):
    with pytest.raises(ManifestError, match="needs `video` or `image`"):
        load_test(write([{"questions": [QUESTION]}], "test.json"))


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot read .*train.json"):
        load_train(tmp_path)
