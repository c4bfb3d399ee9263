"""`prepare` writes the files once, for any number of workers, and may be killed at any time."""

import json
import signal
import subprocess
import sys
import time

import pytest

from models.data import open_training
from models.design import TinyData
from models.tiny.files import assets
from models.tiny.world import words

DATA = TinyData(kind="tiny", train_videos=6, test_videos=3, world_seed=4)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(assets, "NUM_IMAGES", 4)
    monkeypatch.setattr(assets, "NUM_TEXTS", 3)
    monkeypatch.setattr(assets, "NUM_ALBUMS", 8)
    monkeypatch.setattr(assets, "_CHUNK", 5)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_files_are_the_same_for_any_number_of_workers(tmp_path):
    one, two = (assets.prepare(DATA, tmp_path / str(n), workers=n) for n in (1, 2))
    assert files(one) == files(two)
    assert len(files(one)) == 6 + 3 + 4 + 2


def test_manifests_follow_the_format(tmp_path):
    folder = assets.prepare(DATA, tmp_path, workers=1)
    train, test = (json.loads((folder / f"{name}.json").read_text()) for name in ("train", "test"))
    assert [len(train), len(test)] == [6 + 2 * 4 + 3 + 8, 3]  # a picture has a caption and, apart, questions
    for record in train[:-8]:
        kind = next((kind for kind in ("video", "image") if kind in record), None)
        speakers = [turn["from"] for turn in record["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        first = record["conversations"][0]["value"]
        assert first.startswith(f"<{kind}>\n") if kind else "<" not in first
        assert kind is None or ((folder / record[kind]).is_file() and record["independent"])
    for record in test:
        assert (folder / record["video"]).is_file()
        for question in record["questions"]:
            assert set(question) == {"id", "question", "options", "answer", "category", "task"}
            assert len(question["options"]) == 4
    assert len({q["id"] for record in test for q in record["questions"]}) == 3 * 13


def test_albums_come_last_and_contain_pictures_of_earlier_records(tmp_path):
    folder = assets.prepare(DATA, tmp_path, workers=1)
    records = list(open_training(folder, tmp_path / "cache"))
    albums = [record for record in records if record.kind == "multi_image"]
    assert records[-8:] == albums
    assert {len(album.media) for album in albums} == {2, 3}
    seen_before = {path for record in records[:-8] for path in record.media}
    pictures = {record.media[0]: record for record in records if record.id.startswith("caption")}
    for album in albums:
        assert album.independent
        assert len(set(album.media)) == len(album.media)
        assert seen_before.issuperset(album.media)
        assert not any("<" in question for question in (turn.text for turn in album.turns))
        captions = [pictures[path].turns[0].answer.split() for path in album.media]
        first_digit = {"which digit is shown in image one ?", "which digit is shown in the first image ?"}
        digit = next(turn.answer for turn in album.turns if turn.text in first_digit)
        assert digit == captions[0][words.DIGIT_SLOT]


def test_existing_files_are_not_written_again(tmp_path):
    folder = assets.prepare(DATA, tmp_path, workers=1)
    stamp = (folder / "train.json").stat().st_mtime_ns
    assert assets.prepare(DATA, tmp_path, workers=1) == folder
    assert (folder / "train.json").stat().st_mtime_ns == stamp


def test_a_killed_build_leaves_no_partial_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from models.design import TinyData; from models.tiny import prepare;"
        "prepare(TinyData(kind='tiny', train_videos=3000), Path(sys.argv[1]), 1)"
    )
    build = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("*.part-*/videos/*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert list(tmp_path.glob("*.part-*/videos/*.mp4"))
    assert not list(tmp_path.glob("*/train.json"))
    # The same study, now small enough to finish: the lock of the killed build is free and its folder is removed.
    name = next(tmp_path.glob("*.part-*")).name.replace("3000-300", "6-3")
    (tmp_path / name.replace("-w1-", "-w4-")).mkdir()
    folder = assets.prepare(DATA, tmp_path, workers=1)
    assert (folder / "train.json").is_file()
    assert not list(tmp_path.glob(f"{folder.name}.part-*"))
