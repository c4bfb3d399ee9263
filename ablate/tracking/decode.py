"""What MLflow holds of a study, read back: the reverse of encode.py. Plain data; no mlflow here.

client.py reads runs through MLflow, sqlite.py from its file; what a run means is said here, once for both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ablate.errors import AblateError
from ablate.record import Score, StudyFacts, TrialScores, Value, varied_axes
from ablate.tracking import encode


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A trial's run, however it was read."""

    name: str
    status: str
    """MLflow's word, as in `mirror.status`."""
    ended_ms: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Latest values."""


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """What MLflow holds of a study."""

    facts: StudyFacts
    trials: list[TrialScores]
    """The finished ones, one each."""


def facts_in(tags: Mapping[str, str]) -> StudyFacts:
    """What an experiment's tags say of the whole study."""
    return StudyFacts(**json.loads(tags.get(encode.FACTS_TAG) or "{}"))


def trial_in(study: str, run: StoredRun) -> TrialScores:
    """The finished trial that a run mirrors.

    Raises:
        AblateError: a tag or param is missing, or is not what was written.
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
        )
    except (KeyError, ValueError) as error:
        told = f"lacks {error}" if isinstance(error, KeyError) else f"was changed ({error})"
        raise AblateError(
            f"run {run.name!r} of study {study!r} in MLflow {told}; delete it there, then `ablate sync {study}`"
        ) from None


def scores_in(tags: Mapping[str, str], metrics: Mapping[str, float]) -> list[Score]:
    """The scores of a run, as `mirror.outcome_tags` and `score_keys` wrote them."""
    return [
        Score(benchmark=benchmark, category=category, modality=modality, score=metrics[key])
        for key, benchmark, category, modality in _long_value(tags, encode.SCORES_TAG, "[]")
        if key in metrics
    ]


def axes_in(tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, Value]:
    """The axes of a run.

    Of one that was mirrored before there was `mirror.AXES_TAG`, the params that are no part of the config; the types of
    their values are guessed.
    """
    if encode.AXES_TAG in tags:
        return dict(_long_value(tags, encode.AXES_TAG, "{}"))
    return {key: _guessed(params[key]) for key in sorted(params) if encode.is_axis_param(key)}


def unfinished_in(runs: Iterable[StoredRun]) -> list[str]:
    """Label and state of each trial that no run of it has finished; of several runs, the newest tells.

    Args:
        runs: newest first.
    """
    found: dict[str, StoredRun] = {}
    for run in runs:
        key = run.tags.get(encode.TRIAL_TAG, "")
        if run.status == "FINISHED" or key not in found:
            found[key] = run
    unfinished = (run for run in found.values() if run.status != "FINISHED")
    return sorted(
        unfinished_label(run.name, run.tags.get(encode.FAILURE_TAG) or None, failed=run.status == "FAILED")
        for run in unfinished
    )


def unfinished_label(label: str, kind: str | None, *, failed: bool) -> str:
    """`uniform8@0.4M/s0 failed (diverged)`."""
    return f"{label} {'failed' if failed else 'unfinished'}" + (f" ({kind})" if kind else "")


def _guessed(text: str) -> Value:
    """The value that is written like this."""
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
    """Most trials of a study hold the same. What an earlier, longer value left behind the first is cut off."""
    return json.JSONDecoder().raw_decode(text)[0]
