"""Real MLflow on sqlite files; creating one takes over a second, so tests share one where possible."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from ablate.errors import AblateError, UsageError
from ablate.paths import StudyPaths
from ablate.record import About, Failure, Record, Result, Score, StudyFacts, folder_of, scan
from ablate.study import load_scores
from ablate.study.table import scores_of_records
from ablate.tracking import Mirror, SweepSummary, client, encode, links, location, server, sync

# mlflow 3.17 configures its tables with an option that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

BEGAN = 1_790_000_000.0


def about_of(paths: StudyPaths, key: str = "k0", **changes) -> About:
    fields = {
        "key": key, "design_key": f"d-{key}", "label": f"{key}@0.15M/s0", "design_label": key,
        "study": paths.name, "sweep": "sampling", "scale": "0.15M", "seed": 0, "samples": 5000,
        "axes": {"sampling": key, "resampler.tokens_per_frame": 2},
        "config": {"design.sampling.kind": "uniform", "design.sampling.frames": 8, "scale": "0.15M", "seed": 0},
        "resolved": {"design": {"sampling": {"kind": "uniform", "frames": 8}}},
    }  # fmt: skip
    return About(**(fields | changes))


def event(step: int) -> dict[str, float]:
    return {"step": step, "time": BEGAN + step, "loss": 3.0 / (step + 1), "samples_per_s": 80.0}


def result_of(key: str, score: float = 50.0, **changes) -> Result:
    scores = [
        Score(benchmark="tinybench", category=category, modality=modality, score=score + i / 3)
        for i, (category, modality) in enumerate([("overall", "video"), ("order", "video"), ("overall", "text")])
    ]
    fields = {
        "key": key, "attempt": 0, "scores": scores, "seconds": 95.5, "started_at": BEGAN, "ended_at": BEGAN + 95.5,
        "environment": {"git_commit": "0123abcd" * 5, "torch": "2.13"}, "counts": {"steps": 300.0},
    }  # fmt: skip
    return Result(**(fields | changes))


def failure_of(attempt: int = 0, kind="error") -> Failure:
    trace = "Traceback\n" + "x" * 9000 + "\nValueError: no such frame"
    return Failure(
        attempt=attempt, kind=kind, message="no such frame", traceback=trace, seconds=5.0, ended_at=BEGAN + 5
    )


def finished(paths: StudyPaths, about: About, result: Result | None = None) -> Record:
    folder = folder_of(paths, about.key)
    folder.describe(about)
    for step in range(5):
        folder.event(event(step))
    (folder.path / "log.txt").write_text("trained\n")
    folder.finish(result or result_of(about.key))
    return read(paths, about.key)


def read(paths: StudyPaths, key: str) -> Record:
    record = folder_of(paths, key).read()
    assert record is not None
    return record


def runs_of(paths: StudyPaths, uri: str):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(paths.name)
    return client.search_runs([experiment.experiment_id])


def history(uri: str, run, metric: str) -> list[tuple[int, float]]:
    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def artifacts(uri: str, run, folder: str | None = None) -> set[str]:
    return {a.path for a in MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id, folder)}


# --- mirroring ----------------------------------------------------------------------------------


def test_a_trial_from_start_to_end(paths, uri):
    mirror, about = Mirror.open(paths, uri, StudyFacts(metric="tinybench/overall")), about_of(paths)
    mirror.start(about)
    mirror.events("k0", [event(0), event(1)])
    mirror.flush()
    [running] = runs_of(paths, uri)
    assert running.info.status == "RUNNING"
    assert history(uri, running, "train/loss") == [(0, 3.0), (1, 1.5)]

    mirror.finish(finished(paths, about))
    [run] = runs_of(paths, uri)
    assert (mirror.problem, mirror.missed) == (None, set())
    assert (run.info.status, run.info.run_name) == ("FINISHED", "k0@0.15M/s0")
    assert run.info.end_time == int((BEGAN + 95.5) * 1000)
    assert run.data.params["resampler.tokens_per_frame"] == "2"
    assert run.data.params["whole/design.sampling"] == "uniform"
    assert run.data.params["whole/design.sampling.frames"] == "8"
    assert {k: run.data.params[k] for k in ("sampling", "scale", "seed", "samples")} == {
        "sampling": "k0", "scale": "0.15M", "seed": "0", "samples": "5000",
    }  # fmt: skip
    assert run.data.metrics["score/tinybench/overall"] == 50.0
    assert run.data.metrics["score/tinybench/overall/text"] == 50.0 + 2 / 3
    assert run.data.metrics["usage/seconds"] == 95.5
    assert len(history(uri, run, "train/loss")) == 5
    assert artifacts(uri, run) == {"trial.json", "log.txt"}
    assert run.data.tags["ablate.trial"] == "k0"
    assert run.data.tags["ablate.design"] == "d-k0"
    assert run.data.tags["mlflow.source.git.commit"] == "0123abcd" * 5
    assert "mlflow.parentRunId" not in run.data.tags
    assert next(iter(run.data.metrics)) == "score/tinybench/overall"  # what the compare page shows first


def test_the_compare_page_shows_the_axes_first(paths):
    """It shows the first three differing params in sorted order."""
    params = [encode.params(about_of(paths, k, scale=s, seed=n)) for k, s, n in [("a", "1B", 0), ("b", "7B", 1)]]
    keys = sorted(set(params[0]) | set(params[1]))
    differing = [key for key in keys if params[0].get(key) != params[1].get(key)]
    assert differing[:3] == ["sampling", "scale", "seed"]


def test_the_experiment_is_marked_as_model_training_with_artifacts_beside_the_store(paths, root, uri):
    Mirror.open(paths, uri)
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(paths.name)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.artifact_location == (root / "artifacts" / paths.name).as_uri()


def test_a_failed_trial_is_run_again_in_the_same_run(paths, uri):
    mirror, about = Mirror.open(paths, uri), about_of(paths)
    folder = folder_of(paths, "k0")
    folder.describe(about)
    mirror.start(about)
    folder.event(event(0))
    folder.fail(failure_of())
    mirror.fail("k0", failure_of())
    [failed] = runs_of(paths, uri)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["ablate.traceback"].endswith("ValueError: no such frame")
    assert len(failed.data.tags["ablate.traceback"]) == 8000
    assert "traceback.txt" in artifacts(uri, failed)

    again = Mirror.open(paths, uri)  # another day
    again.start(about)
    assert runs_of(paths, uri)[0].info.status == "RUNNING"
    again.finish(finished(paths, about, result_of("k0", attempt=1)))
    [done] = runs_of(paths, uri)
    assert (again.problem, done.info.run_id, done.info.status) == (None, failed.info.run_id, "FINISHED")
    assert done.data.tags["ablate.attempt"] == "1"
    assert done.data.tags["ablate.message"] == ""


def test_an_interrupted_trial_is_killed_and_not_failed(paths, uri):
    mirror = Mirror.open(paths, uri)
    mirror.start(about_of(paths))
    mirror.fail("k0", failure_of(kind="interrupted"))
    assert runs_of(paths, uri)[0].info.status == "KILLED"


def test_other_params_for_the_same_trial_do_not_stop_it(paths, uri):
    """Another sweep may use another name for an axis value; MLflow refuses to change a param."""
    Mirror.open(paths, uri).start(about_of(paths))
    mirror = Mirror.open(paths, uri)
    mirror.start(about_of(paths, axes={"sampling": "renamed", "encoders": "new"}))
    [run] = runs_of(paths, uri)
    assert mirror.problem is None
    assert (run.data.params["sampling"], run.data.params["encoders"]) == ("k0", "new")


def test_many_params_long_values_and_odd_characters(paths, uri):
    axes = {"sampling": "x" * 7000, "a=b": 1, "a*b": 2, "../up": 3, "": 4, "schedule.0.lr": 0.005}
    config = {f"design.part{i}": i for i in range(250)}
    about = about_of(paths, label="näh \"'%&/\n" + "y" * 600, axes=axes, config=config)
    scores = [Score(benchmark="b/1", category=c, modality="video", score=1.0) for c in ("a+b", "a-b", "a*b", "x/y")]
    mirror = Mirror.open(paths, uri)
    mirror.start(about)
    mirror.finish(finished(paths, about, result_of("k0", scores=scores)))
    [run] = runs_of(paths, uri)
    assert mirror.problem is None
    assert len(run.data.params) == 250 + 6 + 3
    assert len(run.data.params["sampling"]) == 6000
    assert {run.data.params["a_b"], run.data.params["a_b-2"]} == {"1", "2"}
    assert run.data.params["schedule.0.lr"] == "0.005"
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_more_scores_than_fit_into_a_tag(paths, uri):
    scores = [Score(benchmark="b", category=f"{'c' * 60}{i}", modality="video", score=i / 7) for i in range(150)]
    Mirror.open(paths, uri).finish(finished(paths, about_of(paths), result_of("k0", scores=scores)))
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_a_failed_write_is_reported_once_and_repeated_by_sync(paths, uri, monkeypatch):
    mirror, abouts = Mirror.open(paths, uri), [about_of(paths, key) for key in ("k0", "k1")]

    def refuse(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", refuse)
        for about in abouts:
            mirror.start(about)
            mirror.events(about.key, [event(0)])
            mirror.flush()
            mirror.finish(finished(paths, about))
    assert mirror.missed == {"k0", "k1"}
    assert "disk full" in mirror.problem
    assert f"ablate sync {paths.name}" in mirror.problem
    assert sync(paths, uri).updated == 2
    assert len(runs_of(paths, uri)) == 2
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_a_sweep_has_one_run_of_its_own_among_those_of_its_trials(paths, uri, tmp_path):
    from matplotlib.figure import Figure

    (tmp_path / "shipped.png").write_bytes(b"png")
    mirror = Mirror.open(paths, uri)
    mirror.finish(finished(paths, about_of(paths)))
    summary = SweepSummary(
        sweep="sampling",
        spec="study: sampling\n",
        counts={"done": 1, "failed": 0},
        started_at=BEGAN,
        ranking=pd.DataFrame({"design": ["k0"], "score": [50.0]}),
        figures={"scaling": Figure(), "shipped": tmp_path / "shipped.png"},
    )
    mirror.sweep_summary(summary)
    Mirror.open(paths, uri).sweep_summary(replace(summary, counts={"done": 2, "failed": 0}))
    [run] = [r for r in runs_of(paths, uri) if r.data.tags["ablate.kind"] == "sweep"]
    assert mirror.problem is None
    assert (run.info.run_name, run.info.status) == ("sweep sampling", "FINISHED")
    assert not run.data.params
    assert not run.data.metrics
    assert "2 done" in run.data.tags["mlflow.note.content"]
    assert artifacts(uri, run) == {"spec.yaml", "counts.json", "ranking.csv", "figures"}
    assert artifacts(uri, run, "figures") == {"figures/scaling.png", "figures/shipped.png"}
    assert load_scores(paths.name, uri)["design"].unique().tolist() == ["k0"]


# --- folders and store --------------------------------------------------------------------------


def mixed_study(paths: StudyPaths) -> None:
    """Finished, imported, failed, interrupted, and never begun."""
    for i in range(3):
        finished(paths, about_of(paths, f"k{i}"), result_of(f"k{i}", 40 + i))
    imported = about_of(paths, "k3", source="import", samples=None, axes={"tps": 2.0}, config={}, resolved={})
    folder_of(paths, "k3").describe(imported)
    folder_of(paths, "k3").finish(result_of("k3", 60.0))
    for key in ("k4", "k5", "k6"):
        folder_of(paths, key).describe(about_of(paths, key))
    folder_of(paths, "k4").fail(failure_of())
    folder_of(paths, "k5").event(event(0))


@pytest.mark.slow
def test_sync_rebuilds_a_lost_store_and_then_changes_nothing(tmp_path):
    paths, uri = StudyPaths(name="s", root=tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    mixed_study(paths)
    done = sync(paths, uri)
    assert (done.created, done.updated, done.unchanged, done.duplicates) == (6, 0, 0, ())
    before = {r.data.tags["ablate.trial"]: (r.info.status, r.data.metrics, r.data.params) for r in runs_of(paths, uri)}
    assert {key: status for key, (status, _, _) in before.items()} == {
        "k0": "FINISHED", "k1": "FINISHED", "k2": "FINISHED", "k3": "FINISHED", "k4": "FAILED", "k5": "KILLED",
    }  # fmt: skip
    scores = load_scores("s", uri)
    pd.testing.assert_frame_equal(scores, scores_of_records(scan(paths)))
    assert scores["samples"].isna().sum() == 3

    done = sync(paths, uri)
    assert (done.created, done.updated, done.unchanged) == (0, 0, 6)

    other = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    sync(paths, other)
    after = {r.data.tags["ablate.trial"]: (r.info.status, r.data.metrics, r.data.params) for r in runs_of(paths, other)}
    assert after == before
    pd.testing.assert_frame_equal(load_scores("s", other), scores)


def test_sync_after_a_sweep_has_nothing_to_do(paths, uri):
    mirror = Mirror.open(paths, uri)
    for key in ("k0", "k1"):
        mirror.start(about_of(paths, key))
    mirror.finish(finished(paths, about_of(paths, "k0")))
    folder_of(paths, "k1").describe(about_of(paths, "k1"))
    folder_of(paths, "k1").fail(failure_of())
    mirror.fail("k1", failure_of())
    assert sync(paths, uri).unchanged == 2


def test_two_runs_of_one_trial_are_reported(paths, uri):
    mirror = Mirror.open(paths, uri)
    mirror.finish(finished(paths, about_of(paths)))
    mirror._runs.clear()
    mirror.finish(read(paths, "k0"))
    assert len(runs_of(paths, uri)) == 2
    assert Mirror.open(paths, uri).duplicates == ("k0",)
    [used] = client.finished_trials(paths.name, uri)[1]
    assert used.info.run_id == Mirror.open(paths, uri)._runs["k0"].run_id
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_a_deleted_study_is_reported_with_the_command_to_restore_it(paths, uri):
    Mirror.open(paths, uri)
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.get_experiment_by_name(paths.name).experiment_id)
    with pytest.raises(AblateError, match="mlflow experiments restore"):
        Mirror.open(paths, uri)


def test_an_unknown_study_is_reported_with_those_that_exist(paths, uri):
    Mirror.open(paths, uri)
    with pytest.raises(UsageError, match=f"no study 'samplign'; there are: .*{paths.name}"):
        load_scores("samplign", uri)


def test_no_finished_trial_is_an_empty_table(paths, uri):
    Mirror.open(paths, uri).start(about_of(paths))
    assert load_scores(paths.name, uri).empty
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records([]))


# --- pages --------------------------------------------------------------------------------------


def test_links_to_the_pages_of_a_study(paths, uri, monkeypatch):
    mirror = Mirror.open(paths, uri)
    assert links.pages(paths.name, "http://h:1", uri).compare is None
    for i in range(3):
        about = about_of(paths, f"k{i}")
        mirror.finish(finished(paths, about, result_of(about.key, ended_at=BEGAN + i)))
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(paths.name).experiment_id
    pages = links.pages(paths.name, "http://h:1", uri, metric="tinybench/overall")
    assert pages.runs.startswith(f"http://h:1/#/experiments/{experiment}/runs?")
    assert f"experiments=%5B%22{experiment}%22%5D" in pages.compare
    assert all(run.info.run_id in pages.compare for run in runs_of(paths, uri))
    assert pages.note is None
    monkeypatch.setattr(links, "MAX_COMPARED", 2)
    assert "newest 2 of 3" in links.pages(paths.name, "http://h:1", uri).note
    assert "other/overall" in links.pages(paths.name, "http://h:1", uri, metric="other/overall").note


@pytest.mark.slow
def test_a_server_serves_takes_trials_and_leaves_no_orphan(tmp_path, monkeypatch):
    paths, uri = StudyPaths(name="s", root=tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    record = finished(paths, about_of(paths))
    sync(paths, uri)
    monkeypatch.setattr("ablate.tracking.mirror.AWAY_S", 1000.0)
    with pytest.raises(KeyboardInterrupt), server.serving(uri, 5600) as address:  # noqa: PT012 - the signal ends the block
        with urllib.request.urlopen(address) as page:
            assert b"MLflow" in page.read()
        mirror = Mirror.open(replace(paths, name="remote"), address)
        mirror.start(record.about)
        mirror.finish(record)
        assert mirror.problem is None
        assert load_scores("remote", address)["score"].tolist() == load_scores("s", uri)["score"].tolist()
        os.kill(os.getpid(), signal.SIGTERM)
    assert not location.answers(address)
    assert not Path("mlartifacts").exists()
    began = time.monotonic()
    for i in range(20):
        mirror.start(about_of(paths, f"k{i}"))
    assert time.monotonic() - began < 60
    assert address in mirror.problem
    assert len(mirror.missed) == 20
