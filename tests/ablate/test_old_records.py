"""What earlier versions wrote is read: trial folders, promotions, and a whole MLflow store (records/store1)."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.ablate.cli.test_app import ablate

STORE = Path(__file__).parent / "record" / "records" / "store1"
EXPECTED = json.loads((STORE / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def old_study(tmp_path, monkeypatch) -> str:
    """The old study in a runs folder of its own; the URI of its store."""
    shutil.copytree(STORE / "runs", tmp_path / "runs")
    database = tmp_path / "runs" / "mlflow.db"
    database.write_bytes(gzip.decompress((STORE / "mlflow.db.gz").read_bytes()))
    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "runs"))
    return f"sqlite:///{database}"


def test_folders_of_an_old_study_rank_as_before(old_study):
    assert json.loads(ablate("ls", "before", "--json").stdout) == EXPECTED["ls"]


@pytest.mark.parametrize("small", ["0.05M", "0.15M"])
@pytest.mark.parametrize("source", ["folders", "mlflow"])
def test_an_old_study_answers_as_before(old_study, small, source):
    expected = EXPECTED["consistency"][small]
    options = ["--tracking-uri", old_study] if source == "mlflow" else []
    large = expected["large"]
    report = json.loads(
        ablate("consistency", "--study", "before", "--small", small, "--large", large, "--json", *options).stdout
    )
    assert [p["design"] for p in report["points"]] == [p["design"] for p in expected["points"]]
    for axis in ("x", "y"):
        assert [p[axis] for p in report["points"]] == pytest.approx([p[axis] for p in expected["points"]])
    for key in ("n", "r2", "spearman", "kendall"):
        assert report[key] == pytest.approx(expected[key])


def test_an_old_promotion_is_compared_with_what_came_out(old_study):
    report = json.loads(
        ablate("consistency", "--study", "before", "--small", "0.15M", "--large", "0.4M", "--json").stdout
    )
    assert report["predictions"][0]["inside"] == 3
    assert report["predictions"][0]["rmse"] == pytest.approx(0.3876378)
