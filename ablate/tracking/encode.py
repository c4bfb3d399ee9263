"""What a trial looks like in MLflow: names of params, tags and metrics, within its limits. Plain data; no mlflow here.

The names serve MLflow's pages. Its compare page first shows the three differing params that sort first, and the metric
that was logged first: so axes keep their names, and the rest of the config sorts behind them, under `whole/`. Its runs
page shows charts in the order `score/`, `train/`, `usage/`. Nothing parses these names: `SCORES_TAG` says which metric
is which score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd

from ablate.record import About, Failure, Record, Result, Score, Value
from ablate.spec import digest

if TYPE_CHECKING:
    from analysis.figures import Figure

T = TypeVar("T")
Parts = tuple[str, ...]
"""What a name is made of; MLflow's pages make sections of them."""

TEXTS_PER_CALL = 50
"""Params, and as many tags, in one call: MLflow takes 100 of each, but 1 MB in all."""
METRICS_PER_CALL = 800
"""MLflow takes 1000 of everything together."""
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
"""JSON object of axis -> value, as its sweep named it: params hold texts, and do not say which of them are axes.
Continued in `ablate.axes.1`, ... if it is long."""
FACTS_TAG = "ablate.facts"
"""Of an experiment: JSON object of `record.StudyFacts`."""
MIRRORED_TAG = "ablate.mirrored"
"""Digest of the record as it was mirrored; written last, so that a mirror that was cut off is done again."""
SCORES_TAG = "ablate.scores"
"""JSON list of [metric key, benchmark, category, modality]; continued in `ablate.scores.1`, ... if it is long."""
CONFIG = "whole"
"""Params of the whole config are below it; sorts behind every field of the design space, `scale` and `seed`."""
COPIED = ("trial.json", "predictions.parquet", "log.txt")
"""Files of a trial's folder that become artifacts."""
FAILURE_TAG = "ablate.failure"
"""How the latest attempt failed: `record.FailureClass`."""
FAILURE_TAGS = (FAILURE_TAG, "ablate.message", "ablate.traceback")
EVERY_TRIALS = ("scale", "seed", "samples")
"""Params that every trial has; beside them only axes have names of their own."""

_NOT_ALLOWED = re.compile(r"[^\w.\- ]", re.ASCII)
_EVENT_POSITION = ("step", "time")
_FIRST_TRACES = ("log.txt", "events.jsonl")


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What a sweep leaves for readers, once its trials have ended."""

    sweep: str
    spec: str
    """Text of the YAML file."""
    counts: Mapping[str, int]
    started_at: float
    """Unix time; puts the summary behind the sweep's trials in lists that show the newest first."""
    ranking: pd.DataFrame | None = None
    figures: Mapping[str, Figure | Path] = field(default_factory=dict)
    """File name without ending -> a figure, or a PNG file."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What `sync` did: numbers of trials."""

    created: int
    updated: int
    unchanged: int
    duplicates: tuple[str, ...]
    """Keys of trials that MLflow holds more than one run of; the oldest is used."""


def fingerprint(about: About, failure: Failure | None, result: Result | None) -> str:
    """Digest of what is mirrored of a trial: the same again needs no writing."""
    return digest([asdict(about), failure and asdict(failure), result and asdict(result)])


def has_begun(record: Record) -> bool:
    """Whether a trial has left anything to show."""
    return bool(record.result or record.failures or any((record.path / name).exists() for name in _FIRST_TRACES))


def status(record: Record) -> Literal["FINISHED", "FAILED", "KILLED"]:
    """MLflow's word for how a trial's latest attempt ended; one without any end was cut off."""
    if record.result:
        return "FINISHED"
    cut_off = not record.failures or record.failures[-1].kind == "interrupted"
    return "KILLED" if cut_off else "FAILED"


def times_ms(record: Record) -> tuple[int, int]:
    """Start and end of a trial's latest attempt, in milliseconds of Unix time."""
    if record.result:
        return ms(record.result.started_at), ms(record.result.ended_at)
    if record.failures:
        last = record.failures[-1]
        return ms(last.ended_at - last.seconds), ms(last.ended_at)
    written = [path.stat().st_mtime for path in record.path.iterdir()]
    return ms(min(written)), ms(max(written))


def ms(seconds: float) -> int:
    """Milliseconds, as MLflow counts time."""
    return int(seconds * 1000)


def run_name(label: str) -> str:
    """A run's name; MLflow takes no more of a label than this."""
    return label[:NAME_CHARS]


# --- params -------------------------------------------------------------------------------------


def params(about: About) -> dict[str, str]:
    """Axes, scale, seed and samples by their own names, and the whole config behind them.

    A variant stands under its part's own name (`whole/design.sampling` = `fps`), before its fields.
    """
    values: dict[Parts, Any] = {(name,): value for name, value in about.axes.items()}
    values |= {("scale",): about.scale, ("seed",): about.seed}
    if about.samples is not None:
        values[("samples",)] = about.samples
    values |= {(CONFIG, name.removesuffix(".kind")): v for name, v in about.config.items() if (name,) not in values}
    return {key: str(value)[:PARAM_CHARS] for key, value in _keyed(values).items()}


def is_axis_param(key: str) -> bool:
    """Whether a param, by its key, is none of those that every trial has."""
    return key not in EVERY_TRIALS and not key.startswith(f"{CONFIG}/")


# --- tags ---------------------------------------------------------------------------------------


def about_tags(about: About) -> dict[str, str]:
    """Tags that hold from the start of a trial."""
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


def axes_tags(axes: Mapping[str, Value]) -> dict[str, str]:
    """The tags that hold a trial's axes."""
    return _long_tag(AXES_TAG, json.dumps(axes))


def outcome_tags(failure: Failure | None, result: Result | None) -> dict[str, str]:
    """Tags of a trial that has ended, by its result, or else its latest failure, or cut off without either."""
    if result:
        return _result_tags(result) | (dict.fromkeys(FAILURE_TAGS, "") if failure else {})
    return _failure_tags(failure) if failure else {}


def summary_tags(summary: SweepSummary) -> dict[str, str]:
    """Tags of a sweep's own run; its description says how many trials ended how."""
    told = ", ".join(f"{number} {name}" for name, number in summary.counts.items())
    return {
        KIND_TAG: "sweep",
        SWEEP_TAG: summary.sweep,
        "mlflow.note.content": f"Sweep {summary.sweep}: {told}. Spec, ranking and figures are among the artifacts.",
    }


def _failure_tags(failure: Failure) -> dict[str, str]:
    """Of a long traceback the end, where the error stands."""
    return {
        **_environment_tags(failure.environment),
        "ablate.attempt": str(failure.attempt),
        FAILURE_TAG: failure.kind,
        "ablate.message": failure.message[:TAG_CHARS],
        "ablate.traceback": failure.traceback[-TAG_CHARS:],
    }


def _result_tags(result: Result) -> dict[str, str]:
    """Where the numbers come from, and which metric is which score."""
    tags = {"ablate.attempt": str(result.attempt)} | _environment_tags(result.environment)
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
    """Metric key -> score: `score/BENCHMARK/CATEGORY` of the video, with `/MODALITY` behind it otherwise."""
    return _keyed(
        {("score", s.benchmark, s.category, *([] if s.modality == "video" else [s.modality])): s for s in scores}
    )


def outcome_metrics(result: Result) -> dict[str, float]:
    """Scores in the benchmarks' own units, then `usage/seconds` and what the trial counted."""
    costs: dict[Parts, float] = {
        ("usage", name): float(value) for name, value in {**result.counts, "seconds": result.seconds}.items()
    }
    return {key: s.score for key, s in score_keys(result.scores).items()} | _keyed(costs)


def metric_key(metric: str) -> str:
    """The metric of a score that is named as in a spec, `BENCHMARK/CATEGORY`."""
    return next(iter(_keyed({("score", *metric.split("/", 1)): None})))


def event_metrics(event: Mapping[str, float]) -> dict[str, float]:
    """Metrics of one report of the training curve: `train/loss`, ..."""
    return _keyed({("train", name): float(value) for name, value in event.items() if name not in _EVENT_POSITION})


# --- MLflow's limits ----------------------------------------------------------------------------


def _keyed(values: Mapping[Parts, T]) -> dict[str, T]:
    """Values under keys that MLflow takes; parts that would become the same key are numbered."""
    keyed: dict[str, T] = {}
    for parts, value in values.items():
        wanted = key = "/".join(_NOT_ALLOWED.sub("_", part).strip(".") or "_" for part in parts)[:KEY_CHARS]
        number = 2
        while key in keyed:
            key = f"{wanted[: KEY_CHARS - 6]}-{number}"
            number += 1
        keyed[key] = value
    return keyed


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive pieces of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
