"""Jobs and descriptions of the trials of a plan: made by the driver, so that workers load neither plans nor specs."""

from __future__ import annotations

from ablate.paths import cache_root
from ablate.plan import Plan, Planned, sweep_name
from ablate.record import About, StudyFacts, facts, folder_of
from ablate.run.job import Job, Program
from ablate.spec import OpenConfig, Trial, flatten
from models.costs import Layout


def job_of(plan: Plan, planned: Planned) -> Job:
    """The job of a planned trial."""
    trial, layout = planned.trial, planned.layout or Layout()
    return Job(
        key=trial.key,
        label=trial.label,
        config=trial.config.model_dump(mode="json"),
        folder=str(folder_of(plan.paths, trial.key).path),
        cache=str(cache_root()),
        cpus=planned.cpus,
        gpus=planned.gpus,
        nodes=planned.nodes,
        program=_program(plan, trial),
        trial_limit_s=plan.spec.limits.trial,
        silence_limit_s=plan.spec.limits.silence,
        checkpoint_s=plan.spec.checkpoint.every,
        keep=plan.spec.keep,
        compiled=plan.spec.compile,
        shard=layout.shard,
        checkpointing=layout.checkpointing,
    )


def _program(plan: Plan, trial: Trial) -> Program | None:
    """The user's program for one trial; None with ablate's own trainer."""
    user = plan.spec.user_trainer
    if user is None:
        return None
    assert isinstance(trial.config, OpenConfig)
    return Program(
        command=user.trainer.command,
        workdir=str(user.workdir),
        env=user.trainer.env,
        processes=user.trainer.processes,
        config=trial.config.program_config(),
        states_data=user.data is not None,
        metric=plan.metric,
        code=user.code,
        data_files=user.data_files,
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


def study_facts(plan: Plan) -> StudyFacts:
    """The facts about the study after this sweep: what ranks, and what its latest trials are."""
    return facts(plan.paths).with_sweep(
        metric=plan.metric,
        lower_is_better=plan.lower_is_better,
        samples=plan.spec.trial_samples,
        spec=str(plan.spec.source.path.resolve()) if plan.spec.is_open else None,
        scales=plan.spec.declared_labels if plan.spec.is_open else (),
    )
