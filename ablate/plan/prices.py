"""What a planned trial is made of and takes: parameters, tokens, FLOPs, memory, GPU-hours, disk. No torch.

Frames and tokens come from the formula of the real sampler, FLOPs and memory from models/costs. What is assumed, and
how far the formulas are from measurements, is in docs/plan.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ablate.plan.data_sizes import sizes_of
from ablate.plan.fit import OnGpu, Pricing, _on_gpu
from ablate.plan.load import StagePlan, _load, _stage_plan, model_of
from models.cards import LLMS, EncoderCard, LlmCard
from models.costs import Model
from models.design import TrialConfig


@dataclass(frozen=True, kw_only=True)
class TowerSize:
    """The size of an encoder."""

    id: str
    params: int
    """Of the published tower."""
    params_run: int
    """Of what is loaded: blocks behind the feature are not."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one trial is made of and takes."""

    params: dict[str, int]
    """Of each part, as loaded."""
    encoders: tuple[TowerSize, ...]
    frames: float
    """Frames of a training video, on average."""
    visual_tokens: float
    """Visual tokens of a training video, on average."""
    text_tokens: float
    """Text tokens of a training video's sample, on average."""
    flops: float
    """Of the whole training, without what checkpointing computes again."""
    stages: tuple[StagePlan, ...]
    weights_gib: dict[str, float]
    """What is to be fetched -> its size, in fp32 for encoders and bf16 for the LLM."""
    on_gpu: OnGpu | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Stable object for programs."""
        return asdict(self) | {"on_gpu": self.on_gpu.to_json() if self.on_gpu else None}


def price(config: TrialConfig, label: str, pricing: Pricing) -> Price:
    """The price of a trial.

    Raises:
        InfeasibleError: no allowed number of these GPUs holds it.
        ValueError: nothing is known of an encoder or LLM.
    """
    design, data = config.design, sizes_of(config.design.data)
    model = model_of(config)
    videos = [_load(design, data, "video", seconds, design.schedule[-1]) for seconds in data.video_s]
    stages = tuple(_stage_plan(config, model, data, stage) for stage in design.schedule)
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
        weights_gib=_to_fetch(model),
        notes=(*_licences(model), *_unknowns(model), *_too_long(model, max(load.length for load in videos))),
        on_gpu=_on_gpu(config, label, model, stages, pricing),
    )


def _licences(model: Model) -> list[str]:
    cards: tuple[EncoderCard | LlmCard, ...] = (*model.encoders, model.llm)
    return [f"{card.id}: {card.licence}, not for commercial use" for card in cards if _is_barred(card)]


def _unknowns(model: Model) -> list[str]:
    return [
        f"{card.id}: an encoder of your own is reckoned at two FLOPs a weight and place, and no activations"
        for card in model.encoders
        if card.kind == "custom"
    ]


def _too_long(model: Model, length: float) -> list[str]:
    """An LLM is seldom good beyond the positions that it was made for."""
    most = model.llm.max_positions
    if most is None or length <= most:
        return []
    return [f"{model.llm.id}: the longest video makes {length:,.0f} tokens, its positions go to {most:,}"]


def _to_fetch(model: Model) -> dict[str, float]:
    """Published weights -> GiB; shipped parts and folders are here."""
    encoders = {card.id: 4 * card.params / 2**30 for card in model.encoders if card.published}
    return encoders | ({model.llm.id: 2 * model.llm.params / 2**30} if model.llm.id in LLMS else {})


def _is_barred(card: EncoderCard | LlmCard) -> bool:
    return not card.commercial and card.licence not in ("unknown", "none")
