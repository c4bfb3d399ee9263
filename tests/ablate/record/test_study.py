"""Files about a whole study: facts, later axes, promotions; damage and versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.paths import StudyPaths
from ablate.record import RecordError, StudyFacts, facts, read_axes, remember, write_axes
from ablate.record.promotions import read_promotions

STORE = Path(__file__).parent / "records" / "store1" / "runs" / "before"


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    (tmp_path / "s").mkdir()
    return StudyPaths(name="s", root=tmp_path)


def test_facts_have_a_version(paths):
    remember(paths, StudyFacts(metric="b/overall", samples=10))
    assert json.loads(paths.about.read_text())["schema_version"] == 1
    assert facts(paths) == StudyFacts(metric="b/overall", samples=10)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"lower_is_better": true}', StudyFacts(lower_is_better=True)),  # version 0.1 wrote no schema_version
        ('{"metric": "b/overall", "colour": "red"}', StudyFacts(metric="b/overall")),  # a field of a later release
    ],
)
def test_facts_of_other_releases_are_read(paths, content, expected):
    paths.about.write_text(content)
    assert facts(paths) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not valid JSON"),
        ("[]", "is not a readable record"),
        ('{"lower_is_better": "yes"}', r"is not a readable record \(lower_is_better: Input should be a valid boolean"),
        (
            '{"schema_version": 2, "metric": ["a", "b"]}',
            r"written by a newer ablate \(schema version 2, this one .* 1\)",
        ),
    ],
)
def test_damaged_facts_are_refused_with_the_fix_and_stay(paths, content, says):
    """Without them nobody knows whether lower is better."""
    paths.about.write_text(content)
    for call in (lambda: facts(paths), lambda: remember(paths, StudyFacts())):
        with pytest.raises(RecordError, match=says) as caught:
            call()
        assert str(paths.about) in str(caught.value)
    assert paths.about.read_text() == content


def test_axes_are_read_back_with_their_types(paths):
    axes = {"k": {"fps": 2, "lr": 0.5, "mix": "A", "flag": True, "whole": 2.0}}
    assert read_axes(paths) == {}
    write_axes(paths, {})
    assert not (paths.folder / "axes.json").exists()
    write_axes(paths, axes)
    values = read_axes(paths)["k"].values()
    assert [(value, type(value)) for value in values] == [(value, type(value)) for value in axes["k"].values()]


def test_a_damaged_promotion_is_left_out(paths, caplog):
    source = next((STORE / "promotions").glob("*.json"))
    stored = json.loads(source.read_text())
    metric, modality = stored["metric"], stored["modality"]
    folder = paths.folder / "promotions"
    folder.mkdir()
    (folder / "1.json").write_text(source.read_text())
    (folder / "2.json").write_text(source.read_text()[:50])
    (folder / "3.json").write_text(json.dumps(stored | {"schema_version": 2}))
    assert len(read_promotions(paths, stored["large"], metric, modality)) == 1
    assert f"{folder / '2.json'} is not valid JSON" in caplog.text
    assert f"{folder / '3.json'} was written by a newer ablate" in caplog.text
