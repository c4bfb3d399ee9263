"""What designs take at the scale that they may be promoted to: the prices of `ablate plan`, in one unit for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ablate.errors import InfeasibleError
from ablate.plan import DEFAULT, Price, Pricing, gpu, price
from models.design import Design, TrialConfig
from models.ladder import scale_card_of

if TYPE_CHECKING:
    from ablate.study import KnownDesigns
    from analysis.numbers import Floats
    from analysis.tables import ScoreTable

Unit = Literal["GPU-hours", "PFLOPs", "designs"]


def samples_of(wanted: int | None, table: ScoreTable, known: KnownDesigns) -> int | None:
    """Training samples at the large scale: as the user says, else as at the small scales, else as the spec says."""
    small = [int(one) for one in table.frame["samples"].dropna().unique()]
    return wanted or (small[0] if len(small) == 1 else known.samples)


def prices_of(
    designs: Mapping[str, Design], like: TrialConfig, gpu_name: str | None, utilisation: float
) -> dict[str, Price]:
    """What a trial of each design takes; those that nobody can price are left out.

    Args:
        designs: by name.
        like: a trial at the large scale: its scale and samples are those of all.
        gpu_name: the GPU that is meant; the usual one where left out and the scale asks for GPUs.
        utilisation: share of the GPU's peak that training reaches.

    Raises:
        UsageError: no such GPU.
        InfeasibleError: a design fits on no allowed number of the GPUs.
    """
    named = gpu_name if gpu_name is not None else DEFAULT if scale_card_of(like).gpus else None
    pricing = Pricing(gpu=None if named is None else gpu(named), utilisation=utilisation)
    found = dict[str, Price]()
    for name, design in designs.items():
        try:
            found[name] = price(like.model_copy(update={"design": design}), name, pricing)
        except InfeasibleError:
            raise
        except (ValueError, FileNotFoundError):
            continue  # nothing is known of a part's size: told in the notes
    return found


def costs_of(designs: Sequence[str], prices: Mapping[str, Price], num_seeds: int) -> tuple[Floats, Unit, list[str]]:
    """Cost of each design with all its seeds; those without a price cost as much as the dearest that has one."""
    if not prices:
        return np.ones(len(designs)), "designs", ["no design can be priced, so each counts as one"]
    on_gpu = all(price.on_gpu for price in prices.values())
    run = {n: b.on_gpu.hours if on_gpu and b.on_gpu else b.flops / 1e15 for n, b in prices.items()}
    dear = max(run.values())
    unpriced = [name for name in designs if name not in run]
    notes = [f"not priced, counted as the dearest: {', '.join(unpriced)}"] if unpriced else []
    costs_n = num_seeds * np.array([run.get(name, dear) for name in designs])
    return costs_n, "GPU-hours" if on_gpu else "PFLOPs", notes
