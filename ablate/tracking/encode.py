"""The representation of a trial in MLflow: params, tags and metrics, within its limits. Plain data; no mlflow here.

The names are chosen for MLflow's pages. Its compare page shows the first three differing params in sorted order, and
the metric that was logged first: so axes keep their names, and the rest of the config sorts after them, under
`whole/`. Its runs page shows charts in the order `score/`, `train/`, `usage/`. Names are never parsed: `SCORES_TAG`
assigns metrics to scores.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd

from ablate.record import (
    DATA_DIGEST,
    DATA_SKIPPED,
    About,
    AttemptFolder,
    Failure,
    Record,
    Result,
    Score,
    TrialFolder,
    Value,
)
from ablate.spec import digest

if TYPE_CHECKING:
    from analysis.figures import Figure

T = TypeVar("T")
Parts = tuple[str, ...]
"""Parts of a name, joined by slashes; MLflow's pages show them as sections."""

TEXTS_PER_CALL = 50
"""Maximum number of params, and of tags, in one call: MLflow accepts 100 of each, but 1 MB in total."""
METRICS_PER_CALL = 800
"""MLflow accepts 1000 params, tags and metrics in total."""
PARAM_CHARS = 6000
TAG_CHARS = 8000
KEY_CHARS = 250
NAME_CHARS = 500

KIND_TAG = "ablate.kind"
"""`trial` or `sweep`."""
TRIAL_TAG = "ablate.trial"
DESIGN_TAG = "ablate.design"
LABEL_TAG = "ablate.design_label"
SWEEP_TAG = "ablate.sweep"
SOURCE_TAG = "ablate.source"
AXES_TAG = "ablate.axes"
"""JSON object: axis -> value, by the sweep's names. Needed since params are texts and include other fields than axes.
Long values continue in `ablate.axes.1`, ..."""
FACTS_TAG = "ablate.facts"
"""Tag of an experiment: JSON object of `record.StudyFacts`."""
MIRRORED_TAG = "ablate.mirrored"
"""Digest of the mirrored record; written last, so that an interrupted mirroring is repeated."""
SCORES_TAG = "ablate.scores"
"""JSON list of [metric key, benchmark, category, modality]; long values continue in `ablate.scores.1`, ..."""
CONFIG = "whole"
"""Prefix of the params of the whole config; sorts after every field of the design space, `scale` and `seed`."""
COPIED = ("trial.json", "predictions.parquet", "log.txt")
"""Files of a trial's folder that become artifacts."""
FAILURE_TAG = "ablate.failure"
"""Class of the latest failure: `record.FailureClass`."""
FAILURE_TAGS = (FAILURE_TAG, "ablate.message", "ablate.traceback")
FAILURES_TAG = "ablate.failures"
"""Classes of all failed attempts, oldest first: `killed, oom`."""
ATTEMPT_TAG = "ablate.attempt"
"""Number of the attempt that the run shows, from 0."""
GPUS_TAG = "ablate.gpus"
"""Number of GPUs of this attempt, on all its nodes."""
NODES_TAG = "ablate.nodes"
"""Number of nodes of this attempt."""
NODE_TAG = "ablate.node"
"""Host name of the machine that this attempt ran on."""
STDERR_BYTES = 64_000
"""Bytes of a failed attempt's standard error that become an artifact: its end."""
DATA_PARAMS = (f"{CONFIG}/{DATA_DIGEST}", f"{CONFIG}/{DATA_SKIPPED}")
"""Params that identify the records of a trial: `record.TrialScores.data`."""
COMMON_PARAMS = ("scale", "seed", "samples")
"""Params that every trial has; all other names without the prefix `whole/` are axes."""

_NOT_ALLOWED = re.compile(r"[^\w.\- ]", re.ASCII)
_EVENT_POSITION = ("step", "time")
_FIRST_TRACES = ("log.txt", "events.jsonl")
"""Files of attempts that records of version 1 have in the trial's folder."""


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """The summary of a sweep, written when its trials have ended."""

    sweep: str
    spec: str
    """Text of the YAML file."""
    counts: Mapping[str, int]
    """State -> number of trials."""
    started_at: float
    """Unix time in seconds; places the summary after the sweep's trials in lists that show the newest first."""
    ranking: pd.DataFrame | None = None
    figures: Mapping[str, Figure | Path] = field(default_factory=dict)
    """File name without suffix -> a figure, or a PNG file."""


def fingerprint(about: About, failure: Failure | None, result: Result | None) -> str:
    """Digest of the mirrored part of a record; if it is unchanged, nothing needs to be written."""
    return digest([asdict(about), failure and asdict(failure), result and asdict(result)])


def has_begun(record: Record) -> bool:
    """Whether a trial has written anything that can be mirrored."""
    return bool(
        record.result
        or record.failures
        or TrialFolder(record.path).attempts()
        or any((record.path / name).exists() for name in _FIRST_TRACES)
    )


def status(record: Record) -> Literal["FINISHED", "FAILED", "KILLED"]:
    """MLflow's status of a trial's latest attempt; an attempt without an end was interrupted."""
    if record.result:
        return "FINISHED"
    is_interrupted = not record.failures or record.failures[-1].kind == "interrupted"
    return "KILLED" if is_interrupted else "FAILED"


def times_ms(record: Record) -> tuple[int, int]:
    """Start and end of a trial's latest attempt: Unix time in milliseconds."""
    if record.result:
        return ms(record.result.started_at), ms(record.result.ended_at)
    if record.failures:
        last = record.failures[-1]
        return ms(last.ended_at - last.seconds), ms(last.ended_at)
    attempts = TrialFolder(record.path).attempts()
    folder = attempts[-1].path if attempts else record.path
    times = [path.stat().st_mtime for path in (folder, *folder.iterdir())]
    return ms(min(times)), ms(max(times))


def ms(seconds: float) -> int:
    """Seconds -> whole milliseconds, MLflow's unit of time."""
    return int(seconds * 1000)


def run_name(label: str) -> str:
    """The name of a run: a label, truncated to MLflow's limit."""
    return label[:NAME_CHARS]


# --- params -------------------------------------------------------------------------------------


def params(about: About) -> dict[str, str]:
    """Axes, scale, seed and samples by their names, then the whole config.

    The kind of a component has the component's name (`whole/design.sampling` = `fps`), which sorts before its fields.
    """
    values: dict[Parts, Any] = {(name,): value for name, value in about.axes.items()}
    values |= {("scale",): about.scale, ("seed",): about.seed}
    if about.samples is not None:
        values[("samples",)] = about.samples
    values |= {(CONFIG, name.removesuffix(".kind")): v for name, v in about.config.items() if (name,) not in values}
    return {key: str(value)[:PARAM_CHARS] for key, value in _keyed(values).items()}


def is_axis_param(key: str) -> bool:
    """Whether the key of a param is the name of an axis."""
    return key not in COMMON_PARAMS and not key.startswith(f"{CONFIG}/")


# --- tags ---------------------------------------------------------------------------------------


def about_tags(about: About) -> dict[str, str]:
    """Tags that are set when a trial starts."""
    return {
        KIND_TAG: "trial",
        TRIAL_TAG: about.key,
        DESIGN_TAG: about.design_key,
        LABEL_TAG: about.design_label[:TAG_CHARS],
        SWEEP_TAG: about.sweep,
        "ablate.scale": about.scale,
        "ablate.seed": str(about.seed),
        SOURCE_TAG: about.source,
        "mlflow.source.name": about.sweep,
        "mlflow.source.type": "LOCAL",
        **axes_tags(about.axes),
    }


def attempt_tags(attempt: AttemptFolder) -> dict[str, str]:
    """Number, GPUs on all nodes, and nodes of an attempt; only the number if it has no readable config.json."""
    tags = {ATTEMPT_TAG: str(attempt.number)}
    try:
        job = json.loads((attempt.path / "config.json").read_text(encoding="utf-8"))["job"]
        return tags | {GPUS_TAG: f"{job['gpus'] * job['nodes']:g}", NODES_TAG: str(job["nodes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return tags


def axes_tags(axes: Mapping[str, Value]) -> dict[str, str]:
    """The tags with a trial's axes."""
    return _long_tag(AXES_TAG, json.dumps(axes))


def outcome_tags(record: Record) -> dict[str, str]:
    """Tags of a trial that has ended: from its result, or else its latest failure; none if it was interrupted."""
    failures = record.failures
    tags = {FAILURES_TAG: ", ".join(failure.kind for failure in failures)} if failures else {}
    number = record.result.attempt if record.result else failures[-1].attempt if failures else None
    for attempt in TrialFolder(record.path).attempts():
        if attempt.number == number:
            tags |= attempt_tags(attempt)
    if record.result:
        return tags | _result_tags(record.result) | (dict.fromkeys(FAILURE_TAGS, "") if failures else {})
    return tags | (_failure_tags(failures[-1]) if failures else {})


def summary_tags(summary: SweepSummary) -> dict[str, str]:
    """Tags of a sweep's own run; its description has the number of trials by state."""
    counts = ", ".join(f"{number} {name}" for name, number in summary.counts.items())
    return {
        KIND_TAG: "sweep",
        SWEEP_TAG: summary.sweep,
        "mlflow.note.content": f"Sweep {summary.sweep}: {counts}. Spec, ranking and figures are among the artifacts.",
    }


def _failure_tags(failure: Failure) -> dict[str, str]:
    """A long traceback keeps its end, which contains the error."""
    return {
        **_environment_tags(failure.environment),
        ATTEMPT_TAG: str(failure.attempt),
        NODE_TAG: failure.node or failure.environment.get("host", ""),
        FAILURE_TAG: failure.kind,
        "ablate.message": failure.message[:TAG_CHARS],
        "ablate.traceback": failure.traceback[-TAG_CHARS:],
    }


def _result_tags(result: Result) -> dict[str, str]:
    """Environment, and the assignment of metrics to scores."""
    tags = _environment_tags(result.environment)
    tags |= {ATTEMPT_TAG: str(result.attempt), NODE_TAG: result.environment.get("host", "")}
    text = json.dumps([[key, s.benchmark, s.category, s.modality] for key, s in score_keys(result.scores).items()])
    return tags | _long_tag(SCORES_TAG, text)


def _environment_tags(environment: Mapping[str, str]) -> dict[str, str]:
    """Git commit, package versions, device."""
    tags = {_tag_key(f"ablate.env.{name}"): value[:TAG_CHARS] for name, value in environment.items()}
    if commit := environment.get("git_commit"):
        tags["mlflow.source.git.commit"] = commit
    return tags


def _long_tag(tag: str, text: str) -> dict[str, str]:
    return {f"{tag}.{i}" if i else tag: "".join(piece) for i, piece in enumerate(chunks(text, TAG_CHARS))}


def _tag_key(name: str) -> str:
    return re.sub(r"[^\w.\- /]", "_", name)[:KEY_CHARS]


# --- metrics ------------------------------------------------------------------------------------


def score_keys(scores: Iterable[Score]) -> dict[str, Score]:
    """Metric key -> score: `score/BENCHMARK/CATEGORY` for video, followed by `/MODALITY` for other modalities."""
    return _keyed(
        {("score", s.benchmark, s.category, *([] if s.modality == "video" else [s.modality])): s for s in scores}
    )


def outcome_metrics(result: Result) -> dict[str, float]:
    """Scores in the units of their benchmarks, then the counts of the trial and `usage/seconds`."""
    costs: dict[Parts, float] = {
        ("usage", name): float(value) for name, value in {**result.counts, "seconds": result.seconds}.items()
    }
    return {key: s.score for key, s in score_keys(result.scores).items()} | _keyed(costs)


def metric_key(metric: str) -> str:
    """The metric key of a score that a spec names `BENCHMARK/CATEGORY`."""
    return next(iter(_keyed({("score", *metric.split("/", 1)): None})))


def event_metrics(event: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of one point of the training curve: `train/loss`, ...; only finite numbers.

    The program of a user may report any further number. MLflow shows NaN as 0 and infinity as 1.8e308, so that one such
    point would make a chart useless.
    """
    numbers = {
        ("train", name): _finite(value)
        for name, value in event.items()
        if name not in _EVENT_POSITION and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return _keyed({name: value for name, value in numbers.items() if value is not None})


def event_position(event: Mapping[str, Any]) -> tuple[int, int]:
    """Unix time in milliseconds and step of a point of the training curve; 0 for what is missing."""
    seconds, step = (_finite(event.get(name)) or 0.0 for name in ("time", "step"))
    return ms(seconds), int(step)


def _finite(value: Any) -> float | None:
    """A number that MLflow can show."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


# --- MLflow's limits ----------------------------------------------------------------------------


def _keyed(values: Mapping[Parts, T]) -> dict[str, T]:
    """Values with keys that MLflow accepts; keys that would become equal are numbered."""
    keyed: dict[str, T] = {}
    for parts, value in values.items():
        base = key = "/".join(_NOT_ALLOWED.sub("_", part).strip(".") or "_" for part in parts)[:KEY_CHARS]
        number = 2
        while key in keyed:
            key = f"{base[: KEY_CHARS - 6]}-{number}"
            number += 1
        keyed[key] = value
    return keyed


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive pieces of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
