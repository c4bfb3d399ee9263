"""The scores of a study as a table: from trial folders, from MLflow if these are on another machine, or published."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from ablate.errors import NoStudyError, UsageError
from ablate.paths import PUBLISHED, runs_root, study_paths
from ablate.record import StudyFacts, facts, is_open, scan, studies, trials_of_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from ablate.record import Record, TrialScores
    from analysis.tables import ScoreTable


T = TypeVar("T")
MAX_NAMES = 6
"""Maximum number of trials that a note names."""


@dataclass(frozen=True, eq=False)
class StudyScores:
    """The scores of a study, and which trials have none."""

    table: ScoreTable
    """Scores with one number of training samples."""
    all_samples: ScoreTable | None
    """Scores with all numbers of training samples, if there are several."""
    metric: str | None
    """The metric that the latest sweep ranked by."""
    unfinished: tuple[str, ...] = ()
    """Label and state of each trial that has no scores."""
    mixed_rates: tuple[str, ...] = ()
    """Scales whose trials state different factors of the LLM's learning rates, with these: `0.5B (3 and none)`."""
    data_note: str | None = None
    """Which designs used other records than others; None if all used the same, or the study varies its data."""
    trainer_note: str | None = None
    """Which trials used another version of the user's own trainer than others; None if all used the same."""

    @property
    def notes(self) -> list[str]:
        """Sentences about trials that cannot be compared, and about trials without scores."""
        mixed = [
            f"trials at {scale} state different `llm_lr_factor`, so their scores differ by more than the design"
            for scale in self.mixed_rates
        ]
        return [*mixed, *self.notes_on_content, *self._notes_on_unfinished()]

    @property
    def notes_on_content(self) -> list[str]:
        """Sentences about trials that used other data or another trainer than others."""
        return [note for note in (self.data_note, self.trainer_note) if note]

    def _notes_on_unfinished(self) -> list[str]:
        if not self.unfinished:
            return []
        first, number = self.unfinished[:MAX_NAMES], len(self.unfinished)
        more = f" and {number - len(first)} more" if number > len(first) else ""
        trials = "trial has" if number == 1 else "trials have"
        return [f"{number} {trials} no scores, left out: {', '.join(first)}{more}"]


def load_study(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> StudyScores:
    """The scores of a study.

    Args:
        study: name of the study; `apollo` is built in.
        tracking_uri: an MLflow store to read instead of the folders.
        samples: number of training samples, if the study has several; by default that of the latest sweep.

    Raises:
        UsageError: there is no such study, or it has no scores yet.
    """
    from ablate.study.table import counting, different_data, different_trainers
    from analysis.tables import TableError, published

    if study == PUBLISHED:
        return StudyScores(published(PUBLISHED), None, None)
    paths = study_paths(study)
    local = tracking_uri is None and paths.trials.is_dir()
    records = list(scan(paths)) if local else []  # once: a large study takes seconds
    if local:
        trials, study_facts = trials_of_records(records), facts(paths)
    else:
        trials, study_facts = _in_mlflow(study, tracking_uri, _trials_in_mlflow)
    if not any(trial.scores for trial in trials):
        raise UsageError(f"study {study!r} has no finished trial yet; run its sweep first")
    try:
        table = _table_of(trials, study_facts)
        is_several = table.frame["samples"].nunique() > 1
        num_samples = samples or (study_facts.samples if is_several else None)
        chosen = table.only(samples=num_samples) if num_samples else table
    except TableError as error:
        raise UsageError(f"study {study!r}: {error}") from None
    counted = counting(records)
    unfinished = tuple(_unfinished(records) if local else unfinished_trials(study, tracking_uri))
    mixed = _mixed_rates([one for _, one in counted])
    notes = different_data(trials), different_trainers(counted)
    return StudyScores(chosen, table if is_several else None, study_facts.metric, unfinished, mixed, *notes)


def _table_of(trials: list[TrialScores], study_facts: StudyFacts) -> ScoreTable:
    """The scores of finished trials."""
    from ablate.study.table import factor_frame, score_frame
    from analysis.tables import ScoreTable

    return ScoreTable(
        score_frame(trials),
        lower_is_better=study_facts.lower_is_better,
        directions=study_facts.directions,
        factors=factor_frame(trials),
        order=tuple(study_facts.scales),
    )


def _mixed_rates(records: Iterable[Record]) -> tuple[str, ...]:
    """Scales whose trials, of those that count, state different factors of the LLM's learning rates."""
    from ablate.study.table import factors_by_scale

    own = [one for r in records if (one := r.about).source == "trial" and not is_open(one.resolved)]
    factors = factors_by_scale((about.scale, about.resolved.get("llm_lr_factor")) for about in own)
    return tuple(f"{scale} ({factors_in_words(one)})" for scale, one in factors.items() if len(one) > 1)


def factors_in_words(factors: Iterable[float | None]) -> str:
    """Factors of the LLM's learning rates that trials state: `0.25 and none`."""
    return " and ".join(sorted("none" if factor is None else f"{factor:g}" for factor in factors))


def load_table(study: str, *, tracking_uri: str | None = None, samples: int | None = None) -> ScoreTable:
    """The scores of a study, with one number of training samples; arguments and errors as in `load_study`."""
    return load_study(study, tracking_uri=tracking_uri, samples=samples).table


def unfinished_trials(study: str, tracking_uri: str | None = None) -> list[str]:
    """Label and state of each trial without a result, sorted: `uniform8@0.4M/s0 failed (diverged)`.

    Raises:
        UsageError: there is no such study.
    """
    if study == PUBLISHED:
        return []
    paths = study_paths(study)
    if tracking_uri is None and paths.trials.is_dir():
        return _unfinished(scan(paths))
    return _in_mlflow(study, tracking_uri, _unfinished_in_mlflow)


def _unfinished(records: Iterable[Record]) -> list[str]:
    from ablate.tracking import unfinished_label

    return sorted(
        unfinished_label(
            record.about.label,
            record.failures[-1].kind if record.failures else None,
            failed=record.status == "failed",
        )
        for record in records
        if record.result is None
    )


def _in_mlflow(study: str, tracking_uri: str | None, query: Callable[[str, str | None], T]) -> T:
    """The result of a query to an MLflow server, or to the store on this machine if there is one."""
    if tracking_uri is None and "MLFLOW_TRACKING_URI" not in os.environ and not (runs_root() / "mlflow.db").is_file():
        raise UsageError(no_such_study(study))
    try:
        return query(study, tracking_uri)
    except NoStudyError:
        if tracking_uri is not None or "MLFLOW_TRACKING_URI" in os.environ:
            raise
        raise UsageError(no_such_study(study)) from None  # the local store only mirrors the folders


def _trials_in_mlflow(study: str, tracking_uri: str | None) -> tuple[list[TrialScores], StudyFacts]:
    from ablate.tracking import sqlite

    stored = sqlite.load(study, tracking_uri)
    if stored is None:  # only then: importing MLflow takes seconds
        from ablate.tracking import client

        stored = client.load(study, tracking_uri)
    return stored.trials, stored.facts


def _unfinished_in_mlflow(study: str, tracking_uri: str | None) -> list[str]:
    from ablate.tracking import sqlite

    labels = sqlite.unfinished(study, tracking_uri)
    if labels is None:
        from ablate.tracking import client

        labels = client.unfinished(study, tracking_uri)
    return labels


def no_such_study(study: str) -> str:
    """The message for a study that does not exist; lists the studies that exist."""
    names = studies(runs_root())
    matches = get_close_matches(study, [*names, PUBLISHED], n=1)
    hint = f"did you mean {matches[0]!r}? " if matches else ""
    return f"no study {study!r} in {runs_root()}; {hint}there are: {', '.join([*names, f'{PUBLISHED} (built in)'])}"


def load_scores(study: str, uri: str | None = None) -> pd.DataFrame:
    """The score table of a study in MLflow; columns as in `table.score_frame`, errors as in `tracking.load`."""
    from ablate.study.table import score_frame
    from ablate.tracking import load

    return score_frame(load(study, uri).trials)
