"""How many GPUs a trial needs: memory at the largest micro-batch against what a GPU has."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ablate.errors import InfeasibleError
from ablate.plan.data_sizes import KINDS, sizes_of
from ablate.plan.gpus import Gpu, gpus
from ablate.plan.load import StagePlan, _load
from models.costs import PLACES_AT_ONCE, Learning, Load, Memory, Model, on_gpus, training_memory
from models.design import Design, Stage, TrialConfig

UTILISATION = 0.4
"""Share of a GPU's peak that training reaches: assumed; good video-LMM trainers report 0.3 to 0.5."""
MAX_GPUS = 64
MOST_GPUS = 4096
"""Up to which a plan looks for a number of GPUs that would hold a trial, to say so."""
USABLE = 0.9
"""Share of a GPU's memory that a plan fills: the rest is the driver's, the allocator's and the communication's."""


@dataclass(frozen=True, kw_only=True)
class OnGpu:
    """What a trial takes of one kind of GPU."""

    gpu: str
    gpus: int
    """The fewest, a power of two, that hold it."""
    hours: float
    """GPU-hours."""
    checkpointing: bool
    """Whether it fits with gradient checkpointing alone."""
    plain: Memory
    """On each GPU, for the longest sample."""
    checkpointed: Memory

    @property
    def memory(self) -> Memory:
        """As it will run."""
        return self.checkpointed if self.checkpointing else self.plain

    def to_json(self) -> dict[str, Any]:
        """Stable object for programs."""
        peaks = {name: asdict(one) | {"peak": one.peak} for name, one in self._memories.items()}
        return {name: value for name, value in asdict(self).items() if name not in peaks} | {"memory_bytes": peaks}

    @property
    def _memories(self) -> dict[str, Memory]:
        return {"plain": self.plain, "checkpointed": self.checkpointed}


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """Against what trials are priced."""

    gpu: Gpu | None
    utilisation: float = UTILISATION
    max_gpus: int = MAX_GPUS


def _on_gpu(
    config: TrialConfig, label: str, model: Model, stages: tuple[StagePlan, ...], pricing: Pricing
) -> OnGpu | None:
    """The fewest GPUs that hold the hungriest stage, without checkpointing if they can."""
    if pricing.gpu is None:
        return None
    devices = _fewest(config, model, pricing.gpu, pricing.max_gpus)
    if devices is None:
        raise _too_large(config, label, model, pricing)
    plain, checkpointed = (_hungriest(config, model, devices, checkpointing=on) for on in (False, True))
    checkpointing = plain.peak > _room(pricing.gpu)
    flops = sum(stage.flops_checkpointed if checkpointing else stage.flops for stage in stages)
    return OnGpu(
        gpu=pricing.gpu.name,
        gpus=devices,
        hours=flops / (pricing.gpu.tflops * 1e12 * pricing.utilisation) / 3600,
        checkpointing=checkpointing,
        plain=plain,
        checkpointed=checkpointed,
    )


def _room(gpu: Gpu) -> float:
    return gpu.memory_gib * 2**30 * USABLE


def _fewest(config: TrialConfig, model: Model, gpu: Gpu, most: int) -> int | None:
    """The fewest GPUs, a power of two, that hold a trial, with checkpointing if they must; None: no number does."""
    devices = 1
    while devices <= most:
        if any(_hungriest(config, model, devices, checkpointing=on).peak <= _room(gpu) for on in (False, True)):
            return devices
        devices *= 2
    return None


def _hungriest(config: TrialConfig, model: Model, devices: int, *, checkpointing: bool) -> Memory:
    """Memory of the stage and sample that need most."""
    each = [
        training_memory(
            model,
            load,
            Learning.of(stage.lr),
            on_gpus(devices),
            optimizer=config.design.optimizer.kind,
            batch=_at_once(load),
            accumulates=stage.batch > _at_once(load) * devices,
            checkpointing=checkpointing,
        )
        for stage in config.design.schedule
        for load in _longest(config.design, stage)
    ]
    return max(each, key=lambda memory: memory.peak)


def _at_once(load: Load) -> int:
    """Samples that a GPU has in memory at once; the rest of a batch is accumulated."""
    return max(1, int(PLACES_AT_ONCE["cuda"] // max(1, load.length)))


def _longest(design: Design, stage: Stage) -> list[Load]:
    """The longest sample of each kind that a stage sees; of videos it is the longest video."""
    data = sizes_of(design.data)
    mix = design.mix_of(stage)
    return [_load(design, data, kind, max(data.video_s), stage) for kind in KINDS if getattr(mix, kind)]


def _too_large(config: TrialConfig, label: str, model: Model, pricing: Pricing) -> InfeasibleError:
    """Both numbers, and what was found to hold it: more of these GPUs, or as many of others."""
    gpu = pricing.gpu
    assert gpu is not None
    devices = 2 ** int(math.log2(pricing.max_gpus))
    plain, checkpointed = (_hungriest(config, model, devices, checkpointing=on) for on in (False, True))
    need, bare = min(plain.peak, checkpointed.peak) / 2**30, (checkpointed.weights + checkpointed.optimizer) / 2**30
    held = f"{bare:.1f} GiB of it weights and optimiser states" if bare > need / 2 else "most of it activations"
    more = _fewest(config, model, gpu, MOST_GPUS)
    others = sorted(gpus().values(), key=lambda other: other.memory_gib)
    large = [o.name for o in others if _fewest(config, model, o, pricing.max_gpus) is not None]
    mends = [
        *([f"{more} of them (--max-gpus {more})"] if more else []),
        *([f"{'one' if devices == 1 else f'up to {devices}'} of {' or '.join(large[:2])} (--gpu)"] if large else []),
    ]
    fits = f"It fits on {', or on '.join(mends)}" if mends else f"No GPU known holds it, nor up to {MOST_GPUS} of these"
    return InfeasibleError(
        f"{label} needs {need:.1f} GiB on each of {devices} x {gpu.name} even with checkpointing "
        f"({plain.peak / 2**30:.1f} without; {held}), where {gpu.memory_gib * USABLE:.1f} of {gpu.memory_gib:g} are "
        f"usable. {fits}. Less is needed with fewer frames or tokens a frame, or a smaller LLM than {config.scale}"
    )
