"""Which trials of a spec are new, which done, what they need. Every refusal happens before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablate.environment import available
from ablate.errors import InfeasibleError, UsageError
from ablate.grid import Trial, expand
from ablate.identity import flatten
from ablate.job import Job
from ablate.paths import StudyPaths, cache_root, study_paths
from ablate.record import About, folder_of
from ablate.spec import SweepSpec, known_metric
from models.design import ManifestData
from models.ladder import rung
from models.manifest import ManifestError, load_test, load_train
from models.weights import locate

Status = Literal["done", "failed", "unfinished", "new"]


@dataclass(frozen=True)
class Planned:
    """A declared trial, what is known of it, and what it would ask for."""

    trial: Trial
    status: Status
    cpus: float
    gpus: float

    @property
    def to_run(self) -> bool:
        """Whether the sweep would run it: a failed or cut-off trial is run again."""
        return self.status != "done"


@dataclass(frozen=True)
class Plan:
    """Everything that `ablate sweep` would do."""

    spec: SweepSpec
    paths: StudyPaths
    metric: str
    planned: list[Planned]
    declared: int
    excluded: int
    duplicate: int
    warnings: list[str]

    def count(self, status: Status) -> int:
        """Trials of a status."""
        return sum(p.status == status for p in self.planned)

    @property
    def to_run(self) -> list[Planned]:
        """What is missing, larger scales' trials first: they take longest, so the cores finish together."""
        missing = [p for p in self.planned if p.to_run]
        order = {scale: place for place, scale in enumerate(self.spec.scales)}
        return sorted(missing, key=lambda p: -order[p.trial.config.scale])

    def to_json(self) -> dict[str, Any]:
        """Stable object for programs."""
        return {
            "study": self.spec.study,
            "sweep": sweep_name(self.spec),
            "metric": self.metric,
            "declared": self.declared,
            "excluded": self.excluded,
            "duplicate": self.duplicate,
            "done": self.count("done"),
            "to_run": len(self.to_run),
            "failed": self.count("failed"),
            "warnings": self.warnings,
            "trials": [
                {
                    "key": p.trial.key,
                    "label": p.trial.label,
                    "design": p.trial.design_label,
                    "design_key": p.trial.design_key,
                    "scale": p.trial.config.scale,
                    "seed": p.trial.config.seed,
                    "samples": p.trial.config.samples,
                    "axes": p.trial.axes,
                    "status": p.status,
                    "cpus": p.cpus,
                    "gpus": p.gpus,
                }
                for p in self.planned
            ],
        }


def sweep_name(spec: SweepSpec) -> str:
    """What the sweep is called in runs and tables: its file's name."""
    return spec.source.path.stem


def make_plan(spec: SweepSpec) -> Plan:
    """Compare what a spec declares with what the study's folders hold. Writes nothing.

    Raises:
        SpecError, UsageError: the spec or its data are wrong.
    """
    expansion = expand(spec)
    paths = study_paths(spec.study)
    _check_data(
        {t.config.design.data.folder for t in expansion.trials if isinstance(t.config.design.data, ManifestData)}
    )
    planned = []
    for trial in expansion.trials:
        _check_weights(spec, trial)
        record = folder_of(paths, trial.key).read()
        step = rung(trial.config.scale)
        cpus = step.cpus if spec.resources.cpus is None else spec.resources.cpus
        gpus = step.gpus if spec.resources.gpus is None else spec.resources.gpus
        planned.append(Planned(trial, record.status if record else "new", cpus, gpus))
    return Plan(
        spec,
        paths,
        known_metric(spec, expansion.trials[0].config.design.data),
        planned,
        expansion.declared,
        expansion.excluded,
        expansion.duplicate,
        expansion.warnings,
    )


def _check_weights(spec: SweepSpec, trial: Trial) -> None:
    for weights in (*(e.weights for e in trial.config.design.encoders), rung(trial.config.scale).llm):
        try:
            locate(weights)
        except FileNotFoundError as error:
            raise spec.source.error((), str(error)) from None


def _check_data(folders: set[str]) -> None:
    for folder in folders:
        try:
            load_train(Path(folder))
            load_test(Path(folder))
        except ManifestError as error:
            raise UsageError(str(error)) from None


def refuse_infeasible(plan: Plan, nodes: list[dict[str, float]] | None = None) -> None:
    """Refuse a plan with a trial that no node could ever hold.

    Args:
        plan: what would run.
        nodes: resources of each node, as Ray tells them; this machine's where left out.

    Raises:
        InfeasibleError: with what is asked for, what there is at most, and the mend.
    """
    nodes = nodes if nodes is not None else [available()]
    for p in plan.to_run:
        asked = {"CPU": p.cpus, "GPU": p.gpus}
        if any(all(node.get(kind, 0) >= need for kind, need in asked.items()) for node in nodes):
            continue
        largest = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in asked}
        raise InfeasibleError(
            f"{p.trial.label} asks for {_told(asked)}, but no node has that; the most on one of {len(nodes)} node(s) "
            f"is {_told(largest)}. Lower `resources` in {plan.spec.source.path}, or run on a cluster with --address"
        )


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())


def job_of(plan: Plan, planned: Planned) -> Job:
    """The job that a worker runs."""
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
    """What a trial's folder says it is."""
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
