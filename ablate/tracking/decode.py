"""A study read from MLflow: the inverse of encode.py. Plain data; no mlflow here.

client.py reads runs through MLflow, sqlite.py from its file; both interpret them with this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from ablate.errors import AblateError
from ablate.record import Score, StudyFacts, TrialScores, Value, varied_axes
from ablate.tracking import encode


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """The run of a trial."""

    name: str
    status: str
    """MLflow's status, as in `encode.status`."""
    ended_ms: int
    """Unix time in milliseconds."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Latest values."""


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """A study in MLflow."""

    facts: StudyFacts
    trials: list[TrialScores]
    """One entry per finished trial."""


def facts_in(tags: Mapping[str, str]) -> StudyFacts:
    """The facts about a study in the tags of its experiment; those that only a newer ablate knows are left out.

    Raises:
        AblateError: the tag was changed.
    """
    try:
        stored = json.loads(tags.get(encode.FACTS_TAG) or "{}")
        return StudyFacts(**{field.name: stored[field.name] for field in fields(StudyFacts) if field.name in stored})
    except (ValueError, TypeError) as error:
        raise AblateError(
            f"tag {encode.FACTS_TAG} of the study's experiment in MLflow was changed ({error}); `ablate sync STUDY` "
            "writes it again"
        ) from None


def trial_in(study: str, run: StoredRun) -> TrialScores:
    """The finished trial that a run mirrors.

    Raises:
        AblateError: a tag, a param or the metric of a score is missing or was changed.
    """
    tags, params = run.tags, run.params
    try:
        return TrialScores(
            key=tags[encode.TRIAL_TAG],
            design_key=tags[encode.DESIGN_TAG],
            design_label=tags[encode.LABEL_TAG],
            study=study,
            scale=params["scale"],
            seed=int(params["seed"]),
            samples=int(params["samples"]) if "samples" in params else None,
            ended_at=run.ended_ms / 1000,
            scores=scores_in(tags, run.metrics),
            axes=varied_axes(axes_in(tags, params), tags.get(encode.SOURCE_TAG, "trial")),
            data=(params.get(encode.DATA_PARAMS[0], ""), params.get(encode.DATA_PARAMS[1], "")),
        )
    except (KeyError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"was changed ({error})"
        raise AblateError(
            f"run {run.name!r} of study {study!r} in MLflow {reason}; delete its tag {encode.MIRRORED_TAG} there, then "
            f"`ablate sync {study}` writes it again"
        ) from None


def scores_in(tags: Mapping[str, str], metrics: Mapping[str, float]) -> list[Score]:
    """The scores of a run, which `encode.outcome_tags` and `encode.score_keys` wrote.

    Raises:
        KeyError: the metric of a score is missing.
        ValueError: the tag is not JSON.
    """
    return [
        Score(benchmark=benchmark, category=category, modality=modality, score=metrics[key])
        for key, benchmark, category, modality in _long_value(tags, encode.SCORES_TAG, "[]")
    ]


def axes_in(tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, Value]:
    """The axes of a run.

    Runs mirrored before `encode.AXES_TAG` existed: the params that are not part of the config, with guessed types.
    """
    if encode.AXES_TAG in tags:
        return dict(_long_value(tags, encode.AXES_TAG, "{}"))
    return {key: _guessed(params[key]) for key in sorted(params) if encode.is_axis_param(key)}


def unfinished_in(runs: Iterable[StoredRun]) -> list[str]:
    """Label and state of each trial without a finished run; of several runs, the newest counts.

    Args:
        runs: newest first.
    """
    latest: dict[str, StoredRun] = {}
    for run in runs:
        key = run.tags.get(encode.TRIAL_TAG, "")
        if run.status == "FINISHED" or key not in latest:
            latest[key] = run
    unfinished = (run for run in latest.values() if run.status != "FINISHED")
    return sorted(
        unfinished_label(run.name, run.tags.get(encode.FAILURE_TAG) or None, failed=run.status == "FAILED")
        for run in unfinished
    )


def unfinished_label(label: str, kind: str | None, *, failed: bool) -> str:
    """`uniform8@0.4M/s0 failed (diverged)`."""
    return f"{label} {'failed' if failed else 'unfinished'}" + (f" ({kind})" if kind else "")


def _guessed(text: str) -> Value:
    """The value whose text this is."""
    if text in ("True", "False"):
        return text == "True"
    try:
        number: Value = int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text
    return number if str(number) == text and math.isfinite(float(text)) else text


def _long_value(tags: Mapping[str, str], tag: str, default: str) -> Any:
    text, index = tags.get(tag) or default, 1
    while piece := tags.get(f"{tag}.{index}"):
        text, index = text + piece, index + 1
    return _decoded(text)


@lru_cache(maxsize=1024)
def _decoded(text: str) -> Any:
    """Decode JSON, ignoring the rest of an earlier, longer value. Cached, since most trials share their values."""
    return json.JSONDecoder().raw_decode(text)[0]
