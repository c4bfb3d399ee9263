"""FLOPs of a training step by formula, from the sizes of the model and of a sample. No torch here.

A multiplication with its addition counts as two FLOPs. Attention is counted in full, since masked positions are
computed too. `python -m benchmarks.costs` compares the formulas with torch's counter.

Legend: n positions of a sequence, F features of a clip, R tokens of a clip, h width of the LLM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.cards import EncoderCard, LlmCard
from models.design import ConvPool, LearningRates, Lora, MlpPool, Perceiver, Resampler
from models.video import largest


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Which parts learn in a stage."""

    vision: bool
    connector: bool
    llm: bool

    @classmethod
    def of(cls, lr: LearningRates) -> Learning:
        """The parts with a learning rate above 0."""
        return cls(vision=lr.vision > 0, connector=lr.connector > 0, llm=lr.llm > 0)

    @property
    def anything(self) -> bool:
        """Whether gradients reach the LLM's input."""
        return self.vision or self.connector or self.llm


@dataclass(frozen=True, kw_only=True)
class Load:
    """Inputs and targets of one sample."""

    clips: float
    """Clips on the video path."""
    stills: float = 0
    """Those of the clips that are images: an image encoder encodes their one frame once."""
    images: float = 0
    """Images on a separate image path."""
    visual: float
    """Visual tokens in the LLM's sequence."""
    text: float
    """Other tokens in the LLM's sequence."""
    targets: float
    """Target tokens."""
    frame_side: int = 720
    """Pixels of the longer side at which frames are read (`data.max_side`)."""

    @property
    def length(self) -> float:
        """Positions of the LLM's sequence."""
        return self.visual + self.text


# --- parameters ----------------------------------------------------------------------------------------


def resampler_params(config: Resampler, features: int, width: int, tokens: int) -> int:
    """Parameters of a resampler.

    Args:
        config: kind and sizes of the resampler.
        features: width of the encoders' features.
        width: width of the LLM.
        tokens: number of tokens of a clip.
    """
    h = width
    match config:
        case Perceiver():
            inner, kv_inner = config.heads * config.head_dim, config.kv_heads * config.head_dim
            layer = 2 * inner * h + 2 * kv_inner * h + 12 * h * h + 9 * h
            return features * h + h + tokens * h + config.depth * layer + 3 * h
        case MlpPool():
            return features * h + h + h * h + h
        case ConvPool():
            return 9 * (features * h + h * h) + 2 * h


def adapted_layers(card: LlmCard, lora: Lora) -> list[tuple[int, int]]:
    """Inputs and outputs of the linear layers of one decoder layer that have adapters."""
    h, inner, kv_inner = card.hidden, card.heads * card.head_dim, card.kv_heads * card.head_dim
    sizes = {
        "q_proj": (h, inner),
        "k_proj": (h, kv_inner),
        "v_proj": (h, kv_inner),
        "o_proj": (inner, h),
        "gate_proj": (h, card.mlp),
        "up_proj": (h, card.mlp),
        "down_proj": (card.mlp, h),
    }
    return [size for name, size in sizes.items() if lora.targets is None or name in lora.targets]


def adapter_params(card: LlmCard, lora: Lora) -> int:
    """Parameters of all adapters of an LLM."""
    return card.layers * sum(lora.rank * (inputs + outputs) for inputs, outputs in adapted_layers(card, lora))


# --- FLOPs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Forward:
    """FLOPs of one forward pass, grouped by the factor with which they enter the backward pass."""

    first: float = 0
    """FLOPs of layers that read the part's input, which gets a gradient only if an earlier part learns."""
    linear: float = 0
    """FLOPs of other layers with weights."""
    attention: float = 0
    """FLOPs of products between activations."""

    @property
    def total(self) -> float:
        """FLOPs of all layers."""
        return self.first + self.linear + self.attention

    def times(self, count: float) -> Forward:
        """FLOPs of `count` inputs."""
        return Forward(first=self.first * count, linear=self.linear * count, attention=self.attention * count)

    def backward(self, *, learns: bool, upstream: bool) -> float:
        """FLOPs of the backward pass.

        Args:
            learns: whether the part's weights get gradients.
            upstream: whether the weights of an earlier part do.
        """
        if not (learns or upstream):
            return 0
        return learns * (self.first + self.linear) + upstream * self.first + self.linear + 2 * self.attention


def encoder_forward(card: EncoderCard) -> Forward:
    """FLOPs of one clip in the blocks of a tower that are run.

    For a custom encoder, whose architecture is unknown, every weight is applied at every cell of its grid.
    """
    if card.kind == "custom":
        return Forward(linear=2 * card.params_run * card.tokens_run)
    n, d = card.tokens_run, card.width
    matrices = 4 * d * d + (3 if card.gated_mlp else 2) * d * card.mlp
    linear, attention = 2 * n * matrices, 4 * n * n * d
    if card.arrangement == "frame and time":
        linear += 2 * n * 4 * d * d
        attention += 4 * n * card.frames * d
    patches = math.prod(card.grid) / card.sequences
    pixels = 2 * patches * 3 * card.tubelet * card.patch**2 * d
    blocks = card.blocks_run
    return Forward(first=pixels, linear=blocks * linear, attention=blocks * attention).times(card.sequences)


def resampler_forward(config: Resampler, features: int, width: int, tokens: int, grid: tuple[int, int, int]) -> Forward:
    """FLOPs of one clip in a resampler."""
    cells, h = math.prod(grid), width
    match config:
        case Perceiver():
            inner, kv_inner = config.heads * config.head_dim, config.kv_heads * config.head_dim
            context = cells + tokens
            linear = 2 * h * (2 * tokens * inner + 2 * context * kv_inner) + 2 * tokens * 12 * h * h
            attention = 4 * tokens * context * inner
            return Forward(
                first=2 * cells * features * h, linear=config.depth * linear, attention=config.depth * attention
            )
        case MlpPool():
            return Forward(first=2 * cells * features * h, linear=2 * cells * h * h)
        case ConvPool():
            return Forward(first=18 * cells * features * h, linear=18 * cells * h * h)


def llm_forward(card: LlmCard, length: float) -> Forward:
    """FLOPs of one sequence in the decoder's layers, without the output layer."""
    inner, kv_inner = card.heads * card.head_dim, card.kv_heads * card.head_dim
    matrices = 2 * card.hidden * (inner + kv_inner) + 3 * card.hidden * card.mlp
    return Forward(linear=card.layers * 2 * length * matrices, attention=card.layers * 4 * length**2 * inner)


def head_forward(card: LlmCard, targets: float) -> Forward:
    """FLOPs of the output layer, which runs only at the positions that predict a target."""
    return Forward(linear=2 * targets * card.hidden * card.vocab)


@dataclass(frozen=True, kw_only=True)
class Model:
    """The sizes of a trial's model."""

    encoders: tuple[EncoderCard, ...]
    takes: tuple[int, ...]
    """Number of frames of a clip that each encoder takes."""
    resampler: Resampler
    grid: tuple[int, int, int]
    """Grid of the combined features of a clip: time, height, width."""
    tokens_per_clip: int
    llm: LlmCard
    image_encoders: tuple[int, ...] = ()
    """Indices of the encoders on the separate image path; empty without one."""
    tokens_per_image: int = 0
    has_separators: bool = False
    """Whether two learned tokens enclose each clip."""
    lora: Lora | None = None
    """Adapters that learn in place of the LLM's own weights."""

    @property
    def features(self) -> int:
        """Width of the combined features."""
        return sum(card.width for card in self.encoders)

    @property
    def image_features(self) -> int:
        """Width of the combined features on the separate image path; 0 without one."""
        return sum(self.encoders[index].width for index in self.image_encoders)

    @property
    def image_grid(self) -> tuple[int, int, int]:
        """Grid of the combined features on the separate image path."""
        return largest([self.encoders[index].grid for index in self.image_encoders])

    @property
    def params(self) -> dict[str, int]:
        """Number of parameters of each part: those that the encoders run, all of the connector and the LLM."""
        connector = resampler_params(self.resampler, self.features, self.llm.hidden, self.tokens_per_clip)
        if self.image_encoders:
            connector += resampler_params(self.resampler, self.image_features, self.llm.hidden, self.tokens_per_image)
        connector += 2 * self.llm.hidden * self.has_separators
        return {
            "vision": sum(card.params_run for card in self.encoders),
            "connector": connector,
            "llm": self.llm.params,
            **({"adapters": adapter_params(self.llm, self.lora)} if self.lora else {}),
        }

    def learned(self, learning: Learning) -> dict[str, int]:
        """Number of parameters of each part that learn, of the LLM its own and its adapters'."""
        params = self.params
        llm = "adapters" if self.lora else "llm"
        return {
            "vision": params["vision"] * learning.vision,
            "connector": params["connector"] * learning.connector,
            "llm": params[llm] * learning.llm,
        }

    def inputs(self, load: Load) -> list[tuple[EncoderCard, float]]:
        """Encoders, and the number of inputs that each encodes: clips, or single frames; an image's frame once."""
        video = [
            (card, (load.clips - load.stills) * takes + load.stills if card.frames == 1 else load.clips)
            for card, takes in zip(self.encoders, self.takes, strict=True)
        ]
        return video + [(self.encoders[index], load.images) for index in self.image_encoders]

    def frames(self, load: Load) -> float:
        """Frames that are read, each once: those of videos, and images."""
        return (load.clips - load.stills) * max(self.takes) + load.stills + load.images

    def forward(self, load: Load) -> dict[str, Forward]:
        """FLOPs of a sample's forward pass, by part: `vision`, `connector`, `llm`, `head`, `adapters`."""
        vision = [encoder_forward(card).times(inputs) for card, inputs in self.inputs(load)]
        h = self.llm.hidden
        connector = [
            resampler_forward(self.resampler, self.features, h, self.tokens_per_clip, self.grid).times(load.clips)
        ]
        if self.image_encoders:
            image = resampler_forward(self.resampler, self.image_features, h, self.tokens_per_image, self.image_grid)
            connector.append(image.times(load.images))
        return {
            "vision": _sum(vision),
            "connector": _sum(connector),
            "llm": llm_forward(self.llm, load.length),
            "head": head_forward(self.llm, load.targets),
            "adapters": Forward(
                linear=2 * load.length * adapter_params(self.llm, self.lora) if self.lora else 0,
            ),
        }


def _sum(parts: list[Forward]) -> Forward:
    return Forward(
        first=sum(p.first for p in parts),
        linear=sum(p.linear for p in parts),
        attention=sum(p.attention for p in parts),
    )


def training_flops(model: Model, load: Load, learning: Learning, *, checkpointing: bool = False) -> float:
    """FLOPs of one sample's forward and backward pass.

    A part is only run forward if neither it nor an earlier part learns; a frozen LLM after a connector that learns
    passes gradients on, which is half of its backward pass, and so does one whose adapters learn. Checkpointing runs
    encoders that learn and the LLM's layers forward once more, each layer except for its last matrix, whose output no
    gradient needs.
    """
    parts = model.forward(load)
    upstream = learning.vision or learning.connector
    total = sum(part.total for part in parts.values())
    total += parts["vision"].backward(learns=learning.vision, upstream=False)
    total += parts["connector"].backward(learns=learning.connector, upstream=learning.vision)
    is_adapted = learning.llm and model.lora is not None
    for name in ("llm", "head"):
        total += parts[name].backward(learns=learning.llm and not is_adapted, upstream=upstream or is_adapted)
    total += parts["adapters"].backward(learns=learning.llm, upstream=upstream)
    if checkpointing and learning.anything:
        llm = model.llm
        total += parts["llm"].total - llm.layers * 2 * load.length * llm.hidden * llm.mlp
        total += parts["adapters"].total + parts["vision"].total * learning.vision
    return total
