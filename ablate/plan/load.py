"""The sizes of a trial's model, and the frames and tokens of its stages: the input of the cost formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ablate.plan.data_sizes import KINDS, Sizes
from ablate.plan.packs import empty_positions
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
class LeftOut:
    """Shares of a stage's training data that `max_length` of the design leaves out."""

    samples: float = 0.0
    """Share of the samples that are longer, and lose clips or turns."""
    clips: float = 0.0
    """Share of all clips that they lose."""
    turns: float = 0.0
    """Share of all questions that they lose."""
    longer: float = 0.0
    """Share of the samples that are still longer with one clip of each video and one turn."""


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
    empty_positions: dict[str, float]
    """Device type -> expected share of a micro-batch's positions that are padding."""
    left_out: LeftOut
    """What `max_length` leaves out."""


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
    whole, turns = _whole_load(design, data, kind, seconds, stage)
    if design.max_length is None or whole.length <= design.max_length:
        return whole
    fewest = data.videos if kind == "video" else whole.clips
    return _shortened(whole, turns, fewest, _text_per_clip(design, data, kind), design.max_length)


def _whole_load(design: Design, data: Sizes, kind: Kind, seconds: float, stage: Stage) -> tuple[Load, float]:
    """As `sample_load`, without `max_length`; and the number of turns."""
    tokens, target_tokens = data.text_tokens[kind]
    turns = data.turns[kind] if stage.max_questions is None else min(stage.max_questions, data.turns[kind])
    text, targets = turns * tokens, turns * target_tokens
    extra = _text_per_clip(design, data, kind)
    side = _frame_side(design)
    if kind == "text":
        return Load(clips=0, visual=0, text=text, targets=targets, frame_side=side), turns
    if kind == "video":
        clips = data.videos * num_clips(seconds, design.sampling, design.clip_frames)
        visual = clips * design.tokens_per_clip
        return Load(clips=clips, visual=visual, text=text + clips * extra, targets=targets, frame_side=side), turns
    count = data.images if kind == "multi_image" else 1
    has_image_path = isinstance(design.image_path, Split)
    load = Load(
        clips=0 if has_image_path else count,
        stills=0 if has_image_path else count,
        images=count if has_image_path else 0,
        visual=count * design.tokens_per_image,
        text=text + count * extra,
        targets=targets,
        frame_side=side,
    )
    return load, turns


def _text_per_clip(design: Design, data: Sizes, kind: Kind) -> float:
    """Positions of separators and timestamps of a clip or image."""
    stamps = data.timestamp_tokens * design.integration.timestamps if kind == "video" else 0
    return SEPARATORS_PER_CLIP * design.integration.separators + stamps


def _shortened(load: Load, turns: float, fewest_clips: float, text_per_clip: float, max_length: int) -> Load:
    """A sample that is longer than `max_length` without some clips, then without some turns, as training makes it."""
    clips, count = load.clips, load.clips + load.images
    text_of_turns = load.text - count * text_per_clip
    if clips > fewest_clips:
        per_clip = load.visual / clips + text_per_clip
        clips = min(clips, max(fewest_clips, float((max_length - text_of_turns) // per_clip)))
    share_left = clips / load.clips if load.clips else 1.0
    visual, text = load.visual * share_left, count * share_left * text_per_clip
    most = (max_length - visual - text) // max(1.0, text_of_turns / turns) if turns else 0.0
    share = min(1.0, max(1.0, most) / turns) if turns else 1.0
    return replace(load, clips=clips, visual=visual, text=text + text_of_turns * share, targets=load.targets * share)


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


def _loads(design: Design, data: Sizes, stage: Stage) -> list[tuple[float, Load]]:
    """The samples of a stage: their share, and the load of one."""
    mix = design.mix_of(stage)
    loads: list[tuple[float, Load]] = []
    for kind in KINDS:
        durations = data.video_s if kind == "video" else (0.0,)
        share = getattr(mix, kind) / len(durations)
        loads += [(share, sample_load(design, data, kind, seconds, stage)) for seconds in durations if share]
    return loads


def _left_out(design: Design, data: Sizes, stage: Stage, loads: list[tuple[float, Load]]) -> LeftOut:
    """What `max_length` leaves out of a stage's samples."""
    if design.max_length is None:
        return LeftOut()
    whole = _loads(design.model_copy(update={"max_length": None}), data, stage)
    pairs = [(share, before, after) for (share, before), (_, after) in zip(whole, loads, strict=True)]

    def lost(count: Callable[[Load], float]) -> float:
        total = sum(share * count(before) for share, before, _ in pairs)
        return 1 - sum(share * count(after) for share, _, after in pairs) / total if total else 0.0

    return LeftOut(
        samples=sum(share for share, before, _ in pairs if before.length > design.max_length),
        clips=lost(lambda load: load.clips),
        turns=lost(lambda load: load.targets),
        longer=sum(share for share, _, after in pairs if after.length > design.max_length),
    )


def stage_plan(config: TrialConfig, model: Model, data: Sizes, stage: Stage) -> StagePlan:
    """Steps, learning rates, frames, tokens and FLOPs of one stage of a trial."""
    design = config.design
    mix, learning = design.mix_of(stage), Learning.of(stage.lr)
    loads = _loads(design, data, stage)

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
        empty_positions=empty_positions(model, loads, stage.batch),
        left_out=_left_out(design, data, stage, loads),
    )


def _shares(mix: Mix) -> dict[str, float]:
    return {name: share for name, share in mix.model_dump().items() if share}
