"""`ablate import --dry-run`: how a file is interpreted, and how an import would change the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.imports.file import ScoreFile, read_scores
from ablate.imports.layout import OURS, Layout
from ablate.imports.take_in import (
    Incoming,
    check_as_table,
    conflict_message,
    declared_keys,
    direction_notes,
    incoming,
    writable,
)

PREVIEW_ROWS = 5
MAX_NAMES = 5  # in a list in the text; --json has all


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What `ablate import` would do."""

    study: str
    file: str
    delimiter: str
    trials: int
    scores: int
    skipped: int
    """Number of rows of a tidy file, or cells of a wide one, without a score."""
    lower_is_better: bool
    designs: list[str]
    scales: dict[str, int]
    """Scale -> number of designs, small scales first."""
    seeds: list[int]
    metrics: list[str]
    modalities: list[str]
    axes: dict[str, list[str | int | float]]
    """Axis -> its values, numbers first."""
    ignored: list[str]
    """Columns that are not read."""
    new: list[str]
    """Labels of the trials that the study does not contain."""
    unchanged: list[str]
    """Labels of the trials that the study contains with the same scores and axes."""
    extended: list[str]
    """Labels of the trials that the study contains with fewer scores or axes."""
    conflicts: list[str]
    """Labels of the trials that the study contains with other scores, samples or axes."""
    rows: list[dict[str, Any]]
    """The first rows, with the columns of a tidy file and then the axes."""
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"known" if name == "unchanged" else name: value for name, value in vars(self).items()}

    def lines(self) -> list[str]:
        """The text for people, without rows and notes."""
        direction = "lower" if self.lower_is_better else "higher"
        scales = ", ".join(f"{scale} ({number} design{'s' * (number > 1)})" for scale, number in self.scales.items())
        modalities = f" ({', '.join(self.modalities)})" if self.modalities != ["video"] else ""
        states = {
            "new": self.new,
            "unchanged": self.unchanged,
            "extended": self.extended,
            "in conflict": self.conflicts,
        }
        return [
            f"study {self.study}: {self.trials} trials, {self.scores} scores; {direction} is better",
            f"designs: {len(self.designs)}: {_abbreviated(self.designs)}",
            f"scales: {scales}",
            f"seeds: {_abbreviated(self.seeds)}",
            f"metrics: {_abbreviated(self.metrics)}{modalities}",
            *([f"axis {axis}: {_abbreviated(values)}" for axis, values in self.axes.items()] or ["axes: none"]),
            f"ignored columns: {', '.join(name or '(one without name)' for name in self.ignored) or 'none'}",
            f"without a score: {self.skipped}",
            "trials: " + ", ".join(f"{len(labels)} {state}" for state, labels in states.items()),
        ]


def preview(file: Path, study: str, layout: Layout, *, lower_is_better: bool, designs: str | None = None) -> Preview:
    """Read and check a file as an import does, and compare it with the study.

    Raises:
        UsageError: the import would be refused, for another reason than a conflict with the study.
    """
    paths = writable(study)
    scores = read_scores(file, study, layout)
    check_as_table(scores.rows, study)
    keys = declared_keys(scores, designs)
    trials, _ = incoming(paths, scores, lower_is_better=lower_is_better, keys=keys)
    conflicting = [trial for trial in trials if trial.state == "conflict"]
    notes = direction_notes(scores, lower_is_better=lower_is_better)
    if conflicting:
        message = conflict_message(study, conflicting)
        notes.append(f"{message}; an import is refused without --replace, which overwrites them")
    return Preview(
        study=study,
        file=str(file),
        delimiter=scores.delimiter,
        trials=len(trials),
        scores=len(scores.rows),
        skipped=scores.skipped,
        lower_is_better=lower_is_better,
        designs=list(dict.fromkeys(row["design"] for row in scores.rows)),
        scales=_scales(scores),
        seeds=sorted({row["seed"] for row in scores.rows}),
        metrics=sorted({f"{row['benchmark']}/{row['category']}" for row in scores.rows}),
        modalities=sorted({row["modality"] for row in scores.rows}),
        axes={axis: _values(scores, axis) for axis in layout.axes},
        ignored=list(scores.ignored),
        new=_labels(trials, "new"),
        unchanged=_labels(trials, "unchanged"),
        extended=_labels(trials, "extended"),
        conflicts=_labels(trials, "conflict"),
        rows=[{name: row[name] for name in OURS} | scores.axes[row["design"]] for row in scores.rows[:PREVIEW_ROWS]],
        notes=notes,
    )


def _scales(scores: ScoreFile) -> dict[str, int]:
    """Number of designs at each scale, small scales first."""
    from analysis.tables import scale_order

    designs: dict[str, set[str]] = {}
    for row in scores.rows:
        designs.setdefault(row["scale"], set()).add(row["design"])
    return {scale: len(designs[scale]) for scale in sorted(designs, key=scale_order)}


def _values(scores: ScoreFile, axis: str) -> list[str | int | float]:
    """The values of an axis: numbers in ascending order, then texts."""
    values = {axes[axis] for axes in scores.axes.values() if axis in axes}
    return sorted(values, key=lambda value: (1, 0, value) if isinstance(value, str) else (0, value, ""))


def _labels(trials: Iterable[Incoming], state: str) -> list[str]:
    return [trial.about.label for trial in trials if trial.state == state]


def _abbreviated(names: Sequence[object]) -> str:
    """The first names of a list, and the number of further ones."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(str(name) for name in names[:MAX_NAMES]) + more
