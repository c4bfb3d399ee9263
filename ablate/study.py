"""What is known of a study as a whole: its scores as a table, its direction, its metric; and scores from elsewhere.

Analysis reads the trial folders, or MLflow where the folders are on another machine, or the published tables.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.errors import UsageError
from ablate.identity import digest
from ablate.paths import StudyPaths, runs_root, study_paths
from ablate.record import About, RecordError, Result, Score, TrialFolder, folder_of, scan, studies, write_json

if TYPE_CHECKING:
    import pandas as pd

    from analysis.consistency import Consistency
    from analysis.table import ScoreTable

PUBLISHED = "apollo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """study.json: what holds for all trials of a study."""

    lower_is_better: bool = False
    metric: str | None = None
    """`benchmark/category` to rank by, as the latest sweep said."""
    samples: int | None = None
    """Training budget of the latest sweep: trials of another one are not compared with it."""


def facts(paths: StudyPaths) -> StudyFacts:
    """What study.json says; defaults where there is none."""
    try:
        return StudyFacts(**json.loads(paths.about.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return StudyFacts()
    except (ValueError, TypeError) as error:
        raise UsageError(f"{paths.about} is damaged ({error}); move it away to go on") from None


def remember(paths: StudyPaths, new: StudyFacts) -> None:
    """Write study.json where it says something else."""
    if facts(paths) != new:
        write_json(paths.about, dataclasses.asdict(new))


def load_table(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> ScoreTable:
    """The scores of a study, of one training budget where it has several.

    Args:
        study: its name; `apollo` is built in.
        tracking_uri: read from this MLflow server instead of the folders.
        samples: the budget that is meant; the latest sweep's where left out.

    Raises:
        UsageError: there is no such study, or it has no scores yet.
    """
    from analysis.table import ScoreTable, TableError, published

    if study == PUBLISHED:
        return published(PUBLISHED)
    paths = study_paths(study)
    frame = (
        _from_folders(paths) if tracking_uri is None and paths.trials.is_dir() else _from_mlflow(study, tracking_uri)
    )
    if frame.empty:
        raise UsageError(f"study {study!r} has no finished trial yet; run its sweep first")
    known = facts(paths)
    try:
        table = ScoreTable(frame, lower_is_better=known.lower_is_better)
        budget = samples or (known.samples if table.frame["samples"].nunique() > 1 else None)
        return table.only(samples=budget) if budget else table
    except TableError as error:
        raise UsageError(f"study {study!r}: {error}") from None


def _from_folders(paths: StudyPaths) -> pd.DataFrame:
    from ablate.scores import scores_of_records

    return scores_of_records(scan(paths))


def _from_mlflow(study: str, tracking_uri: str | None) -> pd.DataFrame:
    """Scores from a server, or from this machine's store; importing MLflow takes seconds, so only if there is one."""
    import os

    if tracking_uri is None and "MLFLOW_TRACKING_URI" not in os.environ and not (runs_root() / "mlflow.db").is_file():
        raise UsageError(no_such_study(study))
    from ablate.tracking import load_scores

    return load_scores(study, tracking_uri)


def no_such_study(study: str) -> str:
    """The message for a study that does not exist, with those that do."""
    known = ", ".join([*studies(runs_root()), f"{PUBLISHED} (built in)"])
    return f"no study {study!r} in {runs_root()}; there are: {known}"


def study_with_scales(small: str | None, large: str | None) -> str:
    """The study that is meant when none is named: one's own with both scales, else the published one.

    Raises:
        UsageError: several of one's own have them.
    """
    own = []
    for name in studies(runs_root()):
        try:
            scales = {record.about.scale for record in scan(study_paths(name)) if record.result}
        except RecordError:
            continue  # a damaged study is told where it is named
        if {small, large} - {None} <= scales and len(scales) > 1:
            own.append(name)
    if len(own) > 1:
        raise UsageError(f"several studies have these scales: {', '.join(own)}; name one with --study")
    return own[0] if own else PUBLISHED


def compare_scales(
    scores: ScoreTable, small: str | None, large: str | None, *, metric: str | None, modality: str
) -> Consistency:
    """Consistency between two scales of a study; its smallest and largest where left out.

    Raises:
        UsageError: no such scale or metric, or too few designs in common.
    """
    from analysis.consistency import compare
    from analysis.table import TableError

    try:
        study, scales = scores.study, scores.scales
        if len(scales) < 2 and (small is None or large is None):
            raise UsageError(f"study {study!r} has scores at {scales[0]} alone; run it at another scale first")
        return compare(scores, small or scales[0], large or scales[-1], metric or own_metric(study), modality)
    except TableError as error:
        raise UsageError(str(error)) from None


def own_metric(study: str) -> str | None:
    """The metric that the study's latest sweep ranked by."""
    return None if study == PUBLISHED else facts(study_paths(study)).metric


def rankings(scores: ScoreTable, metric: str | None = None) -> list[pd.DataFrame]:
    """Designs ranked at each scale, small scales first.

    Raises:
        UsageError: no such metric.
    """
    from analysis.ranking import ranking
    from analysis.table import TableError

    try:
        chosen = metric or own_metric(scores.study)
        return [ranking(scores, scale, chosen) for scale in scores.select(chosen).scales]
    except TableError as error:
        raise UsageError(str(error)) from None


def overview() -> list[dict[str, Any]]:
    """The studies below runs/: designs, scales, trials done and failed."""
    from analysis.table import scale_order

    rows = []
    for name in studies(runs_root()):
        records = list(scan(study_paths(name)))
        rows.append(
            {
                "study": name,
                "designs": len({r.about.design_key for r in records}),
                "scales": sorted({r.about.scale for r in records}, key=scale_order),
                "done": sum(r.status == "done" for r in records),
                "failed": sum(r.status == "failed" for r in records),
            }
        )
    return rows


# --- scores of other people's training stacks -------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Imported:
    """What `ablate import` did."""

    trials: int
    unchanged: int
    skipped: int
    """Rows without a score."""


REQUIRED = ("design", "scale", "score")
OPTIONAL = {"seed": 0, "benchmark": None, "category": "overall", "modality": "video", "samples": None}


def import_scores(file: Path, study: str, *, lower_is_better: bool, replace: bool) -> Imported:
    """Take tidy columns design, scale, score (and seed, benchmark, category, modality, samples) into a study.

    All rows are checked before anything is written.

    Raises:
        UsageError: the file, a row, or a clash with what the study holds; says which and the mend.
    """
    if study == PUBLISHED:
        raise UsageError(f"'{PUBLISHED}' is the built-in study of published tables; choose another name")
    paths = study_paths(study)
    rows, skipped = _read_rows(file, study)
    _check_as_table(rows, study)
    before = facts(paths)
    if paths.trials.is_dir() and before.lower_is_better != lower_is_better and any(scan(paths)):
        kept = "lower" if before.lower_is_better else "higher"
        raise UsageError(f"in study {study!r} {kept} is better; import with the same direction, or to another study")
    trials: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        trials.setdefault((row["design"], row["scale"], row["seed"]), []).append(row)
    pending = [_imported(paths, *place, found) for place, found in trials.items()]
    merged = [(folder, about, *_merged(folder, result)) for folder, about, result in pending]
    clash = [about.label for _, about, _, clashes in merged if clashes]
    if clash and not replace:
        raise UsageError(
            f"{len(clash)} trials of study {study!r} have other scores already, first {clash[0]}; "
            "--replace takes the new ones"
        )
    fresh = 0
    for folder, about, result, _ in merged:
        known = folder.read()
        if known is None or known.about != about or known.result is None or known.result.scores != result.scores:
            fresh += 1
            folder.describe(about)
            folder.finish(result)
    remember(paths, dataclasses.replace(before, lower_is_better=lower_is_better))
    return Imported(len(trials), len(trials) - fresh, skipped)


def _merged(folder: TrialFolder, result: Result) -> tuple[Result, bool]:
    """New scores together with those of other benchmarks that the trial has; and whether any of them differs."""
    known = folder.result()
    before = {(s.benchmark, s.category, s.modality): s for s in (known.scores if known else [])}
    new = {(s.benchmark, s.category, s.modality): s for s in result.scores}
    clashes = any(place in before and before[place] != score for place, score in new.items())
    return dataclasses.replace(result, scores=list((before | new).values())), clashes


def _check_as_table(rows: list[dict[str, Any]], study: str) -> None:
    """What could not be read back is not written."""
    import pandas as pd

    from analysis.table import ScoreTable, TableError

    try:
        ScoreTable(pd.DataFrame([row | {"study": study} for row in rows]).astype({"samples": "Int64"}))
    except TableError as error:
        raise UsageError(str(error)) from None


def _read_rows(file: Path, study: str) -> tuple[list[dict[str, Any]], int]:
    import pandas as pd

    try:
        frame = pd.read_csv(file, dtype=str, skipinitialspace=True)
    except FileNotFoundError:
        raise UsageError(f"no file {file}") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} is not a CSV table: {error}") from None
    missing = [column for column in REQUIRED if column not in frame]
    if missing:
        raise UsageError(
            f"{file}: column {missing[0]!r} is missing; it has {', '.join(map(str, frame.columns))}; needed: "
            f"{', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}"
        )
    unknown = [str(column) for column in frame if column not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise UsageError(f"{file}: unknown column {unknown[0]!r}; allowed: {', '.join((*REQUIRED, *OPTIONAL))}")
    rows, seen = [], dict[tuple[Any, ...], int]()
    for number, raw in enumerate(frame.to_dict("records"), 2):  # line 1 is the header
        if pd.isna(raw["score"]):
            continue
        row = _row(f"{file}:{number}", {str(k): v for k, v in raw.items() if not pd.isna(v)}, study)
        place = tuple(v for k, v in row.items() if k not in ("score", "samples"))
        if place in seen:
            raise UsageError(
                f"{file}:{number}: the same trial and benchmark as line {seen[place]}; a replicate needs its own seed"
            )
        seen[place] = number
        rows.append(row)
    if not rows:
        raise UsageError(f"{file} holds no score")
    return rows, len(frame) - len(rows)


def _row(where: str, raw: dict[str, str], study: str) -> dict[str, Any]:
    for column in REQUIRED:
        if not raw.get(column, "").strip():
            raise UsageError(f"{where}: {column} is empty")
    row: dict[str, Any] = OPTIONAL | {"benchmark": study} | {k: v.strip() for k, v in raw.items()}
    try:
        row["score"] = float(row["score"])
    except ValueError:
        raise UsageError(f"{where}: score {row['score']!r} is not a number") from None
    if not math.isfinite(row["score"]):
        raise UsageError(f"{where}: score {row['score']} is not finite; leave it empty if there is none")
    for column in ("seed", "samples"):
        try:
            if row[column] is not None:
                number = float(row[column])
                row[column] = int(number)
                if number != row[column] or number < 0:
                    raise ValueError(column)
        except (ValueError, OverflowError):
            raise UsageError(f"{where}: {column} {row[column]!r} is not a whole number from 0") from None
    return row


def _imported(
    paths: StudyPaths, design: str, scale: str, seed: int, rows: list[dict[str, Any]]
) -> tuple[TrialFolder, About, Result]:
    key = digest({"imported": paths.name, "design": design, "scale": scale, "seed": seed})
    about = About(
        key=key,
        design_key=digest({"imported": paths.name, "design": design}),
        label=f"{design}@{scale}/s{seed}",
        design_label=design,
        study=paths.name,
        sweep="import",
        scale=scale,
        seed=seed,
        samples=rows[0]["samples"],
        axes={"design": design},
        config={},
        resolved={},
        source="import",
    )
    scores = [Score(**{name: row[name] for name in ("benchmark", "category", "modality", "score")}) for row in rows]
    result = Result(key=key, attempt=0, scores=scores, seconds=0.0, started_at=0.0, ended_at=0.0, environment={})
    return folder_of(paths, key), about, result
