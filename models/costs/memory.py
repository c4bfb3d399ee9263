"""Memory of a training step by formula: weights, gradients, optimiser states, activations. No torch here.

The formulas count the values that autograd saves, layer by layer; a `Setting` gives the bytes of each value and the
number of devices over which weights are sharded (FSDP, full shard). `python -m benchmarks.costs` compares the result
with the memory of real steps.

Legend: n positions of a sequence, h width of the LLM, R tokens of a clip, F features of a clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.cards import EncoderCard, LlmCard
from models.costs.flops import Learning, Load, Model, adapted_layers
from models.design import ConvPool, Lora, MlpPool, Perceiver

POSITIONS_PER_MICRO_BATCH = {"cpu": 1024, "cuda": 4096}
"""Sequence positions of a micro-batch, including padding (or one sample, if it is longer), by device type.

With micro-batches memory does not grow with the batch, rows of similar length need little padding, and on a CPU the
activations stay in its cache (a third less time per step at 0.4M). The values determine the order of floating-point
sums: do not tune them per machine."""


def positions_per_micro_batch(device_type: str, halvings: int = 0) -> int:
    """Sequence positions of a micro-batch, of which a trial takes half after each attempt that ran out of memory.

    A smaller micro-batch changes losses, gradients and scores by rounding only.

    Args:
        device_type: `cpu` or `cuda`.
        halvings: number of earlier attempts that ran out of memory.
    """
    return max(1, POSITIONS_PER_MICRO_BATCH[device_type] >> halvings)


FRAMES_PER_MICRO_BATCH = 1024
"""Frames of a micro-batch (or one sample, if it has more). Positions do not bound them where a frame has few tokens,
and the features of all frames are in memory at once: 1024 frames of InternVideo2 and SigLIP have 4 GiB in bf16."""

FRAMES_PER_PORTION = 64
"""Frames that a frozen encoder takes at once (a video encoder: as many clips as they make, at least one).

Memory then does not grow with the frames of a micro-batch, and 64 frames fill a GPU. The value determines the order of
floating-point sums: do not tune it per machine."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Bytes of each value, and sharding."""

    master_bytes: int
    """Bytes of a weight that learns, and of its gradient and each optimiser state."""
    frozen_bytes: int
    """Bytes of a frozen weight."""
    compute_bytes: int
    """Bytes of an activation, and of a weight gathered for computing."""
    devices: int = 1
    """Number of devices over which weights, gradients and optimiser states are sharded."""
    is_gathered: bool = False
    """Whether a layer's weights are gathered from all devices before the layer is computed."""


ON_CPU = Setting(master_bytes=4, frozen_bytes=4, compute_bytes=4)
"""fp32 in one process, as `benchmarks/costs.py` runs it."""


def on_gpus(devices: int) -> Setting:
    """bf16 mixed precision under FSDP: fp32 weights, gradients and states sharded, frozen weights in bf16."""
    return Setting(master_bytes=4, frozen_bytes=2, compute_bytes=2, devices=devices, is_gathered=True)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory on each device, in bytes."""

    weights: float
    gradients: float
    optimizer: float
    encoding: float
    """Frames, features, and values of a frozen encoder's portion, while encoders run and features are joined."""
    activations: float
    """Frames, and values that autograd saves in the forward pass for the backward pass."""
    last_backward: float
    """The LLM's gradients together with frames and activations of encoders and resamplers, which are freed last."""
    working: float
    """Temporary values: logits, a layer's gathered weights."""
    head_gradient: float
    """Unsharded gradient of the output layer's weights, which the backward pass computes first."""
    tied_gradient: float
    """Gradients of a tied embedding beside their sum, while they are added at the end of the backward pass."""
    accumulated: float
    """Gradients of earlier micro-batches, which are in memory together with the activations of the next."""

    @property
    def peak(self) -> float:
        """Peak memory after the first step, in bytes.

        The encoders run before anything of the LLM is saved. During the backward pass activations are freed while
        gradients are allocated, so the peak is there, at the start of the backward pass, when it has left the LLM, or
        at its end.
        """
        forward = self.activations + self.working + self.head_gradient + self.accumulated
        encoding = self.encoding + self.accumulated
        end = max(self.last_backward, self.gradients + self.tied_gradient)
        return self.weights + self.optimizer + max(encoding, forward, end)


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """How an optimiser step is run."""

    optimizer: Literal["adamw", "muon"]
    """AdamW keeps two states per weight; Muon keeps one, and two for the embedding and the output layer."""
    samples: int = 1
    """Number of samples of a micro-batch, which are in memory at once."""
    accumulates: bool = False
    """Whether the step adds up the gradients of several micro-batches."""
    checkpointing: bool = False
    """Whether the layers of the LLM, and of encoders that learn, save only their input and are recomputed in the
    backward pass."""


def training_memory(model: Model, load: Load, learning: Learning, setting: Setting, step: TrainingStep) -> Memory:
    """Memory of a training step, in bytes on each device.

    Args:
        model: sizes of the model.
        load: one sample.
        learning: which parts learn.
        setting: bytes of each value, and sharding.
        step: optimizer, micro-batch and checkpointing.
    """
    learned = sum(model.learned(learning).values())
    frozen = sum(model.params.values()) - learned
    values = _activations(model, load, learning, setting, checkpointing=step.checkpointing)
    saved = {name: count * step.samples * setting.compute_bytes for name, count in values.items()}
    frames = _frame_bytes(model, load) * step.samples
    gradients = learned * setting.master_bytes / setting.devices
    mask = load.length**2 * (1 + setting.compute_bytes)  # the boolean attention mask and its additive form
    head_gradient = _head_gradient(model, learning, setting)
    return Memory(
        weights=(learned * setting.master_bytes + frozen * setting.frozen_bytes) / setting.devices,
        gradients=gradients,
        optimizer=_optimizer_states(model, learning, step, learned) * setting.master_bytes / setting.devices,
        encoding=_encoding_bytes(model, load, setting, step.samples),
        activations=sum(saved.values()) + mask * step.samples + frames,
        last_backward=model.learned(learning)["llm"] * setting.master_bytes / setting.devices
        + sum(saved.values())
        - saved["llm"]
        + frames
        + _connector_working(model, load, setting, step.samples) * (learning.vision or learning.connector),
        working=_working(model, load, learning, setting, step),
        head_gradient=head_gradient,
        tied_gradient=2 * head_gradient * model.llm.tied,
        accumulated=gradients * step.accumulates,
    )


def evaluation_memory(model: Model, load: Load, learning: Learning, setting: Setting, samples: int) -> Memory:
    """Memory of scoring test items, in bytes on each device: nothing is saved, and gradients and states are gone.

    Args:
        model: sizes of the model.
        load: one item.
        learning: which parts learned, and are in memory in the optimiser's precision.
        setting: bytes of each value, and sharding.
        samples: number of items of a micro-batch.
    """
    learned = sum(model.learned(learning).values())
    frozen = sum(model.params.values()) - learned
    card = model.llm
    mask = load.length**2 * (1 + setting.compute_bytes)
    layer = load.length * (3 * card.mlp + 4 * card.hidden)  # gate, up and their product; the residual and its norms
    gathered = 2 * setting.compute_bytes * _largest_layer(model) if setting.is_gathered else 0.0
    return Memory(
        weights=(learned * setting.master_bytes + frozen * setting.frozen_bytes) / setting.devices,
        gradients=0.0,
        optimizer=0.0,
        encoding=max(
            _encoding_bytes(model, load, setting, samples),
            (_joined_values(model, load) * setting.compute_bytes + _frame_bytes(model, load)) * samples
            + _connector_working(model, load, setting, samples),
        ),
        activations=(_frame_bytes(model, load) + mask) * samples,
        last_backward=0.0,
        working=gathered + (layer * setting.compute_bytes + _head_values(card, load) * 4.0) * samples,
        head_gradient=0.0,
        tied_gradient=0.0,
        accumulated=0.0,
    )


def _optimizer_states(model: Model, learning: Learning, step: TrainingStep, learned: int) -> int:
    """Number of values in the optimiser's states, for `learned` weights that learn."""
    if step.optimizer == "adamw":
        return 2 * learned
    if model.lora:
        return learned + model.learned(learning)["llm"]
    not_hidden = model.llm.vocab * model.llm.hidden * (1 if model.llm.tied else 2) * learning.llm
    return learned + not_hidden


def _working(model: Model, load: Load, learning: Learning, setting: Setting, step: TrainingStep) -> float:
    """Bytes of temporary values: logits in fp32, gathered weights, and the widest values of a layer."""
    logits = _head_values(model.llm, load) * 4.0 * step.samples if learning.anything else 0.0
    gathered = 2 * setting.compute_bytes * _largest_layer(model) if setting.is_gathered else 0.0
    layer = _layer_working_values(model, load, learning, setting, checkpointing=step.checkpointing)
    return logits + gathered + layer * step.samples * setting.compute_bytes


def _head_gradient(model: Model, learning: Learning, setting: Setting) -> float:
    """Bytes of the unsharded gradient of the output layer's weights."""
    if model.lora:
        return 0.0
    bytes_per_value = setting.compute_bytes if setting.is_gathered else setting.master_bytes
    return model.llm.vocab * model.llm.hidden * learning.llm * bytes_per_value


# --- values while encoders run --------------------------------------------------------------------------

FRAME_ASPECT = 9 / 16
"""Shorter side of a frame over the longer one. Assumed."""


def _frame_bytes(model: Model, load: Load) -> float:
    """Bytes of a sample's uint8 frames, as they are read."""
    return model.frames(load) * 3 * load.frame_side**2 * FRAME_ASPECT


def _encoding_bytes(model: Model, load: Load, setting: Setting, samples: int) -> float:
    """Peak bytes while the encoders of a micro-batch run one after the other, and their features are joined."""
    finished, peak, resized = 0.0, 0.0, 0.0
    for card, inputs in model.inputs(load):
        if not inputs:
            continue
        portion = min(inputs * samples, max(1, FRAMES_PER_PORTION // card.frames))
        features = inputs * samples * math.prod(card.grid) * card.width * setting.compute_bytes
        copies = 2 if inputs * samples > portion else 1  # the portions' features are joined
        running = features + _portion_bytes(card, portion, load.frame_side, setting)
        peak = max(peak, finished + running, finished + copies * features)
        finished += features
        if card.grid[1:] != model.grid[1:] and len(model.encoders) > 1:
            resized += features * math.prod(model.grid[1:]) / math.prod(card.grid[1:])
    joined = _joined_values(model, load) * samples * setting.compute_bytes
    is_joined = max(len(model.encoders) if load.clips else 0, len(model.image_encoders) if load.images else 0) > 1
    return max(peak, finished + resized + joined * is_joined) + _frame_bytes(model, load) * samples


def _portion_bytes(card: EncoderCard, inputs: float, frame_side: int, setting: Setting) -> float:
    """Bytes of the values of a portion of clips or frames in an encoder, without what autograd saves.

    Either pixels, padded to squares as bytes and as floats and resized along one side; or resized pixels and one block:
    its input, the residual, its norm, and the MLP before and after its activation, or queries, keys, values and the
    norms' fp32 copies.
    """
    side, resized = frame_side, card.resolution
    pixels = inputs * card.frames * 3 * (side**2 * (FRAME_ASPECT + 1 + 4) + 4 * side * resized)
    per_token = max(3 * card.width + 2 * card.mlp, 8 * card.width)
    block = card.sequences * card.tokens_run * per_token + 3 * card.frames * resized**2
    return max(pixels, inputs * block * setting.compute_bytes)


def _connector_working(model: Model, load: Load, setting: Setting, samples: int) -> float:
    """Bytes of temporary values of the resampler, in the forward pass or as gradients: four for each feature.

    Projection, norm, scaled norm and their join with the latents; or the gradients of these.
    """
    features = load.clips * math.prod(model.grid)
    features += load.images * math.prod(model.image_grid) if model.image_encoders else 0.0
    return 4 * features * model.llm.hidden * samples * setting.compute_bytes


def _joined_values(model: Model, load: Load) -> float:
    """Combined features of a sample, the input of the resamplers."""
    images = load.images * math.prod(model.image_grid) * model.image_features if model.image_encoders else 0.0
    return load.clips * math.prod(model.grid) * model.features + images


# --- values that autograd saves, of one sample ----------------------------------------------------------


def _activations(
    model: Model, load: Load, learning: Learning, setting: Setting, *, checkpointing: bool
) -> dict[str, float]:
    has_gradient = learning.vision or learning.connector
    vision = sum(
        (_block_inputs(card) if checkpointing else card.blocks_run * _block_values(card)) * runs
        for card, runs in model.inputs(load)
    )
    per_layer = _layer_values(model, load.length, setting, learns=learning.llm)
    layers = model.llm.layers * (load.length * model.llm.hidden if checkpointing else per_layer)
    return {
        "vision": vision if learning.vision else 0.0,
        "features": _joined_values(model, load),
        "connector": _resampler_values(model, load) if has_gradient else 0.0,
        "llm": layers if learning.anything else 0.0,
    }


def _layer_working_values(
    model: Model, load: Load, learning: Learning, setting: Setting, *, checkpointing: bool
) -> float:
    """Values that a layer needs while it computes, beyond those that autograd saves: twice its widest value.

    With checkpointing these are all values of the layer that is recomputed.
    """
    if checkpointing and learning.anything:
        recomputed = _layer_values(model, load.length, setting, learns=learning.llm)
        blocks = [_block_values(card) * runs for card, runs in model.inputs(load)] if learning.vision else []
        return max([recomputed, *blocks])
    return 2 * load.length * max(model.llm.mlp, model.llm.hidden)


def _layer_values(model: Model, n: float, setting: Setting, *, learns: bool) -> float:
    """One decoder layer: two norms (input in fp32, normed, scaled), attention (queries, keys and values of all heads,
    output), gated MLP (both branches, activation, product). Normed values are saved only for norms that learn; scaled
    ones and products only for matrices that learn or have adapters, which also save values of their own."""
    card, lora = model.llm, model.lora if learns else None
    inner = card.heads * card.head_dim
    norms = 2 * card.hidden * (4 / setting.compute_bytes + learns * (1 if lora else 2))
    attention = 4 * inner
    mlp = card.mlp * (4 if learns else 3)
    return n * (norms + attention + mlp + (_adapter_values(card, lora) if lora else 0))


def _adapter_values(card: LlmCard, lora: Lora) -> float:
    """Values that the adapters of a decoder layer save for a position: inner values; inputs after dropout."""
    sizes = adapted_layers(card, lora)
    return lora.rank * len(sizes) + (sum(inputs for inputs, _ in sizes) if lora.dropout else 0)


def _block_inputs(card: EncoderCard) -> float:
    """Inputs of all blocks, for one clip."""
    return card.blocks_run * card.sequences * card.tokens_run * card.width


def _block_values(card: EncoderCard) -> float:
    """One clip in a block: norms and their inputs, queries, keys, values, output, and both sides of the MLP."""
    per_token = 8 * card.width + 2 * card.mlp
    time_attention = 6 * card.width if card.arrangement == "frame and time" else 0
    return card.sequences * card.tokens_run * (per_token + time_attention)


def _resampler_values(model: Model, load: Load) -> float:
    video = load.clips * _values_of_clip(model, math.prod(model.grid), model.tokens_per_clip)
    if not model.image_encoders:
        return video
    return video + load.images * _values_of_clip(model, math.prod(model.image_grid), model.tokens_per_image)


def _values_of_clip(model: Model, features: int, tokens: int) -> float:
    h = model.llm.hidden
    match model.resampler:
        case Perceiver() as config:
            inner, kv_inner = config.heads * config.head_dim, config.kv_heads * config.head_dim
            context = features * h + (features + tokens) * (h + 2 * kv_inner)
            latents = tokens * (8 * h + 2 * inner + 16 * h)
            return features * h + config.depth * (context + latents)
        case MlpPool() | ConvPool():
            return features * 3 * h


def _head_values(card: LlmCard, load: Load) -> float:
    """Logits, their log-probabilities, and the gradient of both, in fp32."""
    return 3 * load.targets * card.vocab


def _largest_layer(model: Model) -> float:
    """Number of weights that FSDP gathers at once: a layer of the LLM, or its embedding."""
    card = model.llm
    layer = card.params_without_embeddings / card.layers
    return max(layer, card.vocab * card.hidden)
