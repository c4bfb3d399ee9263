"""Low-rank adapters of the LLM: each learns a change B A of a linear layer, whose own weights stay frozen.

Written here and not taken from peft: it is small, it needs no accelerate, and the LLM's own weights keep their names.

Shapes: I inputs and O outputs of a layer, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.design import Lora
from models.weights import CheckpointError


class Adapter(nn.Module):
    """The factors A (`down`) and B (`up`) of a layer's change: (..., I) -> (..., O).

    Factors are in fp32, as all weights that learn, and are used in the dtype of the input: the frozen layer beside them
    may be in bf16. A starts as a linear layer's weights do (Hu et al.), B at 0.
    """

    def __init__(self, inputs: int, outputs: int, config: Lora, device: torch.device) -> None:
        super().__init__()
        self.scale, self.dropout = config.alpha / config.rank, config.dropout
        self.down = nn.Parameter(torch.empty(config.rank, inputs, device=device, dtype=torch.float32))
        self.up = nn.Parameter(torch.zeros(outputs, config.rank, device=device, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled change of the layer's output."""
        x = nn.functional.dropout(x, self.dropout, self.training)
        low = nn.functional.linear(x, self.down.to(x.dtype)) * self.scale
        return nn.functional.linear(low, self.up.to(x.dtype))

    def change(self) -> Tensor:
        """The change of the layer's weights: (O, I)."""
        return self.scale * (self.up @ self.down)


class LoraLinear(nn.Linear):
    """A linear layer with an adapter; its own weight and bias keep their names."""

    def __init__(self, layer: nn.Linear, config: Lora) -> None:
        nn.Module.__init__(self)  # the layer's weights are taken over, not made again
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.adapter = Adapter(layer.in_features, layer.out_features, config, layer.weight.device)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output plus the adapter's, which is first: checkpointing recomputes no layer after the last
        value that it saves."""
        change = self.adapter(x)
        return super().forward(x) + change


def add_adapters(llm: PreTrainedModel, config: Lora) -> None:
    """Give linear layers of the LLM adapters; A is drawn from torch's global generator. The answers stay the same.

    Args:
        llm: a causal LM; its embeddings and output layer get no adapters.
        config: rank, alpha, dropout, and the layers.

    Raises:
        CheckpointError: the LLM has no such layers, or one is not wider than the rank.
    """
    layers = {
        name: layer
        for name, layer in llm.base_model.named_modules()
        if isinstance(layer, nn.Linear) and (config.targets is None or name.rpartition(".")[2] in config.targets)
    }
    missing = set(config.targets or ()) - {name.rpartition(".")[2] for name in layers}
    if missing or not layers:
        what = " and ".join(sorted(missing)) if missing else "linear layers"
        raise CheckpointError(
            f"lora: an LLM of model type {llm.config.model_type!r} has no {what}; leave `lora.targets` out, which "
            "takes all linear layers, or take an LLM such as Qwen2, Qwen3, Llama, Mistral or Gemma 3 (text)"
        )
    for name, layer in layers.items():
        width = min(layer.in_features, layer.out_features)
        if config.rank >= width:
            raise CheckpointError(
                f"lora: rank {config.rank} is not below the width of {name} ({width}), so that adapters would have "
                "more weights than the layer; take a lower `lora.rank`, or leave lora out"
            )
        owner, _, attribute = name.rpartition(".")
        setattr(llm.base_model.get_submodule(owner), attribute, LoraLinear(layer, config))


def adapters(llm: nn.Module) -> Iterator[Adapter]:
    """The adapters of an LLM, or of a layer of it; none without LoRA."""
    return (module for module in llm.modules() if isinstance(module, Adapter))


def merge_adapters(llm: nn.Module) -> None:
    """Add each adapter's change to its layer's weights and take the adapters out: a plain LLM with the same answers."""
    for name, layer in list(llm.named_modules()):
        if isinstance(layer, LoraLinear):
            with torch.no_grad():
                layer.weight += layer.adapter.change().to(layer.weight.dtype)
            plain = nn.Linear.__new__(nn.Linear)
            nn.Module.__init__(plain)
            plain.in_features, plain.out_features = layer.in_features, layer.out_features
            plain.weight, plain.bias = layer.weight, layer.bias
            owner, _, attribute = name.rpartition(".")
            setattr(llm.get_submodule(owner), attribute, plain.train(layer.training))


def merged_state(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a model by its names, with adapters added to the weights of their layers and left out themselves.

    Args:
        model: which has adapters; it stays unchanged, and its weights may be shards.
        state: its whole tensors.
    """
    merged = dict(state)
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            up, down = (merged.pop(f"{name}.adapter.{factor}") for factor in ("up", "down"))
            weight = merged[f"{name}.weight"]
            merged[f"{name}.weight"] = weight + (layer.adapter.scale * (up @ down)).to(weight.dtype)
    return merged
