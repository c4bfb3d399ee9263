"""The first trial of a study records what a hub id contained; all others get that record, whenever they start."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ablate.record import RecordError, WeightsContent, content_file, first_content

CONTENT = WeightsContent(
    weights="who/What@v1", role="llm", digest="0" * 16, revision=None, path="/weights/who/What@v1", trial="0" * 16
)


def test_of_trials_that_start_at_once_one_is_the_first(tmp_path: Path):
    num_trials = 16
    ready = threading.Barrier(num_trials)

    def start(number: int) -> WeightsContent:
        ready.wait()
        return first_content(tmp_path, replace(CONTENT, digest=f"{number:016x}", trial=f"{number:016x}"))

    with ThreadPoolExecutor(num_trials) as pool:
        records = list(pool.map(start, range(num_trials)))
    assert len(set(records)) == 1
    assert first_content(tmp_path, CONTENT) == records[0]


def test_each_name_and_role_has_a_record_of_its_own(tmp_path: Path):
    others = [CONTENT, replace(CONTENT, role="encoder"), replace(CONTENT, weights="who/What-v1")]
    assert [first_content(tmp_path, one) for one in others] == others
    assert len({content_file(tmp_path, one) for one in others}) == 3


def test_contents_are_the_same_by_digest_or_by_commit():
    of_commit, later = (replace(CONTENT, revision="a" * 40, digest=digest) for digest in ("1" * 16, "2" * 16))
    assert of_commit.is_same(later)
    assert of_commit.is_same(replace(CONTENT, digest="1" * 16))  # a copy of what the hub has
    assert not of_commit.is_same(replace(later, revision="b" * 40))
    assert not CONTENT.is_same(replace(CONTENT, digest="1" * 16))


@pytest.mark.parametrize("damage", ["{", "{}", '{"weights": 1}'])
def test_a_damaged_record_is_reported_with_the_fix(tmp_path: Path, damage: str):
    first_content(tmp_path, CONTENT)
    content_file(tmp_path, CONTENT).write_text(damage)
    with pytest.raises(RecordError, match=r"who/What@v1 the trials of this study read: restore it, or move it away"):
        first_content(tmp_path, CONTENT)


def test_the_file_is_readable_by_people(tmp_path: Path):
    first_content(tmp_path, CONTENT)
    (path,) = (tmp_path / "weights").glob("llm-who-What-v1-*.json")
    assert json.loads(path.read_text())["digest"] == CONTENT.digest
