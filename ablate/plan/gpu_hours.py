"""What trials of the user's own trainer cost: as the spec states it, until finished trials of the study show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ablate.paths import StudyPaths
from ablate.record import Record, scan
from ablate.spec import SweepSpec


@dataclass(frozen=True, kw_only=True)
class OpenPrice:
    """The cost of one trial of the user's own trainer."""

    gpu_hours: float
    """GPU-hours on all of its nodes."""
    measured_trials: int = 0
    """Number of finished trials whose mean this is; 0: the spec states it."""

    def to_json(self) -> dict[str, Any]:
        """Object for `--json`; its keys are stable."""
        return asdict(self)


def open_prices(spec: SweepSpec, paths: StudyPaths) -> dict[str, OpenPrice]:
    """Label of a scale -> cost of one trial there; without scales of which nothing is known.

    Measured is the mean of seconds times GPUs over the finished trials at the scale with as many samples, on the
    GPUs that the spec asks for now. Trials without GPUs take no GPU-hours, and replace no statement.

    Raises:
        RecordError: a record of the study cannot be read.
        SpecError: the resources of a scale are wrong.
    """
    prices = {label: OpenPrice(gpu_hours=hours) for label, hours in stated_hours(spec).items()}
    seconds = _measured_seconds(spec, paths)
    for label in spec.labels:
        resources = spec.resources_at(label)
        gpus = (resources.gpus or 0) * (resources.nodes or 1)
        if gpus and (measured := seconds.get(label)):
            hours = gpus * sum(measured) / len(measured) / 3600
            prices[label] = OpenPrice(gpu_hours=hours, measured_trials=len(measured))
    return prices


def stated_hours(spec: SweepSpec) -> dict[str, float]:
    """Label of a scale -> GPU-hours of one trial there, as the spec states them."""
    cost = spec.user_trainer.cost if spec.user_trainer else None
    if cost is None:
        return {}
    if cost.gpu_hours is not None:
        return {label: hours for label, hours in cost.gpu_hours.items() if label in spec.labels}
    assert cost.gpu_seconds_per_sample is not None  # one of the two is stated
    samples = spec.trial_samples or 0  # stated, too: the spec is refused otherwise
    return {
        label: seconds * samples / 3600
        for label, seconds in cost.gpu_seconds_per_sample.items()
        if label in spec.labels
    }


def _measured_seconds(spec: SweepSpec, paths: StudyPaths) -> dict[str, list[float]]:
    """Label of a scale -> seconds of each finished trial there."""
    seconds: dict[str, list[float]] = {}
    for record in scan(paths):
        if record.result is not None and _is_alike(record, spec):
            seconds.setdefault(record.about.scale, []).append(record.result.seconds)
    return seconds


def _is_alike(record: Record, spec: SweepSpec) -> bool:
    """Whether a trial took as long as one of the spec at its scale would."""
    about = record.about
    return about.source == "trial" and "trainer" in about.resolved and about.samples == spec.trial_samples


def price_notes(spec: SweepSpec, prices: Mapping[str, OpenPrice]) -> list[str]:
    """Where the costs of trials come from, one sentence each; nothing on trials without GPUs and without a cost."""
    labels: dict[str, list[str]] = {"stated": [], "none": []}
    notes = []
    for label in spec.labels:
        price = prices.get(label)
        if price is None:
            if spec.resources_at(label).gpus:
                labels["none"].append(label)
        elif not price.measured_trials:
            labels["stated"].append(label)
        else:
            trials = f"{price.measured_trials} finished trial{'s' * (price.measured_trials > 1)}"
            notes.append(f"GPU-hours at {label} are the mean of {trials} on the GPUs that the spec asks for")
    if labels["stated"]:
        notes.append(f"GPU-hours at {', '.join(labels['stated'])} are those that the spec states under `cost`")
    if labels["none"]:
        notes.append(
            f"not priced: {', '.join(labels['none'])}; state `cost: {{gpu_hours: {{{labels['none'][0]}: ...}}}}`, or "
            "wait for the first finished trial"
        )
    return notes
