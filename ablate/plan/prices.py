"""The price of a planned trial: parameters, tokens, FLOPs, memory, GPU-hours, weights to download. No torch.

Frames and tokens come from the formula of the real sampler, FLOPs and memory from models/costs. docs/plan.md lists the
assumptions, and the errors of the formulas against measurements.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ablate.plan.data_sizes import sizes_of
from ablate.plan.fit import OnGpu, Pricing, fit_on_gpus
from ablate.plan.load import StagePlan, model_of, sample_load, stage_plan
from models.cards import LLMS, EncoderCard, LlmCard
from models.costs import POSITIONS_PER_MICRO_BATCH, Model
from models.design import TrialConfig


@dataclass(frozen=True, kw_only=True)
class TowerSize:
    """The size of an encoder."""

    id: str
    params: int
    """Parameters of the published encoder."""
    params_run: int
    """Parameters that are loaded: blocks after the output feature are not."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Size and cost of one trial."""

    params: dict[str, int]
    """Part (vision, connector, llm) -> its parameters, as loaded."""
    encoders: tuple[TowerSize, ...]
    frames: float
    """Mean number of frames of a training video."""
    visual_tokens: float
    """Mean number of visual tokens of a training video."""
    text_tokens: float
    """Mean number of text tokens of a video sample."""
    flops: float
    """FLOPs of the whole training, without recomputation by gradient checkpointing."""
    stages: tuple[StagePlan, ...]
    weights_gib: dict[str, float]
    """Weights to download -> GiB, in fp32 for encoders and bf16 for the LLM."""
    on_gpu: OnGpu | None = None
    """None if no GPU is priced."""
    notes: tuple[str, ...] = ()
    """Licences and assumptions to report, one sentence each."""

    @property
    def empty_positions(self) -> dict[str, float]:
        """Device type -> expected share of all computed positions that are padding; 0 without a step."""
        shares: dict[str, float] = {}
        for device in POSITIONS_PER_MICRO_BATCH:
            used = [(stage.visual_tokens + stage.text_tokens, stage.empty_positions[device]) for stage in self.stages]
            computed = sum(tokens / (1 - empty) for tokens, empty in used)
            shares[device] = 1 - sum(tokens for tokens, _ in used) / computed if computed else 0.0
        return shares

    def to_json(self) -> dict[str, Any]:
        """Object for `--json`; its keys are stable."""
        return asdict(self) | {
            "empty_positions": self.empty_positions,
            "on_gpu": self.on_gpu.to_json() if self.on_gpu else None,
        }


def price(config: TrialConfig, label: str, pricing: Pricing) -> Price:
    """The price of a trial.

    Args:
        config: the trial.
        label: its label, for messages.
        pricing: GPU, utilisation and the most GPUs of a trial.

    Raises:
        InfeasibleError: no allowed number of these GPUs holds it.
        ValueError: the sizes of an encoder or LLM are unknown.
    """
    design, data = config.design, sizes_of(config.design.data)
    model = model_of(config)
    stages = tuple(stage_plan(config, model, data, stage) for stage in design.schedule)
    videos = [sample_load(design, data, "video", seconds, design.schedule[-1]) for seconds in data.video_s]
    clips = [load.clips for load in videos]
    text, visual = (sum(getattr(load, name) for load in videos) / len(videos) for name in ("text", "visual"))
    flops = sum(stage.flops for stage in stages)
    return Price(
        params=model.params,
        encoders=tuple(TowerSize(id=c.id, params=c.params, params_run=c.params_run) for c in model.encoders),
        frames=sum(clips) / len(clips) * design.clip_frames,
        visual_tokens=visual,
        text_tokens=text,
        flops=flops,
        stages=stages,
        weights_gib=_downloads(model),
        notes=(
            *_licences(model),
            *_unknowns(model),
            *_too_long(model, max(load.length for load in videos)),
            *_left_out(design.max_length, stages),
        ),
        on_gpu=fit_on_gpus(config, label, model, stages, pricing),
    )


def _licences(model: Model) -> list[str]:
    cards: tuple[EncoderCard | LlmCard, ...] = (*model.encoders, model.llm)
    return [f"{card.id}: {card.licence}, not for commercial use" for card in cards if _is_non_commercial(card)]


def _unknowns(model: Model) -> list[str]:
    return [
        f"{card.id}: a custom encoder is assumed to take two FLOPs a weight and grid cell, and no activation memory"
        for card in model.encoders
        if card.kind == "custom"
    ]


def _too_long(model: Model, length: float) -> list[str]:
    """A note if the longest video exceeds the positions that the LLM was trained for: few LLMs extrapolate well."""
    most = model.llm.max_positions
    if most is None or length <= most:
        return []
    return [f"{model.llm.id}: the longest video makes {length:,.0f} tokens, but the LLM has {most:,} positions"]


def _left_out(max_length: int | None, stages: tuple[StagePlan, ...]) -> list[str]:
    """What `max_length` leaves out, a sentence for each stage in which samples are longer."""
    return [
        f"`max_length: {max_length}` shortens {one.samples:.1%} of the samples of stage {stage.name!r}: "
        f"{one.clips:.1%} of all clips and {one.turns:.1%} of all questions are left out"
        + (f"; {one.longer:.1%} are still longer with one clip of each video and one question" if one.longer else "")
        for stage in stages
        if (one := stage.left_out).samples
    ]


def _downloads(model: Model) -> dict[str, float]:
    """Published weights -> GiB to download; shipped parts and folders need none."""
    encoders = {card.id: 4 * card.params / 2**30 for card in model.encoders if card.published}
    return encoders | ({model.llm.id: 2 * model.llm.params / 2**30} if model.llm.id in LLMS else {})


def _is_non_commercial(card: EncoderCard | LlmCard) -> bool:
    return not card.commercial and card.licence not in ("unknown", "none")
