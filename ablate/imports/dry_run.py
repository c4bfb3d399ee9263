"""`ablate import --dry-run`: what was understood of a file, and what taking it in would do to the study."""

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
    conflict,
    declared_keys,
    direction_notes,
    incoming,
    writable,
)

SHOWN = 5  # rows, and names of a list in the text; --json has all names


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What `ablate import` would do; nothing was written."""

    study: str
    file: str
    delimiter: str
    trials: int
    scores: int
    skipped: int
    """Rows of a tidy file, cells of a wide one, without a score."""
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
    known: list[str]
    """Trials that the study holds just so."""
    extended: list[str]
    """Trials that the study holds with fewer scores or axes."""
    conflicts: list[str]
    rows: list[dict[str, Any]]
    """The first ones, as a tidy file has them, with the axes behind."""
    notes: list[str]

    def lines(self) -> list[str]:
        """The same for people, but for rows and notes."""
        direction = "lower" if self.lower_is_better else "higher"
        scales = ", ".join(f"{scale} ({number} design{'s' * (number > 1)})" for scale, number in self.scales.items())
        modalities = f" ({', '.join(self.modalities)})" if self.modalities != ["video"] else ""
        states = {"new": self.new, "known": self.known, "extended": self.extended, "in conflict": self.conflicts}
        return [
            f"study {self.study}: {self.trials} trials, {self.scores} scores; {direction} is better",
            f"designs: {len(self.designs)}: {_some(self.designs)}",
            f"scales: {scales}",
            f"seeds: {_some(self.seeds)}",
            f"metrics: {_some(self.metrics)}{modalities}",
            *([f"axis {axis}: {_some(values)}" for axis, values in self.axes.items()] or ["axes: none"]),
            f"ignored columns: {', '.join(name or '(one without name)' for name in self.ignored) or 'none'}",
            f"without a score: {self.skipped}",
            "trials: " + ", ".join(f"{len(held)} {state}" for state, held in states.items()),
        ]


def preview(file: Path, study: str, layout: Layout, *, lower_is_better: bool, designs: str | None = None) -> Preview:
    """Read and check a file as an import does, beside what the study holds.

    Raises:
        UsageError: what an import would be refused for, but for a clash with the study's scores.
    """
    paths = writable(study)
    found = read_scores(file, study, layout)
    check_as_table(found.rows, study)
    keys = declared_keys(found, designs)
    trials, _ = incoming(paths, found, lower_is_better=lower_is_better, keys=keys)
    clash = [trial for trial in trials if trial.state == "conflict"]
    notes = direction_notes(found, lower_is_better=lower_is_better)
    notes += (
        [f"{conflict(study, clash)}; an import is refused without --replace, which takes the new ones"] if clash else []
    )
    return Preview(
        study=study,
        file=str(file),
        delimiter=found.delimiter,
        trials=len(trials),
        scores=len(found.rows),
        skipped=found.skipped,
        lower_is_better=lower_is_better,
        designs=list(dict.fromkeys(row["design"] for row in found.rows)),
        scales=_scales(found),
        seeds=sorted({row["seed"] for row in found.rows}),
        metrics=sorted({f"{row['benchmark']}/{row['category']}" for row in found.rows}),
        modalities=sorted({row["modality"] for row in found.rows}),
        axes={axis: _values(found, axis) for axis in layout.axes},
        ignored=list(found.ignored),
        new=_labels(trials, "new"),
        known=_labels(trials, "known"),
        extended=_labels(trials, "extended"),
        conflicts=_labels(trials, "conflict"),
        rows=[{name: row[name] for name in OURS} | found.axes[row["design"]] for row in found.rows[:SHOWN]],
        notes=notes,
    )


def _scales(found: ScoreFile) -> dict[str, int]:
    """Number of designs at each scale, small scales first."""
    from analysis.tables import scale_order

    designs: dict[str, set[str]] = {}
    for row in found.rows:
        designs.setdefault(row["scale"], set()).add(row["design"])
    return {scale: len(designs[scale]) for scale in sorted(designs, key=scale_order)}


def _values(found: ScoreFile, axis: str) -> list[str | int | float]:
    """The values of an axis: numbers by size, then texts."""
    held = {values[axis] for values in found.axes.values() if axis in values}
    return sorted(held, key=lambda value: (1, 0, value) if isinstance(value, str) else (0, value, ""))


def _labels(trials: Iterable[Incoming], state: str) -> list[str]:
    return [trial.about.label for trial in trials if trial.state == state]


def _some(names: Sequence[object]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more
