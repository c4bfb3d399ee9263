"""The sizes of a trial's model, and the frames and tokens of its stages: the input of the cost formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ablate.plan.data_sizes import KINDS, Sizes
from models.cards import encoder_card, llm_card
from models.costs import Learning, Load, Model, training_flops
from models.data import Kind
from models.design import Design, ManifestData, Mix, Perceiver, Split, Stage, TinyData, TrialConfig, warmup_steps
from models.ladder import rates_of, scale_card_of
from models.video import largest, num_clips, pooled_shape

SEPARATORS_PER_CLIP = 2
"""`<vid_start>` and `<vid_end>` are one token each."""
NATIVE_SIDE = 1920
"""Longer side in pixels of frames that are read as they are. Assumed: 1080p."""
TINY_SIDE = 32
"""Side in pixels of the embedded study's frames."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage of training, with its totals."""

    name: str
    samples: int
    batch: int
    steps: int
    warmup_steps: int
    lr: dict[str, float]
    """Peak learning rate of each part at this scale."""
    mix: dict[str, float]
    """Kind of sample -> its share."""
    frames: float
    """Frames and images that are read in the whole stage, each once for a sample."""
    visual_tokens: float
    text_tokens: float
    flops: float
    """FLOPs of the whole stage, without recomputation by gradient checkpointing."""
    flops_checkpointed: float
    """FLOPs of the whole stage, with recomputation by gradient checkpointing."""


def model_of(config: TrialConfig) -> Model:
    """The sizes of a trial's model.

    Raises:
        ValueError: the sizes of an encoder or LLM are unknown, or parts do not fit together.
    """
    design = config.design
    cards = tuple(encoder_card(encoder) for encoder in design.encoders)
    grid = largest([card.grid for card in cards])
    split = design.image_path if isinstance(design.image_path, Split) else None
    model = Model(
        encoders=cards,
        takes=tuple(grid[0] if card.frames == 1 else card.frames for card in cards),
        resampler=design.resampler,
        grid=grid,
        tokens_per_clip=design.tokens_per_clip,
        llm=llm_card(scale_card_of(config).llm),
        image_encoders=tuple(design.image_encoders) if split else (),
        tokens_per_image=split.tokens_per_image if split else 0,
        has_separators=design.integration.separators,
        lora=design.lora,
    )
    if not isinstance(design.resampler, Perceiver):
        pooled_shape(model.tokens_per_clip, model.grid)
        if split:
            pooled_shape(model.tokens_per_image, model.image_grid)
    return model


def sample_load(design: Design, data: Sizes, kind: Kind, seconds: float, stage: Stage) -> Load:
    """Clips, images and tokens of one training sample.

    Args:
        design: the design.
        data: sizes of the data.
        kind: the kind of sample.
        seconds: duration of each of its videos; not used for other kinds.
        stage: limits the questions per sample.
    """
    tokens, target_tokens = data.text_tokens[kind]
    turns = data.turns[kind] if stage.max_questions is None else min(stage.max_questions, data.turns[kind])
    text, targets = turns * tokens, turns * target_tokens
    extra = SEPARATORS_PER_CLIP * design.integration.separators
    side = _frame_side(design)
    if kind == "text":
        return Load(clips=0, visual=0, text=text, targets=targets, frame_side=side)
    if kind == "video":
        clips = data.videos * num_clips(seconds, design.sampling, design.clip_frames)
        extra += data.timestamp_tokens * design.integration.timestamps
        return Load(
            clips=clips,
            visual=clips * design.tokens_per_clip,
            text=text + clips * extra,
            targets=targets,
            frame_side=side,
        )
    count = data.images if kind == "multi_image" else 1
    has_image_path = isinstance(design.image_path, Split)
    return Load(
        clips=0 if has_image_path else count,
        stills=0 if has_image_path else count,
        images=count if has_image_path else 0,
        visual=count * design.tokens_per_image,
        text=text + count * extra,
        targets=targets,
        frame_side=side,
    )


def _frame_side(design: Design) -> int:
    """Pixels of the longer side at which frames are read."""
    match design.data:
        case ManifestData(max_side=None):
            return NATIVE_SIDE
        case ManifestData(max_side=int(side)):
            return side
        case TinyData():
            return TINY_SIDE
        case _:
            return Load.frame_side


def stage_plan(config: TrialConfig, model: Model, data: Sizes, stage: Stage) -> StagePlan:
    """Steps, learning rates, frames, tokens and FLOPs of one stage of a trial."""
    design = config.design
    mix, learning = design.mix_of(stage), Learning.of(stage.lr)
    loads: list[tuple[float, Load]] = []
    """Share of the samples, load of one."""
    for kind in KINDS:
        durations = data.video_s if kind == "video" else (0.0,)
        share = getattr(mix, kind) / len(durations)
        loads += [(share, sample_load(design, data, kind, seconds, stage)) for seconds in durations if share]

    def total(per_sample: Callable[[Load], float]) -> float:
        return steps * stage.batch * sum(share * per_sample(load) for share, load in loads)

    steps = stage.steps(config.samples)
    return StagePlan(
        name=stage.name,
        samples=steps * stage.batch,
        batch=stage.batch,
        steps=steps,
        warmup_steps=warmup_steps(steps, design.optimizer.warmup),
        lr=rates_of(config, stage).model_dump(),
        mix=_shares(mix),
        frames=total(model.frames),
        visual_tokens=total(lambda load: load.visual),
        text_tokens=total(lambda load: load.text),
        flops=total(lambda load: training_flops(model, load, learning)),
        flops_checkpointed=total(lambda load: training_flops(model, load, learning, checkpointing=True)),
    )


def _shares(mix: Mix) -> dict[str, float]:
    return {name: share for name, share in mix.model_dump().items() if share}
