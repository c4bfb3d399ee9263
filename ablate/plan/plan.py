"""Plans: which trials of a spec are done, which are missing, and what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablate.paths import StudyPaths, study_paths
from ablate.plan.checks import check_data, check_model, check_weights, data_warnings
from ablate.plan.data_sizes import sizes_of
from ablate.plan.fit import Pricing, planned_layout
from ablate.plan.gpu_hours import OpenPrice, open_prices, price_notes
from ablate.plan.gpus import DEFAULT, gpu
from ablate.plan.prices import Price, price
from ablate.plan.scale_warnings import scale_warnings
from ablate.record import RecordError, StudyFacts, facts, folder_of, report_damage
from ablate.spec import NEVER_RETRIED, SweepSpec, Trial, expand, ranking_metric
from models.costs import Layout
from models.data import left_out
from models.design import AssumedData, Design, ManifestData
from models.ladder import rate_note, rates_of, scale_card_of
from models.weights import UncountedError

if TYPE_CHECKING:
    from analysis.noise import Power


Status = Literal["done", "failed", "unfinished", "new", "damaged"]
"""`damaged`: its record cannot be read. A sweep does not run it again over records that may be worth restoring."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A declared trial with its status, resources and price."""

    trial: Trial
    status: Status
    cpus: float
    """CPU cores on each node."""
    gpus: float
    """GPUs on each node."""
    nodes: int = 1
    price: Price | None = None
    """None if prices were not asked for, it cannot be priced, or the trainer is the user's own."""
    layout: Layout | None = None
    """How ablate's own trainer lays the LLM on the trial's GPUs; None without GPUs."""
    open_price: OpenPrice | None = None
    """The same for a trial of the user's own trainer."""
    unpriced: str | None = None
    """Why it cannot be priced; None if it is, or prices were not asked for."""

    @property
    def llm_rate(self) -> float:
        """Highest peak learning rate of the LLM in any stage, at the trial's scale; 0 if the LLM is frozen."""
        config = self.trial.own_config
        return max(rates_of(config, stage).llm for stage in config.design.schedule)

    @property
    def is_missing(self) -> bool:
        """Whether the sweep would run it: failed and unfinished trials are run again."""
        return self.status not in ("done", "damaged")


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
    lower_is_better: bool = False
    """Whether lower scores of the metric are better."""
    pricing: Pricing | None = None
    noise: float = 1.0
    """Standard deviation of scores between seeds, in points, as stated."""

    def count(self, status: Status) -> int:
        """Number of trials with a status."""
        return sum(p.status == status for p in self.planned)

    @property
    def is_assumed(self) -> bool:
        """Whether the data of a trial are only assumed: such plans show costs, and no sweep runs them."""
        if self.spec.is_open:
            return False
        return any(isinstance(p.trial.own_config.design.data, AssumedData) for p in self.planned)

    @property
    def missing(self) -> list[Planned]:
        """The missing trials, those at larger scales first: they take longest, so that all cores finish together."""
        missing = [p for p in self.planned if p.is_missing]
        order = {scale: index for index, scale in enumerate(self.spec.labels)}
        return sorted(missing, key=lambda p: -order[p.trial.config.scale])

    @property
    def is_priced(self) -> bool:
        """Whether any trial has a price."""
        return any(p.price or p.open_price for p in self.planned)

    @property
    def is_priced_on_gpus(self) -> bool:
        """Whether any trial is priced on GPUs."""
        return any(p.price and p.price.on_gpu for p in self.planned)

    def totals(self) -> dict[str, float | None]:
        """Totals of the missing trials: training samples, frames, tokens, FLOPs, GPU-hours (None if none is priced on a
        GPU), and GiB of weights to download, each counted once. With the user's own trainer training samples (None if
        the spec does not state them) and GPU-hours."""
        if self.spec.is_open:
            return self._open_totals()
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

    def _open_totals(self) -> dict[str, float | None]:
        samples = self.spec.trial_samples
        hours = [p.open_price.gpu_hours for p in self.missing if p.open_price]
        return {
            "samples": None if samples is None else samples * len(self.missing),
            "gpu_hours": sum(hours) if hours else None,
        }

    def power(self) -> Power:
        """The differences between designs that the sweep can detect."""
        from analysis.noise import power

        return power(self.noise, len(self.spec.seeds), len({p.trial.design_key for p in self.planned}))

    def notes(self) -> list[str]:
        """Assumptions of the prices, trials without one, and parts whose licence forbids commercial use."""
        if self.spec.is_open:
            prices = {p.trial.config.scale: p.open_price for p in self.planned if p.open_price}
            return price_notes(self.spec, prices)
        data = dict.fromkeys(p.trial.own_config.design.data for p in self.planned if p.price)
        notes = [sizes.note for sizes in map(sizes_of, data) if sizes.note]
        notes += dict.fromkeys(note for p in self.planned for note in _turns_left_out(p.trial.own_config.design))
        notes += dict.fromkeys(note for p in self.planned if (note := rate_note(p.trial.own_config)))
        if self.is_priced_on_gpus:
            notes.append("GPU figures are for bf16 under FSDP, with checkpointing where it is needed")
        trained = {
            p.trial.own_config.model_copy(update={"design": _as_trained(p.trial.own_config.design)}).model_dump_json()
            for p in self.missing
        }
        if len(trained) < len(self.missing):
            notes.append(
                f"{len(self.missing) - len(trained)} of the trials differ from another in test_sampling alone; each is "
                "trained and counted separately, since trained weights are not shared yet"
            )
        notes += [f"not priced: {reason}" for reason in dict.fromkeys(p.unpriced for p in self.planned) if reason]
        return [*notes, *dict.fromkeys(note for p in self.planned if p.price for note in p.price.notes)]

    def _prices(self) -> dict[str, Any]:
        if self.pricing is None:
            return {}
        assumed = {"utilisation": self.pricing.utilisation, "max_gpus": self.pricing.max_gpus}
        return {
            **({} if self.spec.is_open else assumed),
            "notes": self.notes(),
            "totals": self.totals(),
            "power": asdict(self.power()),
        }

    def to_json(self) -> dict[str, Any]:
        """Object for `--json`; its keys are stable."""
        limits = self.spec.limits
        return {
            "study": self.spec.study,
            "sweep": sweep_name(self.spec),
            "metric": self.metric,
            "lower_is_better": self.lower_is_better,
            "declared": self.declared,
            "excluded": self.excluded,
            "duplicate": self.duplicate,
            "done": self.count("done"),
            "missing": len(self.missing),
            "failed": self.count("failed"),
            "damaged": self.count("damaged"),
            "warnings": self.warnings,
            "limits": {
                **{f"{name}_s": getattr(limits, name) for name in ("trial", "silence", "sweep")},
                "gpu_hours": limits.gpu_hours,
                "failures": limits.failures,
            },
            "retries": self.spec.retries.model_dump() | dict.fromkeys(NEVER_RETRIED, 0),
            **self._prices(),
            "trials": [self._trial_json(p) for p in self.planned],
        }

    def _trial_json(self, p: Planned) -> dict[str, Any]:
        price = p.price or p.open_price
        return {
            "key": p.trial.key,
            "label": p.trial.label,
            "design": p.trial.design_label,
            "design_key": p.trial.design_key,
            "scale": p.trial.config.scale,
            "seed": p.trial.config.seed,
            "samples": p.trial.config.samples,
            **({} if self.spec.is_open else {"llm_lr": p.llm_rate}),
            "axes": p.trial.axes,
            "status": p.status,
            "cpus": p.cpus,
            "gpus": p.gpus,
            "nodes": p.nodes,
            **({"layout": asdict(p.layout)} if p.layout else {}),
            **({"price": price.to_json()} if price else {}),
        }


def _turns_left_out(design: Design) -> list[str]:
    """What the stages leave out of the dialogues of a manifest."""
    if not isinstance(design.data, ManifestData):
        return []
    lengths, name = sizes_of(design.data).dialogues, Path(design.data.folder).name
    sentences = [left_out(lengths, stage, design.mix_of(stage)) for stage in design.schedule]
    return [f"{name}: {sentence}" for sentence in sentences if sentence]


def _as_trained(design: Design) -> Design:
    """The design without fields that are used only after training."""
    return design.model_copy(update={"test_sampling": None})


def sweep_name(spec: SweepSpec) -> str:
    """Name of the sweep in runs and tables: the name of its file."""
    return spec.source.path.stem


def make_plan(spec: SweepSpec, pricing: Pricing | None = None, noise: float = 1.0) -> Plan:
    """Compare the trials that a spec declares with those in the study's folders. Writes nothing.

    Args:
        spec: declares the trials.
        pricing: assumptions for prices; no prices if omitted.
        noise: standard deviation of scores between seeds, in points.

    Raises:
        SpecError, UsageError: the spec or its data are wrong.
        InfeasibleError: no allowed number of the GPUs holds a trial.
    """
    paths = study_paths(spec.study)
    _refuse_other_kind(spec, facts(paths))
    expansion = expand(spec)
    warnings = list(expansion.warnings)
    if spec.is_open:
        prices = open_prices(spec, paths) if pricing else {}
        planned = [_plan_open_trial(spec, trial, paths, prices) for trial in expansion.trials]
    else:
        check_data(spec, expansion.trials)
        planned = [_plan_trial(spec, trial, paths, pricing) for trial in expansion.trials]
        warnings += data_warnings(expansion.trials)
    warnings += scale_warnings(spec)
    metric = _metric(spec, expansion.trials[0])
    lower_is_better, conflict = _direction(spec, metric, facts(paths))
    return Plan(
        spec=spec,
        paths=paths,
        metric=metric,
        planned=planned,
        declared=expansion.declared,
        excluded=expansion.excluded,
        duplicate=expansion.duplicate,
        warnings=[*warnings, *conflict],
        lower_is_better=lower_is_better,
        pricing=pricing,
        noise=noise,
    )


def _refuse_other_kind(spec: SweepSpec, study: StudyFacts) -> None:
    """Refuse to mix trials of ablate's own trainer and of a user's: their designs have no axis in common.

    Raises:
        SpecError: sweeps of the study ran with the other one.
    """
    if study.metric is None or spec.is_open == bool(study.specs):
        return
    kind = f"a trainer of your own ({study.specs[-1]})" if study.specs else "ablate's own trainer"
    raise spec.source.error(("study",), f"the trials of {spec.study} are of {kind}; choose another name for this study")


def _metric(spec: SweepSpec, trial: Trial) -> str:
    """The metric to rank by."""
    if spec.user_trainer is not None:
        return spec.user_trainer.metric.name
    return ranking_metric(spec, trial.own_config.design.data)


def _direction(spec: SweepSpec, metric: str, study: StudyFacts) -> tuple[bool, list[str]]:
    """Whether lower scores are better, and a sentence if the study ranked this metric the other way until now.

    Where a spec of ablate's own trainer does not state it, the study's direction stays: that of imported scores.
    """
    stated = spec.user_trainer.metric if spec.user_trainer is not None else spec.metric
    if stated is None or (not spec.is_open and "lower_is_better" not in stated.model_fields_set):
        return study.is_lower_better(metric), []
    if metric not in study.directions or study.directions[metric] == stated.lower_is_better:
        return stated.lower_is_better, []
    better = {True: "lower", False: "higher"}
    return stated.lower_is_better, [
        f"earlier sweeps of the study ranked {metric} with {better[study.directions[metric]]} scores as better; from "
        f"this sweep on {better[stated.lower_is_better]} ones are"
    ]


def _plan_open_trial(spec: SweepSpec, trial: Trial, paths: StudyPaths, prices: Mapping[str, OpenPrice]) -> Planned:
    """The status, resources and price of a trial of the user's own trainer; one CPU core if the spec states none."""
    resources = spec.resources_at(trial.config.scale)
    return Planned(
        trial=trial,
        status=_status(paths, trial),
        cpus=resources.cpus or 1,
        gpus=resources.gpus or 0,
        nodes=resources.nodes or 1,
        open_price=prices.get(trial.config.scale),
    )


def _plan_trial(spec: SweepSpec, trial: Trial, paths: StudyPaths, pricing: Pricing | None) -> Planned:
    """Check a trial's parts, read its status and price it."""
    check_weights(spec, trial)
    if pricing is None:  # a price checks the model itself
        check_model(spec, trial)
    scale, resources = scale_card_of(trial.own_config), spec.resources_at(trial.config.scale)
    gpus = scale.gpus if resources.gpus is None else resources.gpus
    nodes, on = resources.nodes or 1, (pricing and pricing.gpu) or gpu(DEFAULT)
    priced = _price_or_reason(spec, trial, gpus, pricing) if pricing else None
    return Planned(
        trial=trial,
        status=_status(paths, trial),
        cpus=scale.cpus if resources.cpus is None else resources.cpus,
        gpus=gpus,
        nodes=nodes,
        layout=planned_layout(trial.own_config, on, int(gpus), nodes) if gpus >= 1 else None,
        price=priced if isinstance(priced, Price) else None,
        unpriced=priced if isinstance(priced, str) else None,
    )


def _status(paths: StudyPaths, trial: Trial) -> Status:
    """Status by the trial's record; damage is logged."""
    try:
        record = folder_of(paths, trial.key).read()
    except RecordError as error:
        report_damage(error)
        return "damaged"
    return record.status if record else "new"


def _price_or_reason(spec: SweepSpec, trial: Trial, gpus: float, pricing: Pricing) -> Price | str:
    """A trial's price, or why it has none. A trial that asks for GPUs is priced on the default if none is named."""
    if pricing.gpu is None and gpus:
        pricing = replace(pricing, gpu=gpu(DEFAULT))
    try:
        return price(trial.own_config, trial.label, pricing)
    except UncountedError as error:
        return str(error)
    except (ValueError, FileNotFoundError) as error:
        raise spec.source.error((), f"{trial.label}: {error}") from None
