"""Kinds of parameters for optimizers: hidden matrices, the output layer, and what weight decay spares; fused layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.architecture import Adapter

WeightKind = Literal["hidden", "output", "adapter", "spared"]
"""`hidden`: a matrix or convolution kernel inside the model; Muon updates it, and it decays. `output`: the LLM's output
layer, unless it is tied to the embeddings; AdamW updates it, and it decays. `adapter`: a factor of a low-rank adapter;
AdamW updates it, since only the product of both is the change of a matrix, and it decays. `spared`: norms, biases,
embeddings, latents, class and mask tokens, position tables and layer scales; AdamW updates them, and they do not decay,
since their size is what they express: nothing after them divides it out again."""
Layout = int | Literal["heads", "grouped keys"]
"""How a fused layer divides: the number of equal matrices, one after the other; `heads`: queries, keys and values of
each head together; `grouped keys`: queries, then keys and values of fewer heads."""

FUSED_LAYERS: dict[tuple[str, str], Layout] = {
    ("GPT2Attention", "c_attn"): 3,
    ("MptAttention", "Wqkv"): 3,
    ("Phi3Attention", "qkv_proj"): "grouped keys",
    ("GPTNeoXAttention", "query_key_value"): "heads",
    ("PersimmonAttention", "query_key_value"): "heads",
    # Gate and up projection of a gated MLP.
    ("GlmMLP", "gate_up_proj"): 2,
    ("Glm4MLP", "gate_up_proj"): 2,
    ("Phi3MLP", "gate_up_proj"): 2,
}
"""Class of transformers, name of its layer -> layout, as its `forward` reads it. Our own towers state the number of
matrices in `FUSED` of the class that has the layer, and so may a custom encoder."""
FUSED_NAMES = ("qkv", "query_key_value", "c_attn", "w_pack", "kv_proj", "kv_a_", "kv_b_", "gate_up", "up_gate")
"""Parts of the names that published models give to fused layers. Muon refuses such a layer if its layout is unknown."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """How several matrices lie in one weight. Muon orthogonalises each alone, as in a model that has them apart."""

    sizes: tuple[int, ...]
    """Number of outputs of each matrix; in each group, if there are several."""
    groups: int = 1
    """Number of times that the matrices repeat."""
    dim: int = 0
    """Dimension of the weight that counts outputs: 0 as in `nn.Linear`, 1 as in `Conv1D` of transformers."""

    def split(self, weight: Tensor) -> list[Tensor]:
        """The matrices (outputs, inputs) of a weight."""
        rows = weight.mT if self.dim else weight
        parts = rows.unflatten(0, (self.groups, sum(self.sizes))).split(self.sizes, dim=1)
        return [part.flatten(0, 1) for part in parts]

    def join(self, matrices: list[Tensor]) -> Tensor:
        """The weight of these matrices: the inverse of `split`."""
        parts = [matrix.unflatten(0, (self.groups, -1)) for matrix in matrices]
        rows = torch.cat(parts, dim=1).flatten(0, 1)
        return rows.mT if self.dim else rows


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A parameter that learns, and how optimizers treat it."""

    name: str
    parameter: nn.Parameter
    kind: WeightKind
    fused: Fused | None = None
    """How it divides into matrices; None for a single one."""
    is_divisible: bool = True
    """Whether it is known how it divides; if not, Muon cannot update it."""


def weights_that_learn(part: nn.Module, output: nn.Module | None = None) -> Iterator[Weight]:
    """The parameters of a part that learn, each once.

    Matrices and kernels are the `weight` of layers other than embeddings and norms, `in_proj_weight` of
    `nn.MultiheadAttention`, and the stacked experts of transformers. A parameter that a module has directly under
    another name is a table or a token.

    Args:
        part: encoders, resamplers or LLM.
        output: the LLM's output layer, where it is in this part.
    """
    visited: set[int] = set()
    for path, layer in part.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in visited:
                continue
            visited.add(id(parameter))
            kind: WeightKind = "output" if layer is output and parameter.ndim > 1 else _kind(layer, name, parameter)
            is_hidden = kind == "hidden"
            fused = _fused(part, path, name) if is_hidden else None
            seems_fused = fused is None and any(word in path.rpartition(".")[2].lower() for word in FUSED_NAMES)
            yield Weight(
                name=f"{path}.{name}".lstrip("."),
                parameter=parameter,
                kind=kind,
                fused=fused,
                is_divisible=not (is_hidden and (seems_fused or _is_stack_of_experts(layer, parameter))),
            )


def _kind(layer: nn.Module, name: str, parameter: nn.Parameter) -> WeightKind:
    if isinstance(layer, Adapter):
        return "adapter"
    if parameter.ndim < 2 or isinstance(layer, nn.Embedding | nn.LayerNorm | nn.RMSNorm):
        return "spared"
    is_matrix = name == "weight" or (isinstance(layer, nn.MultiheadAttention) and name.endswith("proj_weight"))
    return "hidden" if is_matrix or _is_stack_of_experts(layer, parameter) else "spared"


def _is_stack_of_experts(layer: nn.Module, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 3 and type(layer).__name__.endswith("Experts")


def _fused(part: nn.Module, path: str, name: str) -> Fused | None:
    """The layout of a layer's parameter; None if it is a single matrix, as far as is known."""
    layer: Any = part.get_submodule(path)
    if name == "in_proj_weight":
        return Fused(sizes=(layer.embed_dim,) * 3)
    owner_path, _, layer_name = path.rpartition(".")
    owner: Any = part.get_submodule(owner_path)
    own: dict[str, int] = getattr(owner, "FUSED", {})
    layout = own.get(layer_name) or FUSED_LAYERS.get((type(owner).__name__, layer_name))
    if layout is None:
        return None
    dim = 1 if isinstance(layer, Conv1D) else 0
    outputs = layer.weight.shape[dim]
    if isinstance(layout, int):
        return Fused(sizes=(outputs // layout,) * layout, dim=dim)
    heads = owner.config.num_attention_heads
    if layout == "heads":
        return Fused(sizes=(outputs // (3 * heads),) * 3, groups=heads, dim=dim)
    kv_heads = owner.config.num_key_value_heads
    width = outputs // (heads + 2 * kv_heads)
    return Fused(sizes=(heads * width, kv_heads * width, kv_heads * width), dim=dim)


def refuse_indivisible(weights: list[Weight]) -> None:
    """Refuse hidden weights of which Muon cannot know where one matrix ends and the next begins.

    Raises:
        ValueError: names the weight and the fixes.
    """
    for weight in weights:
        if weight.kind == "hidden" and not weight.is_divisible:
            shape = " x ".join(str(size) for size in weight.parameter.shape)
            raise ValueError(
                f"{weight.name} ({shape}) seems to hold several matrices, and Muon, which orthogonalises each alone, "
                "does not know which: take `optimizer: {kind: adamw}`, or freeze the part; an encoder of your own "
                'states it by `FUSED = {"LAYER": NUMBER_OF_MATRICES}` in the class that has the layer'
            )
