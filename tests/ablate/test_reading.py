"""A study read from folders, from MLflow's sqlite file, and through its client: all give the same table.

The stores are real; creating one takes over a second, so tests share one, with a study each.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from ablate.errors import AblateError, UsageError
from ablate.imports import import_scores
from ablate.paths import StudyPaths
from ablate.record import About, Failure, Result, Score, StudyFacts, folder_of, remember, scan, trials_of_records
from ablate.study import load_table, score_frame
from ablate.study.load import unfinished_trials
from ablate.study.table import factor_frame
from ablate.tracking import Mirror, decode, encode, sqlite, sync
from ablate.tracking import client as tracking

# mlflow 3.17 configures its tables with an option that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

BEGAN = 1_790_000_000.0


def about_of(paths: StudyPaths, key: str, axes=None, **changes) -> About:
    fields = {
        "key": key, "design_key": f"d-{key}", "label": f"{key}@0.15M/s0", "design_label": key,
        "study": paths.name, "sweep": "sampling", "scale": "0.15M", "seed": 0, "samples": 5000,
        "axes": {"sampling": key, "resampler.tokens_per_frame": 2} if axes is None else axes,
        "config": {"design.sampling.kind": "uniform", "scale": "0.15M"}, "resolved": {},
    }  # fmt: skip
    return About(**(fields | changes))


def done(paths: StudyPaths, about: About, score: float = 50.0, *, scores=None, ended: float = 0.0) -> About:
    """A finished trial's folder."""
    scores = scores or [
        Score(benchmark="tinybench", category=category, modality=modality, score=score + i / 3)
        for i, (category, modality) in enumerate([("overall", "video"), ("order", "video"), ("overall", "text")])
    ]
    folder = folder_of(paths, about.key)
    folder.describe(about)
    folder.finish(
        Result(
            key=about.key, attempt=0, scores=scores, seconds=1.0, started_at=BEGAN, ended_at=BEGAN + ended,
            environment={},
        )
    )  # fmt: skip
    return about


def lost(paths: StudyPaths, about: About, kind=None) -> None:
    """The folder of a trial that failed or was interrupted."""
    folder = folder_of(paths, about.key)
    folder.describe(about)
    attempt = folder.begin()
    attempt.event({"step": 0, "time": BEGAN, "loss": 3.0})
    if kind:
        attempt.fail(Failure(attempt=0, kind=kind, message="m", traceback="t", seconds=1.0, ended_at=BEGAN))


def client_of(paths: StudyPaths, uri: str):
    client = MlflowClient(tracking_uri=uri)
    return client, {
        run.data.tags["ablate.trial"]: run.info.run_id
        for run in client.search_runs([client.get_experiment_by_name(paths.name).experiment_id])
    }


def assert_same_both_ways(study: str, uri: str) -> decode.StoredStudy:
    """The content of the file, after checking that MLflow's client reads the same."""
    fast, client = sqlite.load(study, uri), tracking.load(study, uri)
    assert fast is not None
    assert fast.facts == client.facts
    pd.testing.assert_frame_equal(score_frame(fast.trials), score_frame(client.trials))
    pd.testing.assert_frame_equal(factor_frame(fast.trials), factor_frame(client.trials))
    assert sqlite.unfinished(study, uri) == tracking.unfinished(study, uri)
    return fast


def test_the_file_agrees_with_mlflow_and_the_folders(paths, uri):
    remember(paths, StudyFacts(metric="tinybench/overall", samples=5000))
    for i in range(4):
        done(paths, about_of(paths, f"k{i}", seed=i), 40 + i, ended=i)
    long = [Score(benchmark="b", category=f"{'c' * 60}{i}", modality="video", score=i / 7) for i in range(150)]
    done(paths, about_of(paths, "k4", {"sampling": "x" * 9000, "fps": 0.5, "timestamps": True}), scores=long)
    done(paths, about_of(paths, "k5", {"design": "k5"}, source="import", samples=None, config={}))
    lost(paths, about_of(paths, "k6"), "diverged")
    lost(paths, about_of(paths, "k7"))
    lost(paths, about_of(paths, "k8"), "interrupted")
    sync(paths, uri)
    stored_study = assert_same_both_ways(paths.name, uri)
    assert stored_study.facts == StudyFacts(metric="tinybench/overall", samples=5000)
    of_folders = trials_of_records(scan(paths))
    pd.testing.assert_frame_equal(score_frame(stored_study.trials), score_frame(of_folders))
    pd.testing.assert_frame_equal(factor_frame(stored_study.trials), factor_frame(of_folders))
    assert len(score_frame(of_folders)) == 5 * 3 + 150
    labels = ["k6@0.15M/s0 failed (diverged)", "k7@0.15M/s0 unfinished", "k8@0.15M/s0 unfinished (interrupted)"]
    assert unfinished_trials(paths.name) == unfinished_trials(paths.name, uri) == labels


def test_changes_in_mlflow_are_read_the_same_both_ways(paths, uri):
    """NaN, metrics that were logged again, deleted runs, several runs of a trial, runs without tags of axes."""
    for i in range(5):
        done(paths, about_of(paths, f"k{i}"), 40 + i)
    sync(paths, uri)
    mirror = Mirror.open(paths, uri)
    mirror._runs.clear()
    records = {record.about.key: record for record in scan(paths)}
    again = replace(records["k3"], result=replace(records["k3"].result, scores=[], started_at=BEGAN + 100))
    mirror.write(again)  # a second run of k3, without scores
    client, runs = client_of(paths, uri)
    client.log_metric(runs["k0"], "score/tinybench/overall", float("nan"), step=1)
    client.log_metric(runs["k1"], "score/tinybench/overall", 99.0, step=1)
    client.delete_run(runs["k2"])
    client.delete_tag(runs["k4"], encode.AXES_TAG)
    client.create_run(client.get_run(runs["k4"]).info.experiment_id)  # a run that a user created
    fast = assert_same_both_ways(paths.name, uri)
    frame = score_frame(fast.trials)
    overall = frame[(frame["category"] == "overall") & (frame["modality"] == "video")].set_index("design")["score"]
    assert overall.drop("k0").to_dict() == {"k1": 99.0, "k3": 43.0, "k4": 44.0}
    assert pd.isna(overall["k0"])
    assert factor_frame(fast.trials).loc["k4"].to_dict() == {"sampling": "k4", "resampler.tokens_per_frame": 2}


@pytest.mark.parametrize("value", [2, 0.5, 2.0, True, False, "uniform8", "007", "1e3", "nan", "-3", -3])
def test_values_of_params_are_guessed_as_they_were_written(value):
    guess = decode.axes_in({}, {"axis": str(value), "scale": "1B", "seed": "0", "whole/design.sampling": "fps"})["axis"]
    expected = -3 if value == "-3" else value  # the one ambiguous text
    assert (guess, type(guess)) == (expected, type(expected))


def test_a_table_has_the_axes_of_its_designs(paths):
    done(paths, about_of(paths, "k0", {"sampling": "fps2"}, design_key="one", design_label="fps2"))
    done(
        paths,
        about_of(paths, "k1", {"resampler.tokens_per_frame": 2}, design_key="one", design_label="fps2", seed=1),
        ended=1,
    )
    done(paths, about_of(paths, "k2", {"sampling": "fps4"}, design_key="two", design_label="fps2"))
    lost(paths, about_of(paths, "k3", {"encoders": "siglip"}))
    table = load_table(paths.name)
    assert sorted(table.frame["design"].unique()) == table.factors.index.tolist() == ["fps2~one", "fps2~two"]
    assert table.factors.loc["fps2~one"].to_dict() == {"sampling": "fps2", "resampler.tokens_per_frame": 2}
    assert table.factors.columns.tolist() == ["sampling", "resampler.tokens_per_frame"]
    assert pd.isna(table.factors.loc["fps2~two", "resampler.tokens_per_frame"])


def test_the_name_of_an_imported_design_is_no_axis(root, paths, tmp_path):
    (tmp_path / "s.csv").write_text("design,scale,score\na,1B,1\nb,1B,2\n")
    import_scores(tmp_path / "s.csv", paths.name, lower_is_better=False, replace=False)
    factors = load_table(paths.name).factors
    assert factors.index.tolist() == ["a", "b"]
    assert factors.empty


def test_a_sweep_adds_its_axes_to_trials_of_another_sweep(paths, uri):
    done(paths, about_of(paths, "k0", {"sampling": "fps2"}))
    sync(paths, uri)
    Mirror.open(paths, uri).adopt(about_of(paths, "k0", {"sampling": "other name", "encoders": "siglip"}))
    assert assert_same_both_ways(paths.name, uri).trials[0].axes == {"sampling": "fps2", "encoders": "siglip"}
    assert sync(paths, uri).unchanged == 1


def test_reading_a_sqlite_store_loads_no_mlflow(paths, uri):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    code = f"""
import sys
from ablate.study import load_table
from ablate.study.load import unfinished_trials
assert len(load_table({paths.name!r}, tracking_uri={uri!r}).frame) == 3
assert unfinished_trials({paths.name!r}, {uri!r}) == []
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_or_deleted_study_is_reported_the_same_both_ways(paths, uri):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    for read in (sqlite.load, tracking.load, sqlite.unfinished, tracking.unfinished):
        with pytest.raises(UsageError, match=f"has no study 'samplign'; there are: .*{paths.name}"):
            read("samplign", uri)
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.get_experiment_by_name(paths.name).experiment_id)
    for read in (sqlite.load, tracking.load):
        with pytest.raises(UsageError, match=f"has no study '{paths.name}'; `ablate sync {paths.name}` adds it"):
            read(paths.name, uri)


def test_a_run_without_a_tag_is_reported_with_the_fix(paths, uri):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    client, runs = client_of(paths, uri)
    client.delete_tag(runs["k0"], encode.DESIGN_TAG)
    with pytest.raises(AblateError, match=rf"run 'k0@0.15M/s0' .* lacks 'ablate.design'; .*ablate sync {paths.name}"):
        load_table(paths.name, tracking_uri=uri)
    client.delete_tag(runs["k0"], encode.MIRRORED_TAG)  # the fix that the message names
    assert sync(paths, uri).updated == 1
    assert len(load_table(paths.name, tracking_uri=uri).frame) == 3


def test_a_score_whose_metric_is_missing_is_reported_and_not_left_out(paths, uri):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    _, runs = client_of(paths, uri)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        for table in ("latest_metrics", "metrics"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ? AND key LIKE '%/order'", [runs["k0"]])
    for read in (sqlite.load, tracking.load):
        with pytest.raises(AblateError, match=r"lacks 'score/tinybench/order'; delete its tag ablate.mirrored"):
            read(paths.name, uri)


def test_facts_that_only_a_newer_ablate_knows_are_left_out(paths, uri):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    client, _ = client_of(paths, uri)
    experiment = client.get_experiment_by_name(paths.name).experiment_id
    client.set_experiment_tag(experiment, encode.FACTS_TAG, '{"metric": "b/overall", "colour": "red"}')
    assert assert_same_both_ways(paths.name, uri).facts.metric == "b/overall"
    client.set_experiment_tag(experiment, encode.FACTS_TAG, "[1")
    with pytest.raises(AblateError, match=r"tag ablate.facts .* was changed"):
        sqlite.load(paths.name, uri)


def test_the_versions_of_the_tables_include_that_of_the_mlflow_here(uri, paths):
    sync(paths, uri)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        [(version,)] = connection.execute("SELECT version_num FROM alembic_version")
    assert version in sqlite.SCHEMA_VERSIONS


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE latest_metrics RENAME TO newest_metrics",
        "ALTER TABLE runs RENAME COLUMN end_time TO ended",
        "ALTER TABLE experiments RENAME COLUMN lifecycle_stage TO stage",
        "UPDATE experiments SET workspace = 'ours'",
        "UPDATE alembic_version SET version_num = 'f00f00f00f00'",
    ],
)
def test_a_store_with_another_schema_is_left_to_mlflow(paths, uri, tmp_path, change):
    done(paths, about_of(paths, "k0"))
    sync(paths, uri)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other = tmp_path / "other.db"
    shutil.copy(uri.removeprefix("sqlite:///"), other)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute(change)
    assert sqlite.load(paths.name, f"sqlite:///{other}") is None
    assert sqlite.load(paths.name, "http://127.0.0.1:9") is None
    with pytest.raises(AblateError, match=f"MLflow at sqlite:///{other} cannot be used"):  # nor can this MLflow
        load_table(paths.name, tracking_uri=f"sqlite:///{other}")


def test_a_file_that_is_not_a_store_is_reported(paths, tmp_path):
    with pytest.raises(UsageError, match="no MLflow store at"):
        unfinished_trials(paths.name, f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "text.db").write_text("hello" * 100)
    with pytest.raises(UsageError, match="text.db is not an MLflow store"):
        load_table(paths.name, tracking_uri=f"sqlite:///{tmp_path / 'text.db'}")


@pytest.mark.slow
def test_reading_is_much_faster_than_search_runs(tmp_path, monkeypatch):
    """13 times on the machine where it was measured; `python -m benchmarks.reading` measures more."""
    from benchmarks import reading

    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "runs"))
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    reading.build_store(reading.trials(1000), uri, Path(tmp_path))
    ours, table = reading.timed(lambda: load_table(reading.STUDY, tracking_uri=uri))
    theirs, runs = reading.timed(lambda: reading.search_runs(uri))
    assert len(table.frame) == 10 * len(runs) == 10_000
    assert theirs > 2 * ours
