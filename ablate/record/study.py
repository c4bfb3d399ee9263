"""All trials of a study, and study.json: facts about the whole study."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ablate.paths import STUDY_NAME, StudyPaths
from ablate.record.axes import read_axes, with_axes
from ablate.record.files import RecordError, read_record, write_json
from ablate.record.notices import report_damage
from ablate.record.trial import Record, TrialFolder, folder_of


def scan(paths: StudyPaths) -> Iterator[Record]:
    """The readable trials of a study, ordered by key, with the axes that imported tables stated for them later.

    Each damaged folder is left out and logged, which shows it on stderr.
    """
    for record in scan_all(paths):
        if isinstance(record, RecordError):
            report_damage(record)
        else:
            yield record


def scan_all(paths: StudyPaths) -> Iterator[Record | RecordError]:
    """All trials of a study, ordered by key, as in `scan`, with an error in the place of each damaged folder."""
    try:
        axes = read_axes(paths)
    except RecordError as error:
        yield error
        axes = {}
    if paths.trials.is_dir():
        with os.scandir(paths.trials) as entries:
            folders = sorted(entry.path for entry in entries if entry.is_dir())
        for folder in folders:
            try:
                record = TrialFolder(Path(folder)).read()
            except RecordError as error:
                yield error
                continue
            if record is not None:
                yield with_axes(record, axes)


def read_trial(paths: StudyPaths, key: str) -> Record | None:
    """One trial of a study, as in `scan`; None if it has no trial.json.

    Raises:
        RecordError: its folder is damaged.
    """
    record = folder_of(paths, key).read()
    try:
        return with_axes(record, read_axes(paths)) if record else None
    except RecordError as error:
        report_damage(error)
        return record


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Comparison of a study's files with the digests in the results of its trials."""

    trials: int
    """Number of readable trials."""
    files: int
    """Number of files that the results cover, including the results."""
    damaged: tuple[str, ...]
    """Message for each file that cannot be read, was changed or is missing."""


def verify(paths: StudyPaths) -> Verification:
    """Compare all files of a study's trials with the digests in their results; reads predictions and logs too."""
    records, damaged = [], []
    for record in scan_all(paths):
        if isinstance(record, RecordError):
            damaged.append(record)
        else:
            records.append(record)
            damaged += record.damage()
    files = sum(1 + len(record.result.files) for record in records if record.result)
    return Verification(trials=len(records), files=files, damaged=tuple(map(str, damaged)))


def studies(root: Path) -> list[str]:
    """Names of the studies in a runs folder, sorted."""
    return sorted(p.name for p in root.glob("*") if STUDY_NAME.fullmatch(p.name) and (p / "trials").is_dir())


FACTS_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """study.json: facts about a whole study."""

    lower_is_better: bool = False
    metric: str | None = None
    """`benchmark/category` that the latest sweep ranked by."""
    samples: int | None = None
    """Number of training samples of the latest sweep; its trials are not compared with those of other numbers."""
    directions: dict[str, bool] = field(default_factory=dict)
    """Metric -> whether lower is better, for the metrics that sweeps ranked by. The direction of all other metrics is
    `lower_is_better`, which imports set."""
    specs: list[str] = field(default_factory=list)
    """Paths of the specs with the user's own trainer that ran in the study, the latest last. `ablate promote` reads
    the trainer from them, whose environment variables may be secret and are not in the records."""
    scales: list[str] = field(default_factory=list)
    """Labels of scales in the order of the specs, smaller ones first: the order of those that are no sizes."""
    schema_version: int = FACTS_VERSION

    def with_sweep(
        self,
        *,
        metric: str,
        lower_is_better: bool,
        samples: int | None,
        spec: str | None,
        scales: Sequence[str] = (),
    ) -> StudyFacts:
        """The facts after a sweep has started.

        Args:
            metric: `benchmark/category` that it ranks by.
            lower_is_better: the direction of the metric.
            samples: number of training samples of its trials.
            spec: path of its spec, if this has the user's own trainer.
            scales: labels of the scales that the spec declares, in its order.
        """
        others = [path for path in self.specs if path != spec]
        return replace(
            self,
            metric=metric,
            samples=samples,
            directions=self.directions | {metric: lower_is_better},
            specs=others if spec is None else [*others, spec],
            scales=_ordered(self.scales, scales),
        )

    def is_lower_better(self, metric: str) -> bool:
        """The direction of a metric: as its sweeps state it, else that of the study's imported scores."""
        return self.directions.get(metric, self.lower_is_better)


def _ordered(before: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Labels in the order of a spec, behind those that only earlier specs have: a promotion declares larger scales."""
    if [label for label in before if label in labels] == list(labels):
        return list(before)
    return [*(label for label in before if label not in labels), *labels]


def facts(paths: StudyPaths) -> StudyFacts:
    """Read study.json; defaults if there is none.

    Raises:
        RecordError: the file is damaged, or was written by a newer ablate.
    """
    example = json.dumps(asdict(StudyFacts()))
    fix = f"it states whether lower is better and which metric the study ranks by: restore it, or write it as {example}"
    return read_record(StudyFacts, paths.about, FACTS_VERSION, fix=fix) or StudyFacts()


def remember(paths: StudyPaths, new: StudyFacts) -> None:
    """Write study.json if it differs."""
    if facts(paths) != new:
        write_json(paths.about, asdict(new))
