"""How many GPUs a trial needs: peak memory of its largest micro-batch against the memory of a GPU."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from ablate.errors import InfeasibleError
from ablate.plan.data_sizes import KINDS, sizes_of
from ablate.plan.gpus import Gpu, gpus
from ablate.plan.load import StagePlan, model_of, sample_load
from models.cards import llm_card
from models.costs import (
    FRAMES_PER_MICRO_BATCH,
    POSITIONS_PER_MICRO_BATCH,
    Layout,
    Learning,
    Load,
    Memory,
    Model,
    TrainingStep,
    evaluation_memory,
    layouts,
    on_gpus,
    training_memory,
)
from models.design import Design, Stage, TrialConfig
from models.ladder import scale_card_of
from models.weights import UncountedError

UTILISATION = 0.4
"""Share of a GPU's peak that training reaches: assumed; good video-LMM trainers report 0.3 to 0.5."""
MAX_GPUS = 64
"""Most GPUs of one trial, unless `--max-gpus` is given."""
SEARCHED_GPUS = 4096
"""Most GPUs that a refusal considers when it looks for a number that would hold the trial."""
GPUS_PER_NODE = 8
"""GPUs of a node. Assumed where a trial's resources do not say it."""
USABLE = 0.9
"""Share of a GPU's memory that a trial may use: the rest is for the driver, the allocator and communication."""


@dataclass(frozen=True, kw_only=True)
class OnGpu:
    """Number of GPUs, memory and GPU-hours of a trial on one GPU model."""

    gpu: str
    gpus: int
    """The smallest power of two that holds it."""
    hours: float
    """GPU-hours."""
    layout: Layout
    """How the LLM lies on them, and whether it fits only with gradient checkpointing."""
    plain: Memory
    """Memory of each GPU for the longest sample, without gradient checkpointing."""
    checkpointed: Memory
    """The same with gradient checkpointing."""

    @property
    def checkpointing(self) -> bool:
        """Whether it fits only with gradient checkpointing."""
        return self.layout.checkpointing

    @property
    def memory(self) -> Memory:
        """Memory of each GPU, with gradient checkpointing if it is needed."""
        return self.checkpointed if self.checkpointing else self.plain

    def to_json(self) -> dict[str, Any]:
        """Object for `--json`; its keys are stable."""
        peaks = {name: asdict(one) | {"peak": one.peak} for name, one in self._memories.items()}
        own = {name: value for name, value in asdict(self).items() if name not in peaks}
        return own | {"checkpointing": self.checkpointing, "memory_bytes": peaks}

    @property
    def _memories(self) -> dict[str, Memory]:
        return {"plain": self.plain, "checkpointed": self.checkpointed}


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """Assumptions for the prices of trials."""

    gpu: Gpu | None
    """None: only trials that ask for GPUs get GPU-hours, on the default GPU."""
    utilisation: float = UTILISATION
    max_gpus: int = MAX_GPUS


def fit_on_gpus(
    config: TrialConfig, label: str, model: Model, stages: tuple[StagePlan, ...], pricing: Pricing
) -> OnGpu | None:
    """A trial on the smallest number of GPUs that holds its largest stage, without checkpointing if that fits.

    Raises:
        InfeasibleError: no allowed number of these GPUs holds it.
    """
    if pricing.gpu is None:
        return None
    devices = _min_gpus(config, model, pricing.gpu, pricing.max_gpus)
    if devices is None:
        raise _too_large(config, label, model, pricing)
    layout = layout_on(config, model, pricing.gpu, *_on_nodes(devices))
    plain, checkpointed = (_peak_memory(config, model, replace(layout, checkpointing=on)) for on in (False, True))
    flops = sum(stage.flops_checkpointed if layout.checkpointing else stage.flops for stage in stages)
    return OnGpu(
        gpu=pricing.gpu.name,
        gpus=devices,
        hours=flops / (pricing.gpu.tflops * 1e12 * pricing.utilisation) / 3600,
        layout=layout,
        plain=plain,
        checkpointed=checkpointed,
    )


def layout_on(config: TrialConfig, model: Model, gpu: Gpu, gpus: int, nodes: int = 1) -> Layout:
    """How a trial lies on a number of GPUs on each of some nodes: the first layout that fits, or the smallest."""
    candidates = layouts(model.llm.params, gpus, nodes)
    fitting = (one for one in candidates if _peak_memory(config, model, one).peak <= _usable_bytes(gpu))
    return next(fitting, candidates[-1])


def planned_layout(config: TrialConfig, gpu: Gpu, gpus: int, nodes: int) -> Layout:
    """How a trial lies on the GPUs that it asks for; where nothing can be counted, by the size of its LLM alone.

    Args:
        config: the trial.
        gpu: the model of the GPUs.
        gpus: number of GPUs on each node.
        nodes: number of nodes.
    """
    try:
        return layout_on(config, model_of(config), gpu, gpus, nodes)
    except (ValueError, FileNotFoundError, UncountedError):
        return layouts(llm_card(scale_card_of(config).llm).params, gpus, nodes)[1]  # with checkpointing


def _on_nodes(devices: int) -> tuple[int, int]:
    """GPUs on each node, and nodes."""
    return min(devices, GPUS_PER_NODE), max(1, devices // GPUS_PER_NODE)


def _usable_bytes(gpu: Gpu) -> float:
    return gpu.memory_gib * 2**30 * USABLE


def _min_gpus(config: TrialConfig, model: Model, gpu: Gpu, most: int) -> int | None:
    """The smallest power of two of GPUs that holds a trial, with checkpointing if needed; None if none up to `most`."""
    devices = 1
    while devices <= most:
        layout = layout_on(config, model, gpu, *_on_nodes(devices))
        if _peak_memory(config, model, layout).peak <= _usable_bytes(gpu):
            return devices
        devices *= 2
    return None


def _peak_memory(config: TrialConfig, model: Model, layout: Layout) -> Memory:
    """Memory of each GPU at the stage and kind of sample with the highest peak, or in the evaluation."""
    design, setting = config.design, on_gpus(layout.shard)
    memories = [
        training_memory(
            model,
            load,
            Learning.of(stage.lr),
            setting,
            TrainingStep(
                optimizer=design.optimizer.kind,
                samples=_samples_per_micro_batch(model, load),
                accumulates=stage.batch > _samples_per_micro_batch(model, load) * layout.gpus,
                checkpointing=layout.checkpointing,
            ),
        )
        for stage in design.schedule
        for load in _longest_samples(design, stage)
    ]
    test, last = _longest_item(design), Learning.of(design.schedule[-1].lr)
    memories.append(evaluation_memory(model, test, last, setting, _samples_per_micro_batch(model, test)))
    return max(memories, key=lambda memory: memory.peak)


def _samples_per_micro_batch(model: Model, load: Load) -> int:
    """Samples that a GPU processes at once; gradients are accumulated over the rest of a batch."""
    by_positions = POSITIONS_PER_MICRO_BATCH["cuda"] // max(1, load.length)
    return max(1, int(min(by_positions, FRAMES_PER_MICRO_BATCH // max(1, model.frames(load)))))


def _longest_samples(design: Design, stage: Stage) -> list[Load]:
    """The longest sample of each kind in a stage's mix; for videos, that of the longest duration."""
    data = sizes_of(design.data)
    mix = design.mix_of(stage)
    return [sample_load(design, data, kind, max(data.video_s), stage) for kind in KINDS if getattr(mix, kind)]


def _longest_item(design: Design) -> Load:
    """A test video of the longest duration with as much text as a training sample of the last stage."""
    data = sizes_of(design.data)
    test_design = design.model_copy(update={"sampling": design.test_sampling or design.sampling, "max_length": None})
    return sample_load(test_design, data, "video", max(data.video_s), design.schedule[-1])


def _too_large(config: TrialConfig, label: str, model: Model, pricing: Pricing) -> InfeasibleError:
    """The refusal, with needed and usable memory, and what would hold the trial: more of these GPUs, or others."""
    gpu = pricing.gpu
    assert gpu is not None
    devices = 2 ** int(math.log2(pricing.max_gpus))
    layout = layout_on(config, model, gpu, *_on_nodes(devices))
    plain, checkpointed = (_peak_memory(config, model, replace(layout, checkpointing=on)) for on in (False, True))
    need, bare = min(plain.peak, checkpointed.peak) / 2**30, (checkpointed.weights + checkpointed.optimizer) / 2**30
    breakdown = f"{bare:.1f} GiB of it weights and optimiser states" if bare > need / 2 else "most of it activations"
    more = _min_gpus(config, model, gpu, SEARCHED_GPUS)
    others = sorted(gpus().values(), key=lambda other: other.memory_gib)
    large = [o.name for o in others if _min_gpus(config, model, o, pricing.max_gpus) is not None]
    options = [
        *([f"{more} of them (--max-gpus {more})"] if more else []),
        *([f"{'one' if devices == 1 else f'up to {devices}'} of {' or '.join(large[:2])} (--gpu)"] if large else []),
    ]
    fits = f"It fits on {', or on '.join(options)}"
    if not options:
        fits = f"No GPU of `ablate plan --gpu` holds it, nor do up to {SEARCHED_GPUS} of these"
    return InfeasibleError(
        f"{label} needs {need:.1f} GiB on each of {devices} x {gpu.name} even with checkpointing "
        f"({plain.peak / 2**30:.1f} without; {breakdown}), where {gpu.memory_gib * USABLE:.1f} of {gpu.memory_gib:g} "
        f"are usable. {fits}. Fewer frames, fewer tokens a frame or a smaller LLM than {config.scale} need less"
    )
