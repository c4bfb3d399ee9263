"""Every medium is read once; results are kept by content; a check that is stopped goes on; bad records are skipped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from models.data import (
    ManifestError,
    bad_records,
    check_media,
    encode_medium,
    load_facts,
    media_check,
    media_facts,
    open_records,
    open_test,
    open_training,
    skipped_records,
    writable_store,
)
from models.data.media_facts import signature_of
from models.tiny.files import write_video
from models.video import Medium

FPS, SIZE = 8, 32
"""As `write_video` writes them."""

TALK = [{"from": "human", "value": "what"}, {"from": "gpt", "value": "that"}]
QUESTION = {"question": "what", "options": ["a", "b"], "answer": 1, "category": "ocr"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Four videos of 1 to 4 seconds, of which v2.mp4 is cut short; an image, and an image that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        frames = np.zeros((FPS * (number + 1), SIZE, SIZE, 3), np.uint8)
        write_video(frames, folder / f"v{number}.mp4")
    content = (folder / "v2.mp4").read_bytes()
    (folder / "v2.mp4").write_bytes(content[: len(content) * 2 // 3])
    Image.new("RGB", (8, 6)).save(folder / "i.png")
    (folder / "no.png").write_bytes(b"text")
    return folder


@pytest.fixture
def folder(videos: Path, tmp_path: Path) -> Path:
    """A data folder: ten training samples, the one with v2.mp4 and the one with no.png bad; two good test items."""
    shutil.copytree(videos, tmp_path / "data")
    records = [{"id": f"r{i}", "video": f"v{i % 4}.mp4", "conversations": TALK} for i in range(4)]
    records += [{"id": "album", "image": ["i.png", "no.png", "no.png"], "conversations": TALK}]
    records += [{"id": f"t{i}", "conversations": TALK} for i in range(5)]
    (tmp_path / "data/train.json").write_text(json.dumps(records))
    write_test(tmp_path / "data", ["v0.mp4", "v1.mp4"])
    return tmp_path / "data"


def write_test(folder: Path, names: list[str]) -> None:
    (folder / "test.json").write_text(json.dumps([{"video": name, "questions": [QUESTION]} for name in names]))


def video(name: str) -> str:
    return encode_medium(Medium(path=name, kind="video"))


def check(folder: Path, progress: Callable = lambda _: None):
    cache = folder.parent / "cache"
    media = dict.fromkeys([*open_training(folder, cache).media(), *open_test(folder, cache).media()])
    return check_media(folder, list(media), cache, 2, progress)


def test_the_newest_facts_count(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """In the cache, as long as the data folder is not writable; in it afterwards."""
    cache = folder.parent / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(media_facts.os, "access", lambda *_: False)
        facts, _ = check(folder)
    assert cache in facts.file.parents
    os.utime(facts.file, ns=(1, 1))
    facts, number = check(folder)
    assert (facts.file.parent, number) == (folder / ".ablate", 0)


def test_all_media_are_read_and_all_bad_ones_are_named(folder: Path):
    progress = []
    facts, number = check(folder, progress.append)
    assert number == 6
    assert (progress[-1].done, progress[-1].total, progress[-1].bad, progress[-1].seconds_left) == (6, 6, 2, 0)
    assert all(one.seconds_left > 0 for one in progress if 0 < one.done < one.total)
    rows = {row.path: row for row in facts.rows()}
    assert sorted(path for path, row in rows.items() if row.reason) == ["no.png", "v2.mp4"]
    assert "truncated" in rows["v2.mp4"].reason
    assert "not a readable image" in rows["no.png"].reason
    assert (rows["i.png"].reader, rows["i.png"].width, rows["i.png"].height) == ("pillow", 8, 6)
    assert [rows[f"v{i}.mp4"].frames for i in (0, 1, 3)] == [FPS * n for n in (1, 2, 4)]
    assert [rows[f"v{i}.mp4"].duration_s for i in (0, 1, 3)] == pytest.approx([1, 2, 4])
    uses = [
        (bad.id, bad.number, bad.path) for bad in bad_records(open_training(folder, folder.parent / "cache"), facts)
    ]
    assert uses == [("r2", 2, "v2.mp4"), ("album", 4, "no.png")]
    durations = facts.durations(pa.array([video("v3.mp4"), video("v2.mp4"), video("other.mp4")]))
    np.testing.assert_allclose(durations, [4, np.nan, np.nan])
    assert (folder / ".ablate").is_dir()


def test_a_second_check_reads_only_what_has_changed_or_is_new(folder: Path, monkeypatch):
    check(folder)
    paths: list[str] = []
    inspect = media_check.inspect_medium
    monkeypatch.setattr(
        media_check,
        "inspect_medium",
        lambda at, medium, *rest: [paths.append(medium.path), inspect(at, medium, *rest)][1],
    )
    assert check(folder)[1] == 0
    shutil.copy(folder / "v1.mp4", folder / "v2.mp4")
    shutil.copy(folder / "v1.mp4", folder / "v9.mp4")
    write_test(folder, ["v9.mp4", "gone.mp4"])
    facts, number = check(folder)
    assert (number, sorted(paths)) == (3, ["v2.mp4", "v9.mp4"])
    assert {video("gone.mp4"): "does not exist"}.items() <= facts.bad().items()
    assert video("v2.mp4") not in facts.bad()
    os.unlink(folder / "v0.mp4")
    assert check(folder)[0].bad()[video("v0.mp4")] == "does not exist"


def test_a_check_that_is_stopped_goes_on_where_it_was(folder: Path, monkeypatch):
    monkeypatch.setattr(media_check, "SAVE_S", 0.0)

    def stop(progress: media_check.CheckProgress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(folder, stop)
    assert load_facts(folder, folder.parent / "cache") is None  # nobody takes half a check for a whole one
    with (folder / ".ablate/media-v1.jsonl").open("a") as file:
        file.write('{"medium": "cut')  # the process was killed while it wrote
    facts, number = check(folder)
    assert number == 3
    assert len(facts.bad()) == 2
    assert len(list(facts.rows())) == 6
    assert sorted(path.name for path in (folder / ".ablate").iterdir()) == ["check.lock", "media-v1.parquet"]


def test_results_are_in_the_cache_if_the_data_folder_is_read_only(folder: Path, monkeypatch):
    cache = folder.parent / "cache"
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(folder)))
    assert check(folder)[1] == 6
    assert not (folder / ".ablate").exists()
    assert writable_store(folder, cache).is_relative_to(cache)
    assert len(load_facts(folder, cache).bad()) == 2
    assert check(folder)[1] == 0
    monkeypatch.undo()
    assert check(folder)[1] == 0
    assert (folder / ".ablate/media-v1.parquet").is_file()  # where other users and nodes find it


def test_two_checks_of_a_folder_do_not_run_at_once(folder: Path):
    def second(_: media_check.CheckProgress) -> None:
        with pytest.raises(ManifestError, match="another check of .* is running"):
            check(folder)
        refused.append(True)

    refused: list[bool] = []
    check(folder, second)
    assert refused


def test_a_folder_of_frames_has_changed_if_one_of_them_has(tmp_path: Path):
    (tmp_path / "f").mkdir()
    for number in range(3):
        (tmp_path / f"f/{number}.png").write_bytes(b"12")
    medium = Medium(path="f", kind="video", fps=2.0)
    before = signature_of(tmp_path, medium)
    assert before.size == 6
    (tmp_path / "f/1.png").write_bytes(b"123")
    assert signature_of(tmp_path, medium) != before
    assert signature_of(tmp_path, Medium(path="gone", kind="video")) == (-1, -1)


# --- which records are skipped -----------------------------------------------------------------------


def test_bad_records_are_skipped_within_the_limit(folder: Path):
    cache = folder.parent / "cache"
    train, test = open_training(folder, cache), open_test(folder, cache)
    with pytest.raises(ManifestError, match=r"6 of 6 media in .* have not been read yet; type: ablate check "):
        skipped_records(train, test, cache, 0.2)
    check(folder)
    with pytest.raises(
        ManifestError, match=r"2 of 10 records \(20%\) of .*train\.json .* max_bad is 19.9%; ablate check"
    ):
        skipped_records(train, test, cache, 0.199)
    skipped = skipped_records(train, test, cache, 0.2)
    assert (skipped.train, skipped.test) == ((2, 4), ())
    records = open_records(folder, cache, 0.2)
    assert [sample.id for sample in records.train] == ["r0", "r1", "r3", "t0", "t1", "t2", "t3", "t4"]
    assert [(bad.manifest, bad.number, bad.path) for bad in records.skipped] == [
        ("train.json", 2, "v2.mp4"),
        ("train.json", 4, "no.png"),
    ]
    assert records.digest == skipped.digest != ""


def test_test_items_have_the_same_limit(folder: Path):
    write_test(folder, ["v0.mp4", "v2.mp4", "v1.mp4"])
    check(folder)
    cache = folder.parent / "cache"
    with pytest.raises(ManifestError, match=r"1 of 3 records \(33.3%\) of .*test\.json"):
        open_records(folder, cache, 0.3)
    assert [item.media[0].path for item in open_records(folder, cache, 0.34).test] == ["v0.mp4", "v1.mp4"]


def test_a_damaged_table_is_written_anew_by_the_next_check(folder: Path):
    check(folder)
    cache = folder.parent / "cache"
    facts = load_facts(folder, cache)
    facts.file.write_bytes(facts.file.read_bytes()[:100])
    with pytest.raises(ManifestError, match="have not been read yet; type: ablate check"):
        open_records(folder, cache, 0.2)
    check(folder)
    assert open_records(folder, cache, 0.2).digest != ""


def test_a_limit_that_is_just_reached_holds_in_spite_of_rounding(folder: Path):
    write_test(folder, ["v2.mp4"] * 29 + ["v0.mp4"] * 71)  # 0.29 * 100 < 29
    check(folder)
    assert len(open_records(folder, folder.parent / "cache", 0.29).test) == 71


def test_a_manifest_of_bad_records_alone_is_refused_under_any_limit(folder: Path):
    write_test(folder, ["v2.mp4", "v2.mp4"])
    check(folder)
    with pytest.raises(ManifestError, match=r"all 2 records of .*test\.json use media that cannot be read"):
        open_records(folder, folder.parent / "cache", 1.0)


def test_the_list_changes_with_the_media_and_with_nothing_else(folder: Path):
    cache = folder.parent / "cache"
    check(folder)
    first = open_records(folder, cache, 0.2).digest
    check(folder)
    assert open_records(folder, cache, 1.0).digest == first  # another limit, the same records
    shutil.copy(folder / "v1.mp4", folder / "v2.mp4")
    with pytest.raises(ManifestError, match=r"1 media .* have changed since the last check, first v2\.mp4"):
        open_records(folder, cache, 0.2)
    check(folder)
    assert open_records(folder, cache, 0.2).digest not in ("", first)
    shutil.copy(folder / "i.png", folder / "no.png")
    check(folder)
    assert open_records(folder, cache, 0.2).digest == ""
    assert open_records(folder, cache, 0.0).digest == ""


def test_without_a_limit_all_records_are_used_and_missing_media_are_refused(folder: Path):
    check(folder)
    assert len(open_records(folder, folder.parent / "cache", 0.0).train) == 10
    os.unlink(folder / "v0.mp4")
    write_test(folder, ["v0.mp4"])
    with pytest.raises(ManifestError, match=r"test\.json: 1 of 1 media files are missing"):
        open_records(folder, folder.parent / "cache", 0.0)
