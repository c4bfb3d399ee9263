"""The messages between the driver and a worker: a job to run, and its progress. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ablate.paths import cache_root
from ablate.plan import Plan, Planned, sweep_name
from ablate.record import About, folder_of
from ablate.spec import Trial, flatten


def job_of(plan: Plan, planned: Planned) -> Job:
    """The job of a planned trial."""
    trial = planned.trial
    return Job(
        key=trial.key,
        label=trial.label,
        config=trial.config.model_dump(mode="json"),
        folder=str(folder_of(plan.paths, trial.key).path),
        cache=str(cache_root()),
        cpus=planned.cpus,
        gpus=planned.gpus,
    )


def about(plan: Plan, trial: Trial) -> About:
    """The description of a trial, for its folder."""
    return About(
        key=trial.key,
        design_key=trial.design_key,
        label=trial.label,
        design_label=trial.design_label,
        study=plan.spec.study,
        sweep=sweep_name(plan.spec),
        scale=trial.config.scale,
        seed=trial.config.seed,
        samples=trial.config.samples,
        axes=trial.axes,
        config=flatten(trial.config),
        resolved=trial.config.model_dump(mode="json"),
    )


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a worker needs to run one trial."""

    key: str
    label: str
    config: dict[str, object]
    """The config, as `TrialConfig` validates it."""
    folder: str
    """Path of the trial's folder."""
    cache: str
    """Path of the folder of reproducible files that trials share."""
    cpus: float
    """Number of CPU cores."""
    gpus: float
    """Number of GPUs."""

    @property
    def threads(self) -> int:
        """Number of threads: one per core of the trial, so that trials do not compete for cores."""
        return max(1, int(self.cpus))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a running trial."""

    phase: Literal["preparing", "training", "testing", "done", "failed"]
    detail: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    samples_per_s: float | None = None
