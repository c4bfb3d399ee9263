"""All trials of a study, and study.json: facts about the whole study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.paths import STUDY_NAME, StudyPaths
from ablate.record.files import RecordError, write_json
from ablate.record.trial import Record, TrialFolder


def scan(paths: StudyPaths) -> Iterator[Record]:
    """All trials of a study, ordered by key.

    Raises:
        RecordError: a trial folder cannot be read.
    """
    if paths.trials.is_dir():
        for path in sorted(p for p in paths.trials.iterdir() if p.is_dir()):
            if record := TrialFolder(path).read():
                yield record


def studies(root: Path) -> list[str]:
    """Names of the studies in a runs folder, sorted."""
    return sorted(p.name for p in root.glob("*") if STUDY_NAME.fullmatch(p.name) and (p / "trials").is_dir())


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """study.json: facts about a whole study."""

    lower_is_better: bool = False
    metric: str | None = None
    """`benchmark/category` that the latest sweep ranked by."""
    samples: int | None = None
    """Number of training samples of the latest sweep; its trials are not compared with those of other numbers."""


def facts(paths: StudyPaths) -> StudyFacts:
    """Read study.json; defaults if there is none.

    Raises:
        RecordError: the file is damaged.
    """
    try:
        return StudyFacts(**json.loads(paths.about.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return StudyFacts()
    except (ValueError, TypeError, OSError) as error:
        raise RecordError(
            f"{paths.about} is damaged ({error}); it states whether lower is better and which metric the study ranks "
            f"by, as in {json.dumps(asdict(StudyFacts()))}"
        ) from None


def remember(paths: StudyPaths, new: StudyFacts) -> None:
    """Write study.json if it differs."""
    if facts(paths) != new:
        write_json(paths.about, asdict(new))
