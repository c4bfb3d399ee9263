"""Scores of finished trials, as their records hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablate.record.trial import Record, Score, Value


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
    """Training samples; None where scores were imported without saying."""
    ended_at: float
    """Unix time."""
    scores: Sequence[Score]
    axes: Mapping[str, Value]
    """What the sweep that ran it varied; see `axes_told`."""


def axes_told(axes: Mapping[str, Value], source: str) -> dict[str, Value]:
    """The axes of a trial, without the name of its design, which stands among those of imported scores."""
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
        scores=record.result.scores if record.result else [],
        axes=axes_told(about.axes, about.source),
    )


def _ended_at(record: Record) -> float:
    """Imported scores do not say when their trial ended; of them, when they were taken in."""
    if record.about.source == "import":
        return (record.path / "result.json").stat().st_mtime
    return record.result.ended_at if record.result else 0.0
