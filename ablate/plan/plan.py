"""Which trials of a spec are new, which done, what they need. Every refusal happens before anything runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ablate.paths import StudyPaths, study_paths
from ablate.plan.checks import _check_data, _check_model, _check_weights
from ablate.plan.data_sizes import sizes_of
from ablate.plan.fit import Pricing
from ablate.plan.gpus import DEFAULT, gpu
from ablate.plan.prices import Price, price
from ablate.record import folder_of
from ablate.spec import SweepSpec, Trial, expand, known_metric
from models.design import AssumedData, Design
from models.ladder import scale_card_of
from models.weights import UncountedError

if TYPE_CHECKING:
    from analysis.noise import Power


Status = Literal["done", "failed", "unfinished", "new"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A declared trial, what is known of it, and what it would ask for."""

    trial: Trial
    status: Status
    cpus: float
    gpus: float
    price: Price | None = None
    """What it is made of and takes; None where it was not asked for, or nobody can tell."""
    unpriced: str | None = None
    """Why nobody can."""

    @property
    def is_missing(self) -> bool:
        """Whether the sweep would run it: a failed or cut-off trial is run again."""
        return self.status != "done"


@dataclass(frozen=True, kw_only=True)
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
    pricing: Pricing | None = None
    noise: float = 1.0
    """Standard deviation between seeds that the plan reckons with, in points."""

    def count(self, status: Status) -> int:
        """Trials of a status."""
        return sum(p.status == status for p in self.planned)

    @property
    def is_assumed(self) -> bool:
        """Whether data are only assumed, so that this is for reckoning and no sweep will run it."""
        return any(isinstance(p.trial.config.design.data, AssumedData) for p in self.planned)

    @property
    def missing(self) -> list[Planned]:
        """What is missing, larger scales' trials first: they take longest, so the cores finish together."""
        missing = [p for p in self.planned if p.is_missing]
        order = {scale: place for place, scale in enumerate(self.spec.labels)}
        return sorted(missing, key=lambda p: -order[p.trial.config.scale])

    @property
    def is_priced(self) -> bool:
        """Whether its trials have prices."""
        return any(p.price for p in self.planned)

    @property
    def is_priced_on_gpus(self) -> bool:
        """Whether some are priced on GPUs."""
        return any(p.price and p.price.on_gpu for p in self.planned)

    def totals(self) -> dict[str, float | None]:
        """Of what is missing: samples, frames, tokens, FLOPs, GPU-hours (None where none is priced on a GPU), and GiB
        of weights to fetch, each once."""
        prices = [p.price for p in self.planned if p.price and p.is_missing]
        stages = [stage for price in prices for stage in price.stages]
        hours = [price.on_gpu.hours for price in prices if price.on_gpu]
        weights = {name: gib for price in prices for name, gib in price.weights_gib.items()}
        counts = ("samples", "frames", "visual_tokens", "text_tokens", "flops")
        return {
            **{name: sum(getattr(stage, name) for stage in stages) for name in counts},
            "gpu_hours": sum(hours) if hours else None,
            "weights_gib": sum(weights.values()),
        }

    def power(self) -> Power:
        """Which difference between its designs could be seen."""
        from analysis.noise import power

        return power(self.noise, len(self.spec.seeds), len({p.trial.design_key for p in self.planned}))

    def notes(self) -> list[str]:
        """What a plan with prices assumes, and which parts are not for commercial use."""
        data = dict.fromkeys(p.trial.config.design.data for p in self.planned if p.price)
        told = [sizes.note for sizes in map(sizes_of, data) if sizes.note]
        if self.is_priced_on_gpus:
            told.append(
                "GPU figures are for bf16 under FSDP, with checkpointing where it is needed; `ablate sweep` trains in "
                "fp32 on one device a trial, so far"
            )
        trained = {
            p.trial.config.model_copy(update={"design": _as_trained(p.trial.config.design)}).model_dump_json()
            for p in self.missing
        }
        if len(trained) < len(self.missing):
            told.append(
                f"{len(self.missing) - len(trained)} of the trials differ from another in test_sampling alone; each is "
                "trained anew and counted, for trained weights are not shared yet"
            )
        told += [f"not priced: {why}" for why in dict.fromkeys(p.unpriced for p in self.planned) if why]
        return [*told, *dict.fromkeys(note for p in self.planned if p.price for note in p.price.notes)]

    def _prices(self) -> dict[str, Any]:
        if self.pricing is None:
            return {}
        return {
            "utilisation": self.pricing.utilisation,
            "max_gpus": self.pricing.max_gpus,
            "notes": self.notes(),
            "totals": self.totals(),
            "power": asdict(self.power()),
        }

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
            "missing": len(self.missing),
            "failed": self.count("failed"),
            "warnings": self.warnings,
            **self._prices(),
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
                    **({"price": p.price.to_json()} if p.price else {}),
                }
                for p in self.planned
            ],
        }


def _as_trained(design: Design) -> Design:
    """The design without what enters after training."""
    return design.model_copy(update={"test_sampling": None})


def sweep_name(spec: SweepSpec) -> str:
    """What the sweep is called in runs and tables: its file's name."""
    return spec.source.path.stem


def make_plan(spec: SweepSpec, pricing: Pricing | None = None, noise: float = 1.0) -> Plan:
    """Compare what a spec declares with what the study's folders hold. Writes nothing.

    Args:
        spec: what is declared.
        pricing: against what GPU trials are priced; not at all where left out.
        noise: standard deviation between seeds to reckon with, in points.

    Raises:
        SpecError, UsageError: the spec or its data are wrong.
        InfeasibleError: a trial fits on no allowed number of the GPUs.
    """
    expansion = expand(spec)
    paths = study_paths(spec.study)
    _check_data(spec, expansion.trials)
    planned = []
    for trial in expansion.trials:
        _check_weights(spec, trial)
        if pricing is None:
            _check_model(spec, trial)
        record = folder_of(paths, trial.key).read()
        step = scale_card_of(trial.config)
        cpus = step.cpus if spec.resources.cpus is None else spec.resources.cpus
        gpus = step.gpus if spec.resources.gpus is None else spec.resources.gpus
        priced = _priced(spec, trial, gpus, pricing) if pricing else None
        planned.append(
            Planned(
                trial=trial,
                status=record.status if record else "new",
                cpus=cpus,
                gpus=gpus,
                price=priced if isinstance(priced, Price) else None,
                unpriced=priced if isinstance(priced, str) else None,
            )
        )
    return Plan(
        spec=spec,
        paths=paths,
        metric=known_metric(spec, expansion.trials[0].config.design.data),
        planned=planned,
        declared=expansion.declared,
        excluded=expansion.excluded,
        duplicate=expansion.duplicate,
        warnings=expansion.warnings,
        pricing=pricing,
        noise=noise,
    )


def _priced(spec: SweepSpec, trial: Trial, gpus: float, pricing: Pricing) -> Price | str:
    """A trial's price, or why it has none; one that asks for no GPU is priced on one where it was named."""
    if pricing.gpu is None and gpus:
        pricing = replace(pricing, gpu=gpu(DEFAULT))
    try:
        return price(trial.config, trial.label, pricing)
    except UncountedError as error:
        return str(error)
    except (ValueError, FileNotFoundError) as error:
        raise spec.source.error((), f"{trial.label}: {error}") from None
