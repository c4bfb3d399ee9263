"""What a score table accepts and refuses, and its messages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.tables import COLUMNS, ScoreTable, TableError, published, ranking, scale_order, scale_size


@pytest.mark.parametrize(
    ("label", "size"),
    [("0.15M", 150_000), ("0.5B", 5e8), ("1.5B", 1.5e9), ("7B", 7e9), ("500k", 5e5), ("1T", 1e12), (" 3B ", 3e9)],
)
def test_sizes(label, size):
    assert scale_size(label) == pytest.approx(size)


@pytest.mark.parametrize("label", ["large", "B", "7", "-1B", "1.B", "7B-chat", ""])
def test_labels_that_are_no_sizes(label):
    assert scale_size(label) == math.inf


def test_scales_sort_by_size_then_by_name():
    labels = ["small", "7B", "0.5B", "700M", "1.5B", "0.15M", "base"]
    assert sorted(labels, key=scale_order) == ["0.15M", "0.5B", "700M", "1.5B", "7B", "base", "small"]


def test_columns_are_required_and_others_left_out(apollo):
    with pytest.raises(TableError, match="lacks seed, score; its columns must be study"):
        ScoreTable(apollo.frame.drop(columns=["seed", "score"]))
    assert list(ScoreTable(apollo.frame.assign(note="x")).frame.columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("score", "52.1", "score must be a number"),
        ("score", True, "score must be a number"),
        ("score", math.inf, "score is infinite"),
        ("seed", 0.5, "seed must be a whole number"),
        ("seed", None, "seed must be a whole number"),
        ("samples", 1.5, "samples must be a whole number, or missing"),
        ("design", None, "design must be a name"),
        ("scale", 7, "scale must be a name"),
        ("benchmark", "a/b", "must not contain a slash"),
    ],
)
def test_bad_cells_are_refused_by_row(rows_of, column, value, says):
    frame = rows_of({"1M": {"a": [1.0], "b": [2.0], "c": [3.0]}}).astype(object)
    frame.loc[1, column] = value
    with pytest.raises(TableError, match=says) as refusal:
        ScoreTable(frame)
    assert "row 1: " in str(refusal.value)
    assert "row 0" not in str(refusal.value)


def test_many_bad_rows_are_counted(rows_of):
    frame = rows_of({"1M": {f"d{i}": [math.inf] for i in range(9)}})
    with pytest.raises(TableError, match="and 6 more"):
        ScoreTable(frame)


def test_a_trial_has_one_score(rows_of):
    frame = rows_of({"1M": {"a": [1.0], "b": [2.0]}})
    with pytest.raises(TableError, match=r"two scores.*row 0: s, a, 1M.*row 0: s, a, 1M"):
        ScoreTable(pd.concat([frame, frame.iloc[:1].assign(score=5.0)]))


def test_nan_is_left_out_and_counted(rows_of):
    table = ScoreTable(rows_of({"1M": {"a": [1.0, math.nan], "b": [2.0, 3.0], "c": [math.nan]}}))
    assert table.dropped["design"].tolist() == ["a", "c"]
    assert table.per_design("1M")["seeds"].to_dict() == {"a": 1, "b": 2}
    assert len(table.select().dropped) == 2


def test_missing_values_of_every_kind(rows_of):
    frame = rows_of({"1M": {"a": [1.0], "b": [2.0], "c": [3.0]}}).astype(object)
    frame.loc[0, "score"], frame.loc[1, "score"], frame["samples"] = None, pd.NA, None
    table = ScoreTable(frame)
    assert (len(table.frame), len(table.dropped)) == (1, 2)
    assert str(table.frame["samples"].dtype) == "Int64"


def test_the_frame_passed_is_not_changed(rows_of):
    frame = rows_of({"1M": {"b": [1.0], "a": [math.nan]}})
    before = frame.copy()
    ScoreTable(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_row_order_does_not_matter(apollo):
    shuffled = ScoreTable(apollo.frame.sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(shuffled.frame, apollo.frame)


def test_selecting_a_metric(rows_of):
    scores = {"1M": {"a": [1.0]}}
    frames = [rows_of(scores), rows_of(scores, "bench/order"), rows_of(scores, modality="text")]
    table = ScoreTable(pd.concat(frames))
    assert table.metrics() == ("bench/order", "bench/overall")
    assert table.select().metric == "bench/overall"
    assert table.select("bench/order").metric == "bench/order"
    assert table.select("bench/order").select().metric == "bench/order"
    assert table.select(modality="text").frame["modality"].unique().tolist() == ["text"]
    with pytest.raises(TableError, match=r"bench/count with modality video in study s; there are: bench/order"):
        table.select("bench/count")
    with pytest.raises(TableError, match=r"there are: other modalities only \("):
        table.select("bench/overall", "frame")
    with pytest.raises(TableError, match=r"metric required: .*choose one of: bench/order, bench/sort"):
        ScoreTable(pd.concat([rows_of(scores, f"bench/{c}") for c in ("order", "sort")])).select()
    with pytest.raises(TableError, match=r"select\(\) first"):
        table.per_design("1M")


def test_the_direction_is_that_of_the_selected_metric(apollo):
    table = ScoreTable(
        pd.concat([apollo.frame, apollo.frame.assign(benchmark="val", category="loss")]), directions={"val/loss": True}
    )
    directions = {"apollo/overall": False, "val/loss": True}
    assert {name: table.select(name).lower_is_better for name in table.metrics()} == directions
    without = table.without(["v01"])
    assert {name: without.select(name).lower_is_better for name in table.metrics()} == directions
    best, worst = (ranking(table, "7B", name)["design"].tolist() for name in directions)
    assert best[0] == worst[-1]


def test_labels_that_are_no_sizes_have_the_stated_order(apollo):
    names = {"0.5B": "tiny", "1.5B": "small", "4B": "large", "7B": "8B"}
    frame = apollo.frame.assign(scale=apollo.frame["scale"].map(names))
    assert ScoreTable(frame, order=("tiny", "small", "large")).scales == ("8B", "tiny", "small", "large")
    assert ScoreTable(frame, order=("tiny",)).select().scales == ("8B", "tiny", "large", "small")


def test_an_unknown_scale_is_refused_with_a_list_of_scales(apollo):
    with pytest.raises(TableError, match=r"no trials at 3B in study apollo; there are: 0.5B, 1.5B, 4B, 7B"):
        apollo.at("3B")


def test_one_study_and_one_number_of_samples_at_a_time(rows_of):
    frame = rows_of({"1M": {"a": [1.0], "b": [2.0]}})
    two = ScoreTable(pd.concat([frame, frame.assign(study="t")]))
    with pytest.raises(TableError, match="contains s, t"):
        _ = two.study
    assert two.only(study="t").study == "t"
    longer = ScoreTable(pd.concat([frame, frame[:1].assign(samples=2000)])).select()
    with pytest.raises(TableError, match=r"design a was trained at 1M on different numbers of samples \(1000, 2000\)"):
        longer.per_design("1M")
    assert longer.without(["b"]).frame["design"].unique().tolist() == ["a"]
    assert longer.only(samples=2000).per_design("1M")["mean"].to_dict() == {"a": 1.0}
    with pytest.raises(TableError, match=r"no scores with samples 5; there are: samples 1000, 2000"):
        longer.only(samples=5)


def test_two_rows_of_factors_are_refused(rows_of):
    factors = pd.DataFrame({"lr": [1, 2]}, index=["a", "a"])
    with pytest.raises(TableError, match="design a has two rows of factors"):
        ScoreTable(rows_of({"1M": {"a": [1.0]}}), factors=factors)


def test_narrowing_keeps_what_was_dropped(rows_of):
    table = ScoreTable(rows_of({"1M": {"a": [1.0, math.nan], "b": [math.nan]}}), lower_is_better=True)
    for narrower in (table.select(), table.only(samples=1000), table.without([])):
        assert (len(narrower.frame), len(narrower.dropped), narrower.lower_is_better) == (1, 2, True)
    assert table.without(["b"]).dropped["design"].tolist() == ["a"]


def test_an_empty_table_says_so():
    with pytest.raises(TableError, match="contains no scores: no trial"):
        _ = ScoreTable(pd.DataFrame(columns=list(COLUMNS))).study


def test_means_over_seeds(rows_of):
    table = ScoreTable(rows_of({"1M": {"a": [1.0, 2.0, 6.0], "b": [4.0]}}))
    frame = table.per_design("1M")
    assert frame["mean"].to_dict() == {"a": 3.0, "b": 4.0}
    assert frame["sd"]["a"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert math.isnan(frame["sd"]["b"])
    assert frame["samples"].tolist() == [1000, 1000]


def test_equal_means_tie_exactly(rows_of):
    scores = {"1M": {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1], "c": [0.2, 0.2, 0.2]}}
    assert ScoreTable(rows_of(scores)).per_design("1M")["mean"].nunique() == 1


def test_the_published_study(apollo):
    assert apollo.study == "apollo"
    assert apollo.scales == ("0.5B", "1.5B", "4B", "7B")
    assert apollo.metrics() == ("apollo/overall",)
    assert (len(apollo.frame), apollo.frame["design"].nunique(), len(apollo.dropped)) == (84, 21, 0)
    assert apollo.frame["samples"].isna().all()
    assert apollo.select().per_design("7B")["mean"]["v20"] == 53.13
    with pytest.raises(TableError, match="no published study datadecide; there is: apollo"):
        published("datadecide")


def test_every_published_file_is_named_and_readable():
    folder = Path(analysis.__file__).parent / "published" / "apollo"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    files = [path for path in folder.iterdir() if path.suffix in {".csv", ".json"}]
    assert len(files) == 13
    for path in files:
        assert f"`{path.name}`" in readme
        assert len(pd.read_csv(path)) if path.suffix == ".csv" else json.loads(path.read_text(encoding="utf-8"))
