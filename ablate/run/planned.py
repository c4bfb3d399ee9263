"""Jobs and descriptions of the trials of a plan: made by the driver, so that workers load neither plans nor specs."""

from __future__ import annotations

from ablate.paths import cache_root
from ablate.plan import Plan, Planned, sweep_name
from ablate.record import About, folder_of
from ablate.run.job import Job
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
