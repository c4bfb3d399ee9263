"""The index of a manifest has the records of the file, draws what lists drew, and is made once for each content."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import (
    ManifestError,
    decode_medium,
    encode_medium,
    index,
    open_test,
    open_training,
    refuse_missing,
)
from models.data.manifest import parse_item, parse_training
from models.data.mixing import KINDS, Draws
from models.design import Mix
from models.video import Medium

TALK = [{"from": "human", "value": "what"}, {"from": "gpt", "value": "that one"}]
QUESTION = {"question": "what", "options": ["a", "b"], "answer": 1, "category": "ocr"}
KIND_OF = {
    "text": {},
    "image": {"image": "a.png"},
    "video": {"video": "v.mp4", "duration": 2.5},
    "multi_image": {"image": ["a.png", "b.png"]},
}


def write(folder: Path, kinds: list[str]) -> Path:
    records = [{"id": f"r{i}", **KIND_OF[kind], "conversations": TALK * (1 + i % 3)} for i, kind in enumerate(kinds)]
    (folder / "train.json").write_text(json.dumps(records))
    (folder / "test.json").write_text(json.dumps([{"video": "v.mp4", "questions": [QUESTION]}] * 3))
    for name in ("a.png", "b.png", "v.mp4"):
        (folder / name).write_bytes(b"")
    return folder


def parsed(file: Path, parse):
    """The records of a manifest, without an index."""
    return [parse(file, number, record) for number, record in enumerate(json.loads(file.read_text()))]


def test_an_index_has_the_records_of_the_file(tmp_path: Path):
    folder = write(tmp_path, ["video", "text", "multi_image", "image", "video"])
    samples, items = open_training(folder, tmp_path / "cache"), open_test(folder, tmp_path / "cache")
    assert list(samples) == samples[:] == parsed(folder / "train.json", parse_training)
    assert list(items) == parsed(folder / "test.json", parse_item)
    assert (samples[-1].id, items[0].kind) == ("r4", "video")
    assert [sample.id for sample in samples[1:4:2]] == ["r1", "r3"]
    assert samples.digest == hashlib.sha256((folder / "train.json").read_bytes()).hexdigest()
    assert {kind: samples.of_kind(kind).tolist() for kind in KINDS} == {
        "video": [0, 4], "text": [1], "multi_image": [2], "image": [3],
    }  # fmt: skip
    assert samples.column("turns").tolist() == [1, 2, 3, 1, 2]
    assert samples.column("answer_characters").tolist() == [8, 16, 24, 8, 16]
    np.testing.assert_equal(samples.column("duration_s"), [2.5, np.nan, np.nan, np.nan, 2.5])
    assert [decode_medium(one).path for one in samples.media()] == ["v.mp4", "a.png", "b.png"]
    positions, media = samples.media_of_records()
    assert positions.tolist() == [0, 2, 2, 3, 4]
    assert [decode_medium(one).path for one in media.to_pylist()] == ["v.mp4", "a.png", "b.png", "a.png", "v.mp4"]


def test_records_that_are_left_out_leave_the_others_as_they_are(tmp_path: Path):
    folder = write(tmp_path, ["video", "text", "multi_image", "image", "video"])
    everything = open_training(folder, tmp_path / "cache")
    samples = everything.without([4, 1])
    assert list(samples) == [everything[0], everything[2], everything[3]]
    assert samples.numbers.tolist() == [0, 2, 3]
    assert samples.of_kind("image").tolist() == [2]
    assert samples.column("turns").tolist() == [1, 3, 1]
    assert samples.media_of_records()[0].tolist() == [0, 1, 1, 2]


@settings(max_examples=25)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=20),
    weights=st.lists(st.integers(min_value=0, max_value=5), min_size=4, max_size=4),
    count=st.integers(min_value=0, max_value=60),
    seed=st.integers(min_value=0, max_value=9),
)
def test_an_index_draws_what_a_list_draws(tmp_path_factory, kinds, weights, count, seed):
    weights = [weight * (kind in kinds) for kind, weight in zip(KINDS, weights, strict=True)]
    if not sum(weights):
        weights = [float(kind == kinds[0]) for kind in KINDS]
    mix = Mix(**{kind: weight / sum(weights) for kind, weight in zip(KINDS, weights, strict=True)})
    folder = write(tmp_path_factory.mktemp("draw"), kinds)
    drawn = [
        [sample.id for sample in Draws(samples, mix, count, np.random.default_rng(seed))]
        for samples in (parsed(folder / "train.json", parse_training), open_training(folder, folder / "cache"))
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == count


def test_draws_of_a_seed_are_those_of_earlier_studies(tmp_path: Path):
    folder = write(tmp_path, ["video", "text", "image"] * 4)
    mix = Mix(video=0.5, text=0.25, image=0.25)
    drawn = Draws(open_training(folder, tmp_path / "cache"), mix, 12, np.random.default_rng(3))
    drawn_before = ["r9", "r0", "r7", "r6", "r10", "r1", "r8", "r3", "r6", "r2", "r5", "r3"]  # at commit f323f26
    assert [sample.id for sample in drawn] == drawn_before


def test_an_index_is_made_once_for_each_content(tmp_path: Path):
    folder, cache = write(tmp_path, ["video", "text"]), tmp_path / "cache"
    progress: list[tuple[str, int, int]] = []
    size = (folder / "train.json").stat().st_size

    def indexed() -> int:
        before = len(progress)
        open_training(folder, cache, lambda manifest, done, total: progress.append((manifest.name, done, total)))
        return len(progress) - before

    assert indexed() == 1
    assert progress == [("train.json", size, size)]
    assert indexed() == 0
    write(folder, ["text", "video"])  # the same size
    os.utime(folder / "train.json", ns=(1, 1))
    assert indexed() == 1
    assert [sample.kind for sample in open_training(folder, cache)] == ["text", "video"]


def test_an_index_is_of_the_content_that_the_key_has(tmp_path: Path):
    folder, cache = write(tmp_path, ["video", "text"]), tmp_path / "cache"
    for kinds in (["video", "text"], ["text", "video"]):  # the same size
        write(folder, kinds)
        os.utime(folder / "train.json", ns=(1, 1))  # as `cp -p` and `rsync -t` do
        assert [sample.kind for sample in open_training(folder, cache)] == kinds


def test_an_open_index_is_not_affected_by_a_new_manifest(tmp_path: Path):
    folder = write(tmp_path, ["video", "text"])
    samples = open_training(folder, tmp_path / "cache")
    write(folder, ["text"])
    open_training(folder, tmp_path / "cache")
    assert [sample.kind for sample in samples] == ["video", "text"]


def test_a_wrong_record_is_named_and_leaves_no_index(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(index, "ROWS_PER_BATCH", 2)
    folder = write(tmp_path, ["text"] * 5)
    records = json.loads((folder / "train.json").read_text())
    records[3]["conversations"] = TALK[:1]
    (folder / "train.json").write_text(json.dumps(records))
    with pytest.raises(ManifestError, match=r"train\.json: record 3 \(id r3\): .*alternate"):
        open_training(folder, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache/manifests").iterdir() if path.suffix != ".lock"]


def test_media_are_looked_for_once_for_each_content_and_folder(tmp_path: Path):
    folder, cache = write(tmp_path, ["video", "multi_image"]), tmp_path / "cache"
    (folder / "b.png").unlink()
    for _ in range(2):  # a failure is not remembered
        with pytest.raises(ManifestError, match=r"1 of 3 media files are missing below .*, first b\.png"):
            refuse_missing(open_training(folder, cache), cache)
    (folder / "b.png").write_bytes(b"")
    refuse_missing(open_training(folder, cache), cache)
    (folder / "b.png").unlink()
    refuse_missing(open_training(folder, cache), cache)  # not looked for again; reading it names the file
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "train.json").write_bytes((folder / "train.json").read_bytes())
    with pytest.raises(ManifestError, match="3 of 3 media files are missing"):
        refuse_missing(open_training(copy, cache), cache)


@given(
    st.builds(
        Medium,
        path=st.text(),
        kind=st.sampled_from(["image", "video"]),
        start_s=st.floats(min_value=0, max_value=1e6),
        end_s=st.none() | st.floats(min_value=0, max_value=1e6),
        fps=st.none() | st.floats(min_value=0.1, max_value=100),
    )
)
def test_a_medium_survives_its_encoding(medium):
    assert decode_medium(encode_medium(medium)) == medium
