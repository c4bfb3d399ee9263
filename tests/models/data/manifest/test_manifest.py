"""Manifests: what is read from files, and errors that name the file, the record and the fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.data import ManifestError, Turn, open_records, open_test, open_training
from models.data.manifest import decoder, manifest_file, parse_item, parse_training
from models.video import Medium

CASES = Path(__file__).parent / "cases"
FILE = Path("train.json")
TALK = [{"from": "human", "value": "<video>\nwhat"}, {"from": "gpt", "value": "that"}]
PLAIN = [{"from": "human", "value": "what"}, {"from": "gpt", "value": "that"}]
QUESTION = {"question": "what", "options": ["a", "b"], "answer": 1, "category": "ocr"}


def videos(*paths: str) -> tuple[Medium, ...]:
    return tuple(Medium(path=path, kind="video") for path in paths)


def images(*paths: str) -> tuple[Medium, ...]:
    return tuple(Medium(path=path, kind="image") for path in paths)


def training(**data: object):
    return parse_training(FILE, 4, {"conversations": TALK} | data)


def refusal(**data: object) -> str:
    with pytest.raises(ManifestError) as error:
        training(**data)
    return str(error.value)


def load_train(folder: Path):
    """The training samples, as a trial reads them."""
    return list(open_training(folder, folder / "cache"))


def load_test(folder: Path):
    """The test items, as a trial reads them."""
    return list(open_test(folder, folder / "cache"))


@pytest.fixture
def write(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "frames").mkdir()

    def write(data: object, name: str = "train.json", encoding: str = "utf-8") -> Path:
        (tmp_path / name).write_text(data if isinstance(data, str) else json.dumps(data), encoding=encoding)
        return tmp_path

    return write


def test_llava_records_are_read(write):
    more = [{"from": "human", "value": "and"}, {"from": "gpt", "value": "this"}]
    records = load_train(
        write([{"id": 7, "video": "a.mp4", "conversations": TALK + more}, {"conversations": more, "independent": True}])
    )
    assert records[0].turns == (Turn((0, "what"), "that"), Turn(("and",), "this"))
    assert [(r.id, r.kind, r.independent) for r in records] == [("7", "video", False), ("1", "text", True)]
    assert [r.media for r in records] == [videos("a.mp4"), ()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
def test_lists_and_lines_are_read_with_and_without_a_byte_order_mark(write, name, encoding, indent):
    records = [{"id": "ä", "video": "a.mp4", "conversations": TALK}, {"id": "b", "conversations": PLAIN}]
    as_lines = "\n".join(json.dumps(record, indent=indent, ensure_ascii=False) for record in records) + "\n\n"
    as_list = " " + json.dumps(records, indent=indent, ensure_ascii=False)
    (sample, _) = load_train(write(as_lines, name, encoding))
    assert sample.id == "ä"
    assert load_train(write(as_list, name, encoding)) == load_train(write(as_lines, name, encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_with_the_fix(write, encoding):
    with pytest.raises(ManifestError, match=r"train.json is UTF-16 or UTF-32; .*`iconv -f UTF-16 -t UTF-8 train.json"):
        load_train(write([{"conversations": PLAIN}], encoding=encoding))


def test_latin_1_is_refused_with_the_line(write):
    with pytest.raises(ManifestError, match=r"not UTF-8: byte 0xe9 in line 2; if it is Latin-1: `iconv -f LATIN1"):
        load_train(write('\n{"id": "é"}', encoding="latin-1"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "json:1: is not valid JSON in record 0"),
        (json.dumps({"conversations": PLAIN}) + '\n{"id": 2,}', "json:2: is not valid JSON in record 1"),
        ("[" + '{"a":' * 100_000, "not readable JSON in record 0: it is nested too deeply"),
        ("[]", "must have at least one record"),
        ("", "must be a JSON list of records"),
        ("3", "must be a JSON list of records"),
        ('["a"]', 'record 0 must be an object, not "a"'),
        ('{"data": [{"id": "x"}]}', "the records are inside an object, under `data`: write that list alone"),
        ([{"id": "x"}], r"record 0 \(id x\): `conversations` is missing"),
        ('[{"id": 1, "id": 2}]', r"record 0 .*: has the key `id` twice"),
        (
            '[{"conversations": [{"from": "human", "value": "a", "value": "b"}]}]',
            r"conversations\[0\]` has the key `value",
        ),
    ],
)
def test_wrong_files(write, data, says):
    with pytest.raises(ManifestError, match=says):
        load_train(write(data))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([{"video": "b.mp4", "conversations": TALK}], "1 of 1 media files are missing.*first b.mp4"),
        ([{"image": ["a.mp4", "b.png"], "conversations": PLAIN}], "1 of 2 media files are missing.*first b.png"),
        ([{"image": "n" * 300, "conversations": PLAIN}], "1 of 1 media files are missing"),
        (
            [{"video": "frames", "conversations": TALK}],
            "video frames is a folder: give the frames per second .* as `fps`",
        ),
        ([{"image": "frames", "conversations": TALK}], "image frames is a folder"),
    ],
)
def test_media_that_are_missing_or_of_another_type_are_refused(write, data, says):
    with pytest.raises(ManifestError, match=says):
        open_records(write(data), write(data) / "cache", max_bad=0)


def test_a_folder_of_frames_with_a_rate_is_a_video(write):
    (sample,) = load_train(write([{"video": "frames", "fps": 2, "conversations": TALK}]))
    assert sample.media == (Medium(path="frames", kind="video", fps=2.0),)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot read .*train.json"):
        load_train(tmp_path)


def test_two_manifests_of_one_split_are_refused(write):
    folder = write([{"video": "a.mp4", "questions": [QUESTION]}], "test.jsonl")
    assert manifest_file(folder, "test").name == "test.jsonl"
    assert load_test(folder)[0].questions[0].answer == 1
    write("[]", "test.json")
    with pytest.raises(ManifestError, match=r"has both test.json and test.jsonl; keep one"):
        load_test(folder)


def test_two_test_items_with_one_id_are_refused(write):
    items = [{"id": name, "video": "a.mp4", "questions": [QUESTION]} for name in ("2", "a", None)]
    with pytest.raises(ManifestError, match="record 2 has the id of record 0, '2': give each item its own id"):
        load_test(write(items, "test.json"))
    assert [item.id for item in load_test(write(items[1:], "test.json"))] == ["a", "1"]


@pytest.mark.parametrize("key", ["image", "images"])
def test_lists_of_images(key):
    sample = training(**{key: ["a.png"]})
    assert (sample.kind, sample.media) == ("image", images("a.png"))
    sample = training(**{key: ["a.png", {"path": "b.png"}], "conversations": PLAIN})
    assert (sample.kind, sample.media) == ("multi_image", images("a.png", "b.png"))


@pytest.mark.parametrize("key", ["video", "videos"])
def test_lists_of_videos(key):
    sample = training(**{key: ["a.mp4"]})
    assert (sample.kind, sample.media) == ("video", videos("a.mp4"))
    sample = training(**{key: ["a.mp4", "b.mp4"], "conversations": PLAIN})
    assert (sample.kind, sample.media) == ("video", videos("a.mp4", "b.mp4"))
    assert sample.turns[0].question == (0, 1, "what")


def test_the_record_decides_the_kind_not_the_ending():
    assert training(video="a.gif").media == videos("a.gif")
    assert training(image="a.gif").media == images("a.gif")


def test_segments_and_their_durations():
    sample = training(video="a.mp4", start=2, end=4.5)
    assert sample.media == (Medium(path="a.mp4", kind="video", start_s=2.0, end_s=4.5),)
    assert sample.duration_s == 2.5
    assert training(video="a.mp4", start=2, duration=10).duration_s == 8
    assert training(video="a.mp4", duration=10).duration_s == 10
    assert training(video="a.mp4", duration=0).duration_s == 0
    assert training(video="a.mp4", start=2).duration_s is None
    two = [{"path": "a.mp4", "start": 1, "end": 2}, {"path": "frames", "fps": 4}]
    assert training(videos=two, conversations=PLAIN).media == (
        Medium(path="a.mp4", kind="video", start_s=1.0, end_s=2.0),
        Medium(path="frames", kind="video", fps=4.0),
    )
    item = parse_item(FILE, 0, {"video": "a.mp4", "start": 2, "end": 4, "questions": [QUESTION]})
    assert item.media == (Medium(path="a.mp4", kind="video", start_s=2.0, end_s=4.0),)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"video": "a.mp4", "image": "a.png"}, "has both `video` and `image`; give one"),
        ({"image": "a.png", "images": ["a.png"]}, "has both `image` and `images`; give one"),
        ({"image": []}, "`image` is an empty list: leave the key out"),
        ({"images": "a.png"}, "`images` must be a list of paths; write `image` for a single path"),
        ({"image": ["a.png", 3]}, r"`image\[1\]` must be a path, .*, not 3"),
        ({"image": ["a.png", None]}, r"`image\[1\]` must be a path, .*, not null"),
        ({"image": [{"bytes": "x"}]}, r"`image\[0\]` has an unknown key `bytes`"),
        ({"video": True}, "`video` must be a path, .*, not true"),
        ({"video": " "}, "`video` is empty"),
        ({"video": "/data/a.mp4"}, "leads out of the data folder.*ln -s"),
        ({"video": "../a.mp4"}, "leads out of the data folder"),
        ({"video": "v/../../a.mp4"}, "leads out of the data folder"),
        ({"video": "v\\a.mp4"}, "write `/` between folders"),
        ({"video": "C:/a.mp4"}, "relative to the data folder"),
        ({"video": "https://x.org/a.mp4"}, "is no path: download the file"),
        ({"image": "data:image/png;base64,AAAA"}, "is no path"),
        ({"video": "a\x00.mp4"}, "contains a control character"),
        ({"video": "a\ud83d.mp4"}, "contains half a surrogate pair"),
        ({"video": "a.mp4", "start": 4, "end": 4}, "`end` is 4 s, but `start` is 4 s"),
        ({"video": "a.mp4", "start": -1}, "`start` must be a number of seconds from 0"),
        ({"video": "a.mp4", "start": "1"}, "`start` must be a number of seconds .*, not the text '1'"),
        ({"video": "a.mp4", "end": float("nan")}, "`end` must be a number .*, not nan"),
        ({"video": "a.mp4", "end": float("inf")}, "`end` must be a number .*, not inf"),
        ({"video": "a.mp4", "end": 10**400}, "`end` must be a number"),
        ({"video": "a.mp4", "duration": True}, "`duration` must be a number .*, not true"),
        ({"video": "a.mp4", "duration": 8, "end": 9}, "`end` is 9 s, but the `duration` of the video is 8 s"),
        ({"video": "a.mp4", "duration": 8, "start": 8}, "`start` is 8 s, but the `duration`"),
        ({"video": "a.mp4", "fps": 0}, "`fps` must be above 0"),
        ({"videos": ["a.mp4", "b.mp4"], "start": 1}, "`start` belongs to a record with one video: write {path, start"),
        ({"videos": [{"path": "a.mp4"}], "start": 1}, r"`start` stands beside an object .* into `videos\[0\]`"),
        ({"image": "a.png", "start": 1}, "`start` belongs to a record with one video"),
        ({"duration": 3}, "`duration` belongs to a record with one video"),
        ({"video": "a.mp4", "video_start": 1}, "unknown key `video_start`: give the segment .* as `start` and `end`"),
        ({"video": "a.mp4", "clip": [0, 1]}, "unknown key `clip`: give the segment"),
        ({"vidoe": "a.mp4"}, r"unknown key `vidoe`: did you mean `video`\? \(known: id, video, "),
        ({"video_id": "v_1"}, "unknown key `video_id`: the record has no `video` or `image`"),
        ({"QA": []}, "unknown key `QA`: write `conversations`"),
        ({"video": "a.mp4", "audio": "a.wav"}, "unknown key `audio`"),
        ({"id": True}, "`id` must be text or an integer, not true"),
        ({"id": 1.5}, "`id` must be text or an integer, not 1.5"),
        ({"independent": "yes"}, "`independent` must be true or false, not the text 'yes'"),
    ],
)
def test_wrong_records_name_the_key_and_the_fix(data, says):
    with pytest.raises(ManifestError, match=says):
        training(**data)


def test_errors_name_file_record_and_id():
    assert refusal(id="x7", video=3).startswith("train.json: record 4 (id x7): `video` must be a path")


def test_a_null_is_a_missing_key():
    keys = ("image", "images", "videos", "start", "end", "fps", "duration", "system", "independent", "questions", "new")
    assert training(video="a.mp4", id=None, **dict.fromkeys(keys)) == training(video="a.mp4")


def test_keys_that_mean_nothing_for_training_are_passed_over():
    ignored = {"data_source": "x", "dataset": 1, "source": [], "model": "", "metadata": {"a": float("nan")}, "uid": 3}
    of_media = {"video_id": "v_1", "width": 3, "height": 4}
    assert training(video="a.mp4", **ignored, **of_media) == training(video="a.mp4")
    item = {"video": "a.mp4", "questions": [QUESTION]}
    assert parse_item(FILE, 0, item | ignored | of_media) == parse_item(FILE, 0, item)


CASE_REFUSALS = {
    "placeholder_count": {
        "n0": None,
        "n2": "has 2 placeholders, but the record has 1 medium",
        "n3": "has 2 placeholders, but the record has 1 medium",
        "n4": "has 1 placeholder, but the record has 2 media",
        "n5": "has a placeholder on a line of its own, but the record has no",
    },
    "placeholder_spellings": {
        "<video>": None,
        "<Video><VideoHere></Video>": "contains '<Video>': write `<image>` or `<video>`",
        "<|vision_start|><|video_pad|><|vision_end|>": "contains '<|vision_start|>'",
        "<vila/video>": "contains '<vila/video>'",
        "<image-placeholder>": "contains '<image-placeholder>'",
        "<video_0>": "contains '<video_0>'",
        "<VIDEO>": "contains '<VIDEO>'",
    },
    "videos_plural_key": {"p1": None, "p2": None},
    "segment_keys": {
        "s1": "unknown key `video_start`: give the segment of a video as `start` and `end`, in seconds",
        "s2": "unknown key `video_start`",
        "s3": None,
    },
    "null_answer": {
        "null": "`conversations[1].value` is null",
        "qnull": "`conversations[0].value` is null",
        "list": None,
        "empty": "`conversations[1].value` is empty ('')",
        "blank": "`conversations[1].value` is empty ('  ')",
        "number": "`conversations[1].value` must be text, not 3",
        "float": "`conversations[1].value` must be text, not nan",
    },
    "frames_folder": {1: "unknown key `video_frames`: give a folder of frames as `video`"},
}


@pytest.mark.parametrize("case", CASE_REFUSALS)
def test_records_of_public_reports(case):
    decode = decoder().decode
    for line in (CASES / f"{case}.jsonl").read_text().splitlines():
        record = decode(line)
        says = CASE_REFUSALS[case][record["id"]]
        if says is None:
            assert parse_training(FILE, 0, record).media
        else:
            with pytest.raises(ManifestError) as error:
                parse_training(FILE, 0, record)
            assert says in str(error.value)
