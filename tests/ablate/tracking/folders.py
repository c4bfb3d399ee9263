"""Trial folders for the tests of the mirror, written as a sweep writes them."""

from __future__ import annotations

from dataclasses import replace

from mlflow import MlflowClient

from ablate.paths import StudyPaths
from ablate.record import About, AttemptFolder, Failure, Record, Result, Score, folder_of

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


def failure_of(attempt: int = 0, kind="code", **changes) -> Failure:
    trace = "Traceback\n" + "x" * 9000 + "\nValueError: no such frame"
    return Failure(
        attempt=attempt, kind=kind, message="no such frame", traceback=trace, seconds=5.0, ended_at=BEGAN + 5, **changes
    )


def begun(paths: StudyPaths, about: About, steps: int = 0) -> AttemptFolder:
    """A new attempt, with the first points of its curve."""
    folder = folder_of(paths, about.key)
    folder.describe(about)
    attempt = folder.begin()
    for step in range(steps):
        attempt.event(event(step))
    return attempt


def failed(paths: StudyPaths, about: About, **changes) -> Record:
    attempt = begun(paths, about, steps=1)
    attempt.fail(failure_of(attempt.number, **changes))
    return read(paths, about.key)


def finished(paths: StudyPaths, about: About, result: Result | None = None) -> Record:
    folder, attempts = folder_of(paths, about.key), folder_of(paths, about.key).attempts()
    attempt = attempts[-1] if attempts and attempts[-1].failure() is None else begun(paths, about)
    for step in range(len(attempt.events()), 5):
        attempt.event(event(step))
    attempt.log.write_text("trained\n")
    folder.finish(replace(result or result_of(about.key), attempt=attempt.number))
    return read(paths, about.key)


def read(paths: StudyPaths, key: str) -> Record:
    record = folder_of(paths, key).read()
    assert record is not None
    return record


def runs_of(paths: StudyPaths, uri: str):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(paths.name)
    return client.search_runs([experiment.experiment_id])


def client_of(paths: StudyPaths, uri: str) -> tuple[MlflowClient, dict[str, str]]:
    """The client, and trial -> id of its run."""
    return MlflowClient(tracking_uri=uri), {r.data.tags["ablate.trial"]: r.info.run_id for r in runs_of(paths, uri)}


def history(uri: str, run, metric: str) -> list[tuple[int, float]]:
    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def artifacts(uri: str, run, folder: str | None = None) -> set[str]:
    return {a.path for a in MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id, folder)}
