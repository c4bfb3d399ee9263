"""What a planned trial is made of and takes: parameters, tokens, FLOPs, memory, GPU-hours, disk. No torch.

Frames and tokens come from the real sampler's formula, FLOPs and memory from models/costs.py and models/memory.py. What
is assumed, and how far the formulas are from what was measured, stands in docs/plan.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never, get_args

from ablate.errors import InfeasibleError
from ablate.gpus import Gpu, gpus
from models.cards import LLMS, EncoderCard, LlmCard, encoder_card, llm_card
from models.costs import Learning, Load, Model, training_flops
from models.design import (
    AssumedData,
    Data,
    Design,
    ManifestData,
    Mix,
    Perceiver,
    Split,
    Stage,
    TinyData,
    TrialConfig,
    warmup_steps,
)
from models.encoders.spread import largest, pooled_shape
from models.frames import num_clips
from models.ladder import rung_of
from models.manifest import Kind, Record, load_train
from models.memory import PLACES_AT_ONCE, Memory, on_gpus, training_memory

UTILISATION = 0.4
"""Share of a GPU's peak that training reaches: assumed; good video-LMM trainers report 0.3 to 0.5."""
MAX_GPUS = 64
MOST_GPUS = 4096
"""Up to which a plan looks for a number of GPUs that would hold a trial, to say so."""
USABLE = 0.9
"""Share of a GPU's memory that a plan fills: the rest is the driver's, the allocator's and the communication's."""
CHARACTERS_PER_TOKEN = 4.0
"""Of English text with a Qwen tokenizer: assumed, for manifests, whose tokenizer a plan does not load."""
MOST_DURATIONS = 64
PROBED = 16
"""Videos of a manifest that are opened where it does not say how long they are."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a plan knows of the data."""

    video_s: tuple[float, ...]
    """Durations, equally likely."""
    asked: dict[Kind, tuple[float, float]]
    """Kind -> text tokens of a question and its answer, and those of the answer."""
    turns: dict[Kind, float]
    """Kind -> questions of a record."""
    images: float
    """Of a record of several."""
    timestamp_tokens: int = 16
    """Text tokens of `clip from MM:SS-MM:SS: `; with Qwen's tokenizer, assumed."""
    separator_tokens: int = 8
    """Text tokens of both separators; with Qwen's tokenizer, assumed."""
    note: str | None = None


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


@dataclass(frozen=True, kw_only=True)
class Tower:
    """The size of an encoder."""

    id: str
    params: int
    """Of the published tower."""
    params_run: int
    """Of what is loaded: blocks behind the feature are not."""


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
class Budget:
    """What one trial is made of and takes."""

    params: dict[str, int]
    """Of each part, as loaded."""
    encoders: tuple[Tower, ...]
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


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """Against what trials are priced."""

    gpu: Gpu | None
    utilisation: float = UTILISATION
    max_gpus: int = MAX_GPUS


def price(config: TrialConfig, label: str, pricing: Pricing) -> Budget:
    """The budget of a trial.

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
    return Budget(
        params=model.params,
        encoders=tuple(Tower(id=c.id, params=c.params, params_run=c.params_run) for c in model.encoders),
        frames=sum(clips) / len(clips) * design.clip_frames,
        visual_tokens=visual,
        text_tokens=text,
        flops=flops,
        stages=stages,
        weights_gib=_to_fetch(model),
        notes=(*_licences(model), *_unknowns(model), *_too_long(model, max(load.length for load in videos))),
        on_gpu=_on_gpu(config, label, model, stages, pricing),
    )


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
        llm=llm_card(rung_of(config).llm),
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
    lr = stage.lr.model_dump() | {"llm": stage.lr.llm * rung_of(config).llm_lr_factor}
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


# --- what is known of the data ---------------------------------------------------------------------------


@lru_cache(maxsize=64)
def sizes_of(data: Data) -> Sizes:
    """Durations and lengths of the samples of some data."""
    match data:
        case TinyData():
            return TINY
        case AssumedData():
            asked = (data.text_tokens, data.text_tokens / 2)
            return Sizes(
                video_s=data.video_s,
                asked=dict.fromkeys(KINDS, asked),
                turns=dict.fromkeys(KINDS, 1.0),
                images=data.images,
                note=f"{data.benchmark}: durations ({', '.join(f'{s:g}' for s in data.video_s)} s, equally likely) and "
                f"{data.text_tokens} text tokens a sample, half of them learned, are assumed",
            )
        case ManifestData():
            return _of_manifest(Path(data.folder))
        case _:
            assert_never(data)


def _tiny_durations() -> tuple[float, ...]:
    """The law of models/tiny/world.py: log-uniform from 2 to 16 s, in eighths; 64 quantiles."""
    return tuple(round(2 * 8 ** ((i + 0.5) / 64) * 8) / 8 for i in range(64))


TINY = Sizes(
    video_s=_tiny_durations(),
    asked={"text": (123.7, 2.0), "image": (10.4, 2.7), "multi_image": (11.7, 2.0), "video": (10.5, 2.0)},
    turns={"text": 1.0, "image": 7.4, "multi_image": 20.0, "video": 13.0},
    images=2.5,
    timestamp_tokens=14,
    separator_tokens=2,
)
"""Of the embedded study, counted with its tokenizer on world seed 1."""


def _of_manifest(folder: Path) -> Sizes:
    records = load_train(folder)
    asked: dict[Kind, tuple[float, float]] = {}
    turns: dict[Kind, float] = {}
    for kind in KINDS:
        own: list[Record] = [record for record in records if record.kind == kind]
        said = [(len(q), len(a)) for record in own for q, a in record.turns] or [(0, 0)]
        answer = sum(a for _, a in said) / len(said) / CHARACTERS_PER_TOKEN + 1
        asked[kind] = (sum(q for q, _ in said) / len(said) / CHARACTERS_PER_TOKEN + answer, answer)
        turns[kind] = sum(len(record.turns) for record in own) / max(1, len(own))
    several = [len(record.media) for record in records if record.kind == "multi_image"] or [0]
    durations, how = _durations(folder, [record for record in records if record.kind == "video"])
    return Sizes(
        video_s=durations,
        asked=asked,
        turns=turns,
        images=sum(several) / len(several),
        note=f"{folder.name}: text tokens are reckoned at {CHARACTERS_PER_TOKEN:g} characters each{how}",
    )


def _quantiles(seconds: list[float]) -> tuple[float, ...]:
    """At most 64 that stand for all, the longest among them: memory goes by it."""
    rising = sorted(seconds)
    if len(rising) <= MOST_DURATIONS:
        return tuple(rising)
    return tuple(rising[round(i * (len(rising) - 1) / (MOST_DURATIONS - 1))] for i in range(MOST_DURATIONS))


def _durations(folder: Path, videos: list[Any]) -> tuple[tuple[float, ...], str]:
    """Durations as the manifest tells them; where it does not, of some videos that are opened."""
    from models.decode import Decoder, VideoError
    from models.frames import duration

    if not videos:
        return (0.0,), ""
    told = [record.duration_s for record in videos]
    if all(told):
        return _quantiles(told), ""
    step = max(1, math.ceil(len(videos) / PROBED))
    found: list[float] = []
    with Decoder() as decoder:
        for record in videos[::step]:
            try:
                found.append(duration(decoder.times(folder / record.media[0])))
            except (VideoError, RuntimeError):  # a trial that meets it says so; a plan looks at the others
                continue
    how = f"; durations are those of {len(found)} of {len(videos)} videos (give records a `duration`)"
    return tuple(found) or (60.0,), how if found else "; no video could be opened: 60 s each is assumed"
