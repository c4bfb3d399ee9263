"""What a trial's stages compute: samples, frames and tokens, for the formulas of FLOPs and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ablate.plan.data_sizes import KINDS, Sizes
from models.cards import encoder_card, llm_card
from models.costs import Learning, Load, Model, training_flops
from models.data import Kind
from models.design import Design, Mix, Perceiver, Split, Stage, TrialConfig, warmup_steps
from models.ladder import scale_card_of
from models.video import largest, num_clips, pooled_shape


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage of training as it will run."""

    name: str
    samples: int
    batch: int
    steps: int
    warmup_steps: int
    lr: dict[str, float]
    """Peak learning rate of each part at this scale."""
    mix: dict[str, float]
    frames: float
    """That the encoders see in the stage, in sum."""
    visual_tokens: float
    text_tokens: float
    flops: float
    """Of the stage, without what checkpointing computes again."""
    flops_checkpointed: float
    """With it."""


def model_of(config: TrialConfig) -> Model:
    """The sizes of a trial's model.

    Raises:
        ValueError: nothing is known of an encoder or LLM, or parts do not fit together.
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
    )
    if not isinstance(design.resampler, Perceiver):
        pooled_shape(model.tokens_per_clip, model.grid)
        if split:
            pooled_shape(model.tokens_per_image, model.image_grid)
    return model


# --- what a sample holds -------------------------------------------------------------------------------


def _load(design: Design, data: Sizes, kind: Kind, seconds: float, stage: Stage) -> Load:
    """One sample; `seconds` is a video's duration."""
    asked, answered = data.asked[kind]
    turns = min(stage.max_questions, data.turns[kind])
    text, targets = turns * asked, turns * answered
    extra = data.separator_tokens * design.integration.separators
    if kind == "text":
        return Load(clips=0, visual=0, text=text, targets=targets)
    if kind == "video":
        clips = num_clips(seconds, design.sampling, design.clip_frames)
        extra += data.timestamp_tokens * design.integration.timestamps
        return Load(clips=clips, visual=clips * design.tokens_per_clip, text=text + clips * extra, targets=targets)
    count = data.images if kind == "multi_image" else 1
    own = isinstance(design.image_path, Split)
    return Load(
        clips=0 if own else count,
        images=count if own else 0,
        visual=count * design.tokens_per_image,
        text=text + count * extra,
        targets=targets,
    )


def _stage_plan(config: TrialConfig, model: Model, data: Sizes, stage: Stage) -> StagePlan:
    design = config.design
    mix, learning = design.mix_of(stage), Learning.of(stage.lr)
    loads: list[tuple[float, Load]] = []
    """Each with its share of the samples."""
    for kind in KINDS:
        durations = data.video_s if kind == "video" else (0.0,)
        share = getattr(mix, kind) / len(durations)
        loads += [(share, _load(design, data, kind, seconds, stage)) for seconds in durations if share]

    def in_sum(of: Callable[[Load], float]) -> float:
        return steps * stage.batch * sum(share * of(load) for share, load in loads)

    steps = stage.steps(config.samples)
    lr = stage.lr.model_dump() | {"llm": stage.lr.llm * scale_card_of(config).llm_lr_factor}
    return StagePlan(
        name=stage.name,
        samples=steps * stage.batch,
        batch=stage.batch,
        steps=steps,
        warmup_steps=warmup_steps(steps, design.optimizer.warmup),
        lr=lr,
        mix=_shares(mix),
        frames=in_sum(lambda load: load.clips * design.clip_frames + load.images),
        visual_tokens=in_sum(lambda load: load.visual),
        text_tokens=in_sum(lambda load: load.text),
        flops=in_sum(lambda load: training_flops(model, load, learning)),
        flops_checkpointed=in_sum(lambda load: training_flops(model, load, learning, checkpointing=True)),
    )


def _shares(mix: Mix) -> dict[str, float]:
    return {name: share for name, share in mix.model_dump().items() if share}
