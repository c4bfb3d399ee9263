"""Scores of finished trials, read from their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.record.evaluations import read_evaluations
from ablate.record.trial import RESULT, About, Record, Score, Value


def is_open(resolved: Mapping[str, Any]) -> bool:
    """Whether a trial's config is that of the user's own trainer (`OpenConfig`), not of ablate's (`TrialConfig`)."""
    return "trainer" in resolved


DATA_DIGEST, DATA_SKIPPED = "design.data.digest", "design.data.skipped"
"""Fields of the flattened config that identify the records of a trial."""


@dataclass(frozen=True, kw_only=True)
class TrialScores:
    """The scores of one finished trial, from its folder or from MLflow."""

    key: str
    design_key: str
    design_label: str
    study: str
    scale: str
    seed: int
    samples: int | None
    """Number of training samples; None if scores were imported without it."""
    ended_at: float
    """Unix time."""
    scores: Sequence[Score]
    axes: Mapping[str, Value]
    """Axes that its sweep varied -> value; see `varied_axes`."""
    data: tuple[str, str] = ("", "")
    """Digest of the manifests, and of the list of skipped records, both as in `ManifestData`; empty for other data."""


def varied_axes(axes: Mapping[str, Value], source: str) -> dict[str, Value]:
    """The axes of a trial, without the name of its design, which imported scores store among them."""
    return {name: value for name, value in axes.items() if not (source == "import" and name == "design")}


def trials_of_records(records: Iterable[Record]) -> list[TrialScores]:
    """The finished trials among some records."""
    return [_scores_of(record) for record in records if record.result is not None]


def _scores_of(record: Record) -> TrialScores:
    about = record.about
    return TrialScores(
        key=about.key,
        design_key=about.design_key,
        design_label=about.design_label,
        study=about.study,
        scale=about.scale,
        seed=about.seed,
        samples=about.samples,
        ended_at=_ended_at(record),
        scores=[*record.result.scores, *_evaluated(record)] if record.result else [],
        axes=varied_axes(about.axes, about.source),
        data=_data_of(about),
    )


def _evaluated(record: Record) -> list[Score]:
    """The scores on benchmarks on which the trial's model was evaluated later."""
    return [score for one in read_evaluations(record.path) for score in one.scores]


def _data_of(about: About) -> tuple[str, str]:
    """The digests of `TrialScores.data`."""
    if is_open(about.resolved):
        return about.resolved.get("data_digest") or "", ""
    return str(about.config.get(DATA_DIGEST, "")), str(about.config.get(DATA_SKIPPED, ""))


def _ended_at(record: Record) -> float:
    """Unix time; for scores that ablate of version 1 imported without it, the time when the file was written."""
    if record.result is None:
        return 0.0
    if record.about.source == "import" and not record.result.ended_at:
        return (record.path / RESULT).stat().st_mtime
    return record.result.ended_at
