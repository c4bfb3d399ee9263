"""Time to read a large study: `python -m benchmarks.reading [RUNS]` (10,000 runs by default).

In a temporary folder, a few trials of sweeps/sampling.yaml with synthetic scores are mirrored to MLflow by its own API;
the other runs are copies of their rows with new ids and keys, by SQL (the API would take hours). The same trials are
written as folders. Then the script times our reading, `mlflow.search_runs` of the same experiment, and the whole
process of `ablate consistency`. It exits with 1 if the tables from the store and from the folders differ, or if the
process takes more than 10 s.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import pandas as pd

from ablate.paths import StudyPaths
from ablate.plan import make_plan
from ablate.record import About, Record, Result, Score, StudyFacts, folder_of, remember
from ablate.record.digests import text_with_digest
from ablate.run import about
from ablate.spec import find_spec, load_spec

STUDY = "big"
SEEDS = 5
CATEGORIES = ("overall", "order", "motion", "count", "colour")
MODALITIES = ("video", "text")
START_TIME = 1_790_000_000.0
"""Unix time of the first trial, seconds."""
MAX_PROCESS_S = 10.0
"""Limit for the process `ablate consistency`, seconds."""
CREATE_COPIES = "CREATE TEMP TABLE copies (source, run, trial, design, label, seed, points, ended)"
INSERT_COPIES = """
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
    source_version, lifecycle_stage, artifact_uri, experiment_id)
  SELECT c.run, c.label, source_type, source_name, entry_point_name, user_id, status, c.ended - 95500, c.ended,
    source_version, lifecycle_stage, artifact_uri, experiment_id
    FROM copies AS c JOIN runs AS t ON t.run_uuid = c.source;
INSERT INTO params (key, value, run_uuid)
  SELECT key, CASE key WHEN 'seed' THEN c.seed WHEN 'sampling' THEN c.label ELSE value END, c.run
    FROM copies AS c JOIN params AS t ON t.run_uuid = c.source;
INSERT INTO tags (key, value, run_uuid)
  SELECT key, CASE key WHEN 'ablate.trial' THEN c.trial WHEN 'ablate.design' THEN c.design
    WHEN 'ablate.design_label' THEN c.label WHEN 'ablate.seed' THEN c.seed
    WHEN 'ablate.axes' THEN json_object('sampling', c.label) ELSE value END, c.run
    FROM copies AS c JOIN tags AS t ON t.run_uuid = c.source;
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
  SELECT key, value + CASE WHEN key GLOB 'score/*' THEN c.points ELSE 0 END, timestamp, step, is_nan, c.run
    FROM copies AS c JOIN latest_metrics AS t ON t.run_uuid = c.source;
INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)
  SELECT key, value + CASE WHEN key GLOB 'score/*' THEN c.points ELSE 0 END, timestamp, step, is_nan, c.run
    FROM copies AS c JOIN metrics AS t ON t.run_uuid = c.source;
"""

T = TypeVar("T")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        uri = f"sqlite:///{root / 'store' / 'mlflow.db'}"
        os.environ["ABLATE_RUNS"] = str(root / "runs")
        abouts = trials(runs)
        build_store(abouts, uri, root)
        build_folders(abouts, StudyPaths(name=STUDY, root=root / "runs"))
        size = (root / "store" / "mlflow.db").stat().st_size / 2**20
        print(f"{len(abouts)} runs, {len(CATEGORIES) * len(MODALITIES)} scores each, {size:.0f} MB of sqlite\n")
        sys.exit(report(uri, len(abouts)))


def report(uri: str, runs: int) -> bool:
    """Print all times; return whether the tables differ or the process is too slow."""
    import mlflow  # noqa: F401 - importing it is not timed: a notebook has it already

    from ablate.study import load_study, load_table, report_on
    from analysis.consistency import Request

    sqlite_s, table = timed(lambda: load_table(STUDY, tracking_uri=uri))
    client_s, table_of_client = timed(lambda: table_by_client(uri))
    search_s, runs_by_search = timed(lambda: search_runs(uri))
    folders_s, table_of_folders = timed(lambda: load_table(STUDY))
    study, request = load_study(STUDY), Request(small="", large="", metric="bench/overall")
    statistics = timed(lambda: report_on(study, request))[0]
    process = timed(lambda: consistency("--tracking-uri", uri))[0]
    process_folders = timed(consistency)[0]
    assert len(runs_by_search) == runs
    print("| what | seconds | search_runs takes |")
    print("|---|---|---|")
    for name, seconds in (
        ("load_table from sqlite", sqlite_s),
        ("load_table through MlflowClient", client_s),
        ("mlflow.search_runs", search_s),
        ("load_table from trial folders", folders_s),
        ("the statistics of `ablate consistency` alone", statistics),
        ("process `ablate consistency --tracking-uri sqlite:///...`", process),
        ("process `ablate consistency`, from trial folders", process_folders),
    ):
        print(f"| {name} | {seconds:.2f} | {search_s / seconds:.1f} x |")
    same = table.frame.equals(table_of_client) and table.frame.equals(table_of_folders.frame)
    print(f"\nsame {len(table.frame)} scores by each way of reading: {same}")
    return not same or process > MAX_PROCESS_S


def timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def search_runs(uri: str) -> pd.DataFrame:
    """All runs, as a notebook would read them."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    return mlflow.search_runs(experiment_names=[STUDY], max_results=100_000)


def table_by_client(uri: str) -> pd.DataFrame:
    from ablate.study import load_scores
    from analysis.tables import ScoreTable

    return ScoreTable(load_scores(STUDY, uri)).frame


def consistency(*options: str) -> None:
    """Run the command as a process, from the start of Python to its exit."""
    command = [sys.executable, "-m", "ablate.cli", "consistency", "--study", STUDY, "--metric", "bench/overall"]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)


# --- a study -----------------------------------------------------------------------------------


def trials(runs: int) -> list[About]:
    """Descriptions of trials, as of a sweep over designs x two scales x `SEEDS` seeds."""
    plan = make_plan(load_spec(find_spec("sampling"), seeds=[0]))
    templates = {one.trial.config.scale: replace(about(plan, one.trial), study=STUDY) for one in plan.planned}
    return [numbered(list(templates.values())[number % 2], number) for number in range(runs)]


def numbered(template: About, number: int) -> About:
    design, seed = f"d{number // (2 * SEEDS)}", number // 2 % SEEDS
    return replace(
        template,
        key=f"{number:016x}",
        design_key=f"{design:0>16}",
        label=f"{design}@{template.scale}/s{seed}",
        design_label=design,
        seed=seed,
        axes={"sampling": design},
    )


def result_of(trial: About) -> Result:
    scores = [
        Score(benchmark="bench", category=category, modality=modality, score=40.0 + number / 3 + points(trial))
        for number, (category, modality) in enumerate(product(CATEGORIES, MODALITIES))
    ]
    return Result(
        key=trial.key,
        attempt=0,
        scores=scores,
        seconds=95.5,
        started_at=START_TIME,
        ended_at=START_TIME + int(trial.key, 16),
        environment={"git_commit": "0123abcd" * 5, "torch": "2.13"},
        counts={"steps": 300.0},
    )


def points(trial: About) -> float:
    """Synthetic score: designs differ, seeds differ less, and scales agree only in part."""
    design = int(trial.design_label[1:])
    return design * 37 % 101 / 8 + trial.seed / 17 + len(trial.scale) * design * 53 % 97 / 16.1


def build_folders(abouts: list[About], paths: StudyPaths) -> None:
    """Write the folders as `TrialFolder` does, but without waiting for the disk."""
    remember(paths, StudyFacts(metric="bench/overall"))
    for trial in abouts:
        folder = paths.trials / trial.key
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(json.dumps(asdict(trial), indent=1), encoding="utf-8")
        (folder / "result.json").write_text(text_with_digest(asdict(result_of(trial))), encoding="utf-8")


def build_store(abouts: list[About], uri: str, root: Path) -> None:
    """Mirror the first trial of each scale, then copy its rows for the other trials."""
    from ablate.tracking import Mirror

    paths = StudyPaths(name=STUDY, root=root / "few")
    mirror = Mirror.open(paths, uri, StudyFacts(metric="bench/overall"))
    for trial in abouts[:2]:
        folder = folder_of(paths, trial.key)
        folder.describe(trial)
        attempt = folder.begin()
        for step in range(10):
            attempt.event({"step": step, "time": START_TIME + step, "loss": 3.0 / (step + 1), "samples_per_s": 80.0})
        mirror.write(Record(about=trial, result=result_of(trial), failures=(), path=folder.path))
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        rows = connection.execute("SELECT value, run_uuid FROM tags WHERE key = 'ablate.trial'")
        sources = dict(rows.fetchall())
        connection.execute(CREATE_COPIES)
        connection.executemany(
            "INSERT INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [copy_of(trial, abouts[number % 2], sources) for number, trial in enumerate(abouts) if number > 1],
        )
        for statement in INSERT_COPIES.split(";"):
            connection.execute(statement)


def copy_of(trial: About, source: About, sources: dict[str, str]) -> tuple[object, ...]:
    difference = points(trial) - points(source)
    ended = int(result_of(trial).ended_at * 1000)
    run = f"{int(trial.key, 16):032x}"
    key, design, label = trial.key, trial.design_key, trial.design_label
    return (sources[source.key], run, key, design, label, str(trial.seed), difference, ended)


if __name__ == "__main__":
    main()
