"""All trials of a study, and study.json: what holds for them all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.paths import STUDY_NAME, StudyPaths
from ablate.record.files import RecordError, write_json
from ablate.record.trial import Record, TrialFolder


def scan(paths: StudyPaths) -> Iterator[Record]:
    """All trials of a study, by key."""
    if paths.trials.is_dir():
        for path in sorted(p for p in paths.trials.iterdir() if p.is_dir()):
            if record := TrialFolder(path).read():
                yield record


def studies(root: Path) -> list[str]:
    """Names of the studies below a runs folder."""
    return sorted(p.name for p in root.glob("*") if STUDY_NAME.fullmatch(p.name) and (p / "trials").is_dir())


@dataclass(frozen=True, kw_only=True)
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
    except (ValueError, TypeError, OSError) as error:
        raise RecordError(
            f"{paths.about} is damaged ({error}); it says whether lower is better and what the study ranks by, as in "
            f"{json.dumps(asdict(StudyFacts()))}"
        ) from None


def remember(paths: StudyPaths, new: StudyFacts) -> None:
    """Write study.json where it says something else."""
    if facts(paths) != new:
        write_json(paths.about, asdict(new))
