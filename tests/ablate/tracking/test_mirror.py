"""Real MLflow on sqlite files; creating one takes over a second, so tests share one where possible."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from ablate.errors import AblateError, UsageError
from ablate.paths import StudyPaths
from ablate.record import Score, StudyFacts, folder_of, scan
from ablate.study import load_scores
from ablate.study.table import scores_of_records
from ablate.tracking import Mirror, SweepSummary, client, encode, links, location, server, sync
from tests.ablate.tracking.folders import (
    BEGAN,
    about_of,
    artifacts,
    begun,
    client_of,
    event,
    failed,
    failure_of,
    finished,
    history,
    read,
    result_of,
    runs_of,
)

# mlflow 3.17 configures its tables with an option that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

# --- mirroring ----------------------------------------------------------------------------------


def test_a_trial_from_start_to_end(paths, uri):
    mirror, about = Mirror.open(paths, uri, StudyFacts(metric="tinybench/overall")), about_of(paths)
    begun(paths, about, steps=2)
    mirror.show_running("k0")
    [running] = runs_of(paths, uri)
    assert running.info.status == "RUNNING"
    assert history(uri, running, "train/loss") == [(0, 3.0), (1, 1.5)]

    mirror.write(finished(paths, about))
    [run] = runs_of(paths, uri)
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
    attempt = begun(paths, about, steps=1)
    mirror.show_running("k0")
    attempt.stderr().write_text("x" * 100_000 + "\nCUDA error\n")
    attempt.fail(failure_of(kind="oom", node="node7"))
    mirror.write(read(paths, "k0"))
    [failed_run] = runs_of(paths, uri)
    assert failed_run.info.status == "FAILED"
    tags = failed_run.data.tags
    assert (tags["ablate.failure"], tags["ablate.node"], tags["ablate.failures"]) == ("oom", "node7", "oom")
    assert tags["ablate.traceback"].endswith("ValueError: no such frame")
    assert len(tags["ablate.traceback"]) == 8000
    assert {"traceback.txt", "stderr.txt"} <= artifacts(uri, failed_run)
    stderr = Path(MlflowClient(tracking_uri=uri).download_artifacts(failed_run.info.run_id, "stderr.txt")).read_text()
    assert stderr.endswith("CUDA error\n")
    assert len(stderr) == encode.STDERR_BYTES

    again = Mirror.open(paths, uri)  # another day
    begun(paths, about, steps=3).configured({"job": {"gpus": 4.0, "nodes": 2}, "command": []})
    again.show_running("k0")
    [running] = runs_of(paths, uri)
    assert (running.info.status, running.data.tags["ablate.attempt"]) == ("RUNNING", "1")
    assert (running.data.tags["ablate.gpus"], running.data.tags["ablate.nodes"]) == ("8", "2")
    again.write(finished(paths, about, result_of("k0", environment={"host": "node8"})))
    [done] = runs_of(paths, uri)
    tags = done.data.tags
    assert (done.info.run_id, done.info.status) == (failed_run.info.run_id, "FINISHED")
    assert (tags["ablate.attempt"], tags["ablate.node"], tags["ablate.failures"]) == ("1", "node8", "oom")
    assert (tags["ablate.message"], tags["ablate.failure"], tags["ablate.gpus"]) == ("", "", "8")
    assert {step for step, _ in history(uri, done, "train/loss")} == {0, 1, 2, 3, 4}


def test_an_attempt_that_starts_over_writes_its_whole_curve(paths, uri):
    """It has other losses at the same steps; its time is later."""
    mirror, about = Mirror.open(paths, uri), about_of(paths)
    attempt = begun(paths, about, steps=4)
    mirror.show_running("k0")
    attempt.fail(failure_of(kind="killed"))
    mirror.write(read(paths, "k0"))
    second = begun(paths, about)
    mirror.show_running("k0")
    for step in range(2):
        second.event(event(step) | {"time": BEGAN + 100 + step, "loss": 9.0})
        mirror.show_running("k0")
    [run] = runs_of(paths, uri)
    assert sorted(history(uri, run, "train/loss")) == [(0, 3.0), (0, 9.0), (1, 1.5), (1, 9.0), (2, 1.0), (3, 0.75)]


def test_an_interrupted_trial_is_killed_and_not_failed(paths, uri):
    mirror = Mirror.open(paths, uri)
    mirror.write(failed(paths, about_of(paths), kind="interrupted"))
    assert runs_of(paths, uri)[0].info.status == "KILLED"


def test_a_curve_may_contain_any_number_and_no_other_value(paths, uri):
    """A program of a user writes it; MLflow would show infinity as 1.8e308."""
    mirror, about = Mirror.open(paths, uri), about_of(paths)
    attempt = begun(paths, about)
    lines = [
        '{"step": 1, "time": 5, "loss": 2, "grad norm/layer(0)": 0.5, "phase": "warmup", "ok": true, "none": null}',
        '{"step": 2, "time": 6, "loss": NaN, "lr": Infinity}',
        '{"step": NaN, "loss": 1.5}',
        "[1, 2]",
        "garbage",
        '{"step": 3, "loss": 1.0}',
        '{"step": 4, "lo',
    ]
    (attempt.path / "events.jsonl").write_text("\n".join(lines))
    mirror.show_running("k0")
    [run] = runs_of(paths, uri)
    assert sorted(history(uri, run, "train/loss")) == [(0, 1.5), (1, 2.0), (3, 1.0)]
    assert {k for k in run.data.metrics if k.startswith("train/")} == {"train/loss", "train/grad norm_layer_0_"}
    with (attempt.path / "events.jsonl").open("a") as file:
        file.write('ss": 0.5}\n')
    mirror.show_running("k0")
    assert (4, 0.5) in history(uri, run, "train/loss")


def test_an_attempt_that_resumes_continues_the_curve_without_double_points(paths, uri):
    mirror, about = Mirror.open(paths, uri), about_of(paths)
    first = begun(paths, about, steps=3)
    mirror.show_running("k0")
    second = begun(paths, about, steps=0)
    for point in first.events():
        second.event(point)
    second.event(event(3) | {"time": BEGAN + 90})
    mirror.show_running("k0")
    [run] = runs_of(paths, uri)
    steps = [step for step, _ in history(uri, run, "train/loss")]
    assert steps == [0, 1, 2, 3]


def test_other_params_for_the_same_trial_do_not_stop_it(paths, uri):
    """Another sweep may use another name for an axis value; MLflow refuses to change a param."""
    begun(paths, about_of(paths))
    Mirror.open(paths, uri).show_running("k0")
    folder_of(paths, "k0").describe(about_of(paths, axes={"sampling": "renamed", "encoders": "new"}))
    Mirror.open(paths, uri).show_running("k0")
    [run] = runs_of(paths, uri)
    assert (run.data.params["sampling"], run.data.params["encoders"]) == ("k0", "new")


def test_many_params_long_values_and_odd_characters(paths, uri):
    axes = {"sampling": "x" * 7000, "a=b": 1, "a*b": 2, "../up": 3, "": 4, "schedule.0.lr": 0.005}
    config = {f"design.part{i}": i for i in range(250)}
    about = about_of(paths, label="näh \"'%&/\n" + "y" * 600, axes=axes, config=config)
    scores = [Score(benchmark="b/1", category=c, modality="video", score=1.0) for c in ("a+b", "a-b", "a*b", "x/y")]
    mirror = Mirror.open(paths, uri)
    begun(paths, about)
    mirror.show_running("k0")
    mirror.write(finished(paths, about, result_of("k0", scores=scores)))
    [run] = runs_of(paths, uri)
    assert len(run.data.params) == 250 + 6 + 3
    assert len(run.data.params["sampling"]) == 6000
    assert {run.data.params["a_b"], run.data.params["a_b-2"]} == {"1", "2"}
    assert run.data.params["schedule.0.lr"] == "0.005"
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_more_scores_than_fit_into_a_tag(paths, uri):
    scores = [Score(benchmark="b", category=f"{'c' * 60}{i}", modality="video", score=i / 7) for i in range(150)]
    Mirror.open(paths, uri).write(finished(paths, about_of(paths), result_of("k0", scores=scores)))
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records(scan(paths)))


def test_a_sweep_has_one_run_of_its_own_among_those_of_its_trials(paths, uri, tmp_path):
    from matplotlib.figure import Figure

    (tmp_path / "shipped.png").write_bytes(b"png")
    mirror = Mirror.open(paths, uri)
    mirror.write(finished(paths, about_of(paths)))
    summary = SweepSummary(
        sweep="sampling",
        spec="study: sampling\n",
        counts={"done": 1, "failed": 0},
        started_at=BEGAN,
        ranking=pd.DataFrame({"design": ["k0"], "score": [50.0]}),
        figures={"scaling": Figure(), "shipped": tmp_path / "shipped.png"},
    )
    mirror.write_summary(summary)
    Mirror.open(paths, uri).write_summary(replace(summary, counts={"done": 2, "failed": 0}))
    [run] = [r for r in runs_of(paths, uri) if r.data.tags["ablate.kind"] == "sweep"]
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
    failed(paths, about_of(paths, "k4"))
    begun(paths, about_of(paths, "k5"), steps=1)
    folder_of(paths, "k6").describe(about_of(paths, "k6"))


@pytest.mark.slow
def test_sync_rebuilds_a_lost_store_and_then_changes_nothing(tmp_path):
    paths, uri = StudyPaths(name="s", root=tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    mixed_study(paths)
    done = sync(paths, uri)
    assert (done.created, done.updated, done.unchanged, done.duplicates, done.problems) == (6, 0, 0, (), ())
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
        begun(paths, about_of(paths, key))
        mirror.show_running(key)
    mirror.write(finished(paths, about_of(paths, "k0")))
    folder_of(paths, "k1").attempts()[-1].fail(failure_of())
    mirror.write(read(paths, "k1"))
    assert sync(paths, uri).unchanged == 2


def test_sync_writes_all_but_the_damaged_trial_and_the_refused_one(paths, uri):
    for key in ("k0", "k1", "k2", "k3"):
        finished(paths, about_of(paths, key))
    sync(paths, uri)
    (folder_of(paths, "k0").path / "result.json").write_text("{")
    client, runs = client_of(paths, uri)
    store = client._tracking_client.store
    store._hard_delete_run(runs["k1"])
    for key in ("k1", "k2", "k3"):
        client.set_tag(runs[key], encode.MIRRORED_TAG, "") if key != "k1" else None
    done = sync(paths, uri)
    assert (done.created, done.updated) == (1, 2)
    [problem] = done.problems
    assert re.match("k0: .*result.json is not valid JSON", problem)


def test_a_deleted_run_stays_deleted_until_it_is_restored(paths, uri):
    for key in ("k0", "k1"):
        finished(paths, about_of(paths, key))
    sync(paths, uri)
    client, runs = client_of(paths, uri)
    client.delete_run(runs["k0"])
    done = sync(paths, uri)
    assert (done.created, done.updated, done.unchanged, done.problems) == (0, 0, 1, ())
    [note] = done.deleted
    assert f"mlflow runs restore --run-id {runs['k0']}" in note
    assert [run.data.tags["ablate.trial"] for run in runs_of(paths, uri)] == ["k1"]
    client.restore_run(runs["k0"])
    assert sync(paths, uri).unchanged == 2


def test_two_runs_of_one_trial_are_reported(paths, uri):
    mirror = Mirror.open(paths, uri)
    mirror.write(finished(paths, about_of(paths)))
    mirror._runs.clear()
    mirror.write(read(paths, "k0"))
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
    begun(paths, about_of(paths))
    Mirror.open(paths, uri).show_running("k0")
    assert load_scores(paths.name, uri).empty
    pd.testing.assert_frame_equal(load_scores(paths.name, uri), scores_of_records([]))


# --- pages --------------------------------------------------------------------------------------


def test_links_to_the_pages_of_a_study(paths, uri, monkeypatch):
    mirror = Mirror.open(paths, uri)
    assert links.pages(paths.name, "http://h:1", uri).compare is None
    for i in range(3):
        about = about_of(paths, f"k{i}")
        mirror.write(finished(paths, about, result_of(about.key, ended_at=BEGAN + i)))
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
def test_a_server_serves_takes_trials_and_leaves_no_orphan(tmp_path):
    paths, uri = StudyPaths(name="s", root=tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    record = finished(paths, about_of(paths))
    sync(paths, uri)
    with pytest.raises(KeyboardInterrupt), server.serving(uri, 5600) as address:  # noqa: PT012 - the signal ends the block
        with urllib.request.urlopen(address) as page:
            assert b"MLflow" in page.read()
        Mirror.open(replace(paths, name="remote"), address).write(record)
        assert load_scores("remote", address)["score"].tolist() == load_scores("s", uri)["score"].tolist()
        os.kill(os.getpid(), signal.SIGTERM)
    assert not location.answers(address)
    assert not Path("mlartifacts").exists()
