"""What a training step keeps in memory: weights, gradients, optimiser states, activations. No torch here.

Formulas of what autograd saves, layer by layer, in numbers of values; a `Setting` says how many bytes each takes and
over how many devices what is sharded (FSDP, full shard). Compared with real steps by `python -m benchmarks.budget`.

Legend: n places of a sequence, h width of the LLM, R tokens of a clip, F features of a clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.cards import EncoderCard, LlmCard
from models.costs.flops import Learning, Load, Model
from models.design import ConvPool, MlpPool, Perceiver

PLACES_AT_ONCE = {"cpu": 1024, "cuda": 4096}
"""Places of sequences, padding included, that training puts through the model at once (or one sample, if it is longer):
memory does not grow with the batch, rows of one length waste little on padding, and on a CPU activations stay in its
cache (a third less time a step at 0.4M). They set the order of sums: do not tune them per machine."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How numbers are held and where."""

    master_bytes: int
    """Of a weight that learns, and of its gradient and each optimiser state."""
    frozen_bytes: int
    """Of a weight that does not."""
    compute_bytes: int
    """Of an activation, and of a weight gathered for computing."""
    devices: int = 1
    """Over which weights, gradients and optimiser states are sharded."""
    is_gathered: bool = False
    """Whether computing takes a copy of a layer's weights from all devices."""


ON_CPU = Setting(master_bytes=4, frozen_bytes=4, compute_bytes=4)
"""fp32 in one process, as `benchmarks/budget.py` runs it."""


def on_gpus(devices: int) -> Setting:
    """bf16 mixed precision under FSDP: fp32 weights, gradients and states sharded, frozen weights in bf16."""
    return Setting(master_bytes=4, frozen_bytes=2, compute_bytes=2, devices=devices, is_gathered=True)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on each device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    """That autograd keeps from the forward pass for the backward one."""
    working: float
    """What is only there for a moment: logits, a layer's gathered weights."""
    head_gradient: float
    """Of the output layer's weights, whole, which the backward pass makes first."""
    tied_gradient: float
    """What a tied embedding's two gradients and their sum take beside the one that stays, at the pass's end."""
    accumulated: float
    """Gradients of earlier micro-batches, which lie beside the activations of the next."""

    @property
    def peak(self) -> float:
        """The most after the first step: activations fall while gradients rise, so it is at one of the ends."""
        forward = self.activations + self.working + self.head_gradient + self.accumulated
        return self.weights + self.optimizer + max(forward, self.gradients + self.tied_gradient)


def training_memory(
    model: Model,
    load: Load,
    learning: Learning,
    setting: Setting,
    *,
    optimizer: Literal["adamw", "muon"],
    batch: int = 1,
    accumulates: bool = False,
    checkpointing: bool = False,
) -> Memory:
    """Memory of a training step.

    Args:
        model: its sizes.
        load: one sample.
        learning: which parts learn.
        setting: how numbers are held.
        optimizer: AdamW keeps two states of a weight, Muon one, and two of the embedding and the output layer.
        batch: samples that are in memory at once.
        accumulates: whether an optimiser step takes several of those, whose gradients are added up.
        checkpointing: whether the layers of the LLM, and of encoders that learn, keep their input alone and are run
            again in the backward pass.
    """
    params = model.params
    learned = sum(count for name, count in params.items() if getattr(learning, name))
    frozen = sum(params.values()) - learned
    not_hidden = model.llm.vocab * model.llm.hidden * (1 if model.llm.tied else 2) * learning.llm
    states = 2 * learned if optimizer == "adamw" else learned + not_hidden
    kept = sum(_activations(model, load, learning, checkpointing=checkpointing).values()) * batch
    logits = _head_values(model.llm, load) * 4.0 * batch if learning.anything else 0.0
    gathered = 2 * setting.compute_bytes * _largest_layer(model) if setting.is_gathered else 0.0
    whole = setting.compute_bytes if setting.is_gathered else setting.master_bytes
    embedding = model.llm.vocab * model.llm.hidden * learning.llm * whole
    share = setting.devices
    gradients = learned * setting.master_bytes / share
    mask = load.length**2 * (1 + setting.compute_bytes)  # who sees whom, and what attention adds for it
    return Memory(
        weights=(learned * setting.master_bytes + frozen * setting.frozen_bytes) / share,
        gradients=gradients,
        optimizer=states * setting.master_bytes / share,
        activations=kept * setting.compute_bytes + mask * batch,
        working=logits
        + gathered
        + _busy(model, load, learning, checkpointing=checkpointing) * batch * setting.compute_bytes,
        head_gradient=embedding,
        tied_gradient=2 * embedding * model.llm.tied,
        accumulated=gradients * accumulates,
    )


# --- values that autograd keeps, of one sample ----------------------------------------------------------


def _activations(model: Model, load: Load, learning: Learning, *, checkpointing: bool) -> dict[str, float]:
    connected = learning.vision or learning.connector
    vision = sum(
        (_block_inputs(card) if checkpointing else card.blocks_run * _block_values(card)) * runs
        for card, runs in _runs(model, load)
    )
    per_layer = _layer_values(model.llm, load.length, learns=learning.llm)
    layers = model.llm.layers * (load.length * model.llm.hidden if checkpointing else per_layer)
    return {
        "vision": vision if learning.vision else 0.0,
        "features": load.clips * math.prod(model.grid) * model.features * (1 + (len(model.encoders) > 1))
        + (load.images * math.prod(model.image_grid) * model.image_features if model.image_encoders else 0.0),
        "connector": _resampler_values(model, load) if connected else 0.0,
        "llm": layers if learning.anything else 0.0,
    }


def _runs(model: Model, load: Load) -> list[tuple[EncoderCard, float]]:
    """Encoders and how many inputs each takes: clips, or single frames and images."""
    video = [
        (card, load.clips * (takes if card.frames == 1 else 1))
        for card, takes in zip(model.encoders, model.takes, strict=True)
    ]
    return video + [(model.encoders[place], load.images) for place in model.image_encoders]


def _busy(model: Model, load: Load, learning: Learning, *, checkpointing: bool) -> float:
    """What a layer needs while it computes, beyond what it keeps: twice its widest value; all of a layer run again."""
    if checkpointing and learning.anything:
        again = _layer_values(model.llm, load.length, learns=learning.llm)
        blocks = [_block_values(card) * runs for card, runs in _runs(model, load)] if learning.vision else []
        return max([again, *blocks])
    return 2 * load.length * max(model.llm.mlp, model.llm.hidden)


def _layer_values(card: LlmCard, n: float, *, learns: bool) -> float:
    """One decoder layer: two norms (input, normed, scaled), attention (queries, keys and values of all heads, output),
    gated MLP (both branches, activation, product). Scaled norms and products are kept for weights that learn alone."""
    inner = card.heads * card.head_dim
    norms = 2 * card.hidden * (3 if learns else 2)
    attention = 4 * inner
    mlp = card.mlp * (4 if learns else 3)
    return n * (norms + attention + mlp)


def _block_inputs(card: EncoderCard) -> float:
    """What enters each block, for one clip."""
    return card.blocks_run * card.sequences * card.tokens_run * card.width


def _block_values(card: EncoderCard) -> float:
    """One clip in a block: norms and their inputs, queries, keys, values, output, both sides of the MLP."""
    per_place = 8 * card.width + 2 * card.mlp
    more = 6 * card.width if card.arrangement == "frame and time" else 0
    return card.sequences * card.tokens_run * (per_place + more)


def _resampler_values(model: Model, load: Load) -> float:
    video = load.clips * _values_of_clip(model, math.prod(model.grid), model.tokens_per_clip)
    if not model.image_encoders:
        return video
    return video + load.images * _values_of_clip(model, math.prod(model.image_grid), model.tokens_per_image)


def _values_of_clip(model: Model, places: int, tokens: int) -> float:
    h = model.llm.hidden
    match model.resampler:
        case Perceiver() as config:
            inner, kept = config.heads * config.head_dim, config.kv_heads * config.head_dim
            context = places * 2 * h + (places + tokens) * (h + 2 * kept + 2 * inner)
            latents = tokens * (8 * h + 2 * inner + 16 * h)
            return places * h + config.depth * (context + latents)
        case MlpPool() | ConvPool():
            return places * 3 * h


def _head_values(card: LlmCard, load: Load) -> float:
    """Logits, their logarithms, and the gradient of both, in fp32."""
    return 3 * load.targets * card.vocab


def _largest_layer(model: Model) -> float:
    """Weights that FSDP gathers at once: a layer of the LLM, or its embedding."""
    card = model.llm
    layer = card.params_without_embeddings / card.layers
    return max(layer, card.vocab * card.hidden)
