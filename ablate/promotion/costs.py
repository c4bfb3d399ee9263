"""Costs of designs at the scale that they may be promoted to: the prices of `ablate plan`, in one unit for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ablate.errors import InfeasibleError
from ablate.paths import study_paths
from ablate.plan import DEFAULT, Price, Pricing, gpu, open_prices, price
from models.design import Design, TrialConfig
from models.ladder import scale_card_of

if TYPE_CHECKING:
    from ablate.promotion.own_trainer import OwnTrainer
    from ablate.study import KnownDesigns
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

Unit = Literal["GPU-hours", "PFLOPs", "designs"]


def samples_of(train_samples: int | None, table: ScoreTable, designs: KnownDesigns) -> int | None:
    """Number of training samples at the large scale: `--train-samples`, else that of the scores, else that of the spec.

    None where the scores have several and no spec declares one.
    """
    numbers = [int(one) for one in table.frame["samples"].dropna().unique()]
    return train_samples or (numbers[0] if len(numbers) == 1 else designs.samples)


def prices_of(
    designs: Mapping[str, Design], like: TrialConfig, gpu_name: str | None, utilisation: float
) -> dict[str, Price]:
    """The price of a trial of each design; designs that cannot be priced are missing.

    Args:
        designs: by name.
        like: a trial at the large scale: its scale and number of samples are those of all.
        gpu_name: the GPU to price against; the default one if omitted and the scale needs GPUs.
        utilisation: share of the GPU's peak that training reaches.

    Raises:
        UsageError: no such GPU.
        InfeasibleError: a design fits on no allowed number of the GPUs.
    """
    named = gpu_name if gpu_name is not None else DEFAULT if scale_card_of(like).gpus else None
    pricing = Pricing(gpu=None if named is None else gpu(named), utilisation=utilisation)
    prices = dict[str, Price]()
    for name, design in designs.items():
        try:
            prices[name] = price(like.model_copy(update={"design": design}), name, pricing)
        except InfeasibleError:
            raise
        except (ValueError, FileNotFoundError):
            continue  # the size of a part is unknown; costs_of() adds a note
    return prices


def costs_of(designs: Sequence[str], prices: Mapping[str, Price], num_seeds: int) -> tuple[Floats, Unit, list[str]]:
    """Cost of each design with all its seeds, its unit, and notes; a missing price counts as the highest price."""
    if not prices:
        return np.ones(len(designs)), "designs", ["no design can be priced, so each has a cost of 1"]
    on_gpu = all(price.on_gpu for price in prices.values())
    run = {n: b.on_gpu.hours if on_gpu and b.on_gpu else b.flops / 1e15 for n, b in prices.items()}
    highest = max(run.values())
    unpriced = [name for name in designs if name not in run]
    notes = [f"not priced, so counted as the most expensive: {', '.join(unpriced)}"] if unpriced else []
    costs_n = num_seeds * np.array([run.get(name, highest) for name in designs])
    return costs_n, "GPU-hours" if on_gpu else "PFLOPs", notes


def costs_of_own_trainer(
    trainer: OwnTrainer, hours: Mapping[str, float], large: str, num: tuple[int, int]
) -> tuple[Floats, Unit, list[str]]:
    """Cost of each design of the user's own trainer with all its seeds, its unit, and notes.

    Args:
        trainer: the trainer.
        hours: scale -> GPU-hours of one run there, from `hours_by_scale`.
        large: label of the large scale.
        num: numbers of designs and of seeds.
    """
    num_designs, num_seeds = num
    if large in hours:
        return np.full(num_designs, num_seeds * hours[large]), "GPU-hours", []
    reason, remedy = unknown_cost(trainer, large)
    note = f"the cost of a trial at {large} is {reason}, so each design has a cost of 1; {remedy}"
    return np.ones(num_designs), "designs", [note]


def unknown_cost(trainer: OwnTrainer, large: str) -> tuple[str, str]:
    """Why the cost of a trial of the user's own trainer is unknown at a scale, and what to write."""
    spec = trainer.spec
    has_gpus = spec is None or large not in spec.labels or bool(spec.resources_at(large).gpus)
    reason = "neither stated nor measured" if has_gpus else "not stated, nor measured in GPU-hours, since it has no GPU"
    path = "the spec of your trainer" if spec is None else spec.source.path
    return reason, f"state it in {path}, e.g. cost: {{gpu_hours: {{{large}: 60}}}}"


def hours_by_scale(trainer: OwnTrainer, study: str, samples: int | None) -> dict[str, float]:
    """Scale -> GPU-hours of one trial of the user's own trainer: measured if any has finished there, else as stated.

    Args:
        trainer: the trainer; of its specs, the latest that has a cost counts.
        study: name of the study.
        samples: number of training samples of the new trials: costs are in proportion to it.
    """
    hours: dict[str, float] = {}
    for spec in reversed(trainer.specs):
        ratio = samples / spec.trial_samples if samples and spec.trial_samples else 1.0
        hours |= {label: ratio * one.gpu_hours for label, one in open_prices(spec, study_paths(study)).items()}
    return hours
