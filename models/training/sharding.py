"""How a model lies on the ranks (FSDP2): what is sharded, what is a replica, which layers are computed again.

One mesh (replicate, shard) for any number of ranks. Weights are fp32 masters; on CUDA they are gathered in bf16, and
gradients are summed over the ranks in fp32. Units:

- each layer of the LLM: gathered before it is computed, and freed after it;
- each resampler: gathered once in a forward pass, and called in each micro-batch of each rank (`VideoLMM.is_spread`);
- the root: the rest of the LLM (embedding, last norm, head, tied or not), separators, and encoders that learn in some
  stage. How often an encoder runs depends on the frames of a micro-batch, so that a unit of its own would gather its
  weights a different number of times on each rank;
- encoders that never learn: a replica on each rank, outside FSDP, in bf16 on CUDA.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from models.architecture import VideoLMM


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The layers of a transformer: the list of modules with the most weights; empty if it has no such list."""
    lists = [one for one in module.modules() if isinstance(one, nn.ModuleList) and len(one)]
    return list(max(lists, key=lambda one: sum(p.numel() for p in one.parameters()), default=[]))


def recompute(layers: Collection[nn.Module]) -> None:
    """Let layers keep only their input, and compute the rest again in the backward pass.

    Unlike the switch of transformers this holds in evaluation mode too: a frozen LLM keeps activations for the
    connector before it. Hooks of FSDP stay outside, so that they do not run twice.
    """
    for layer in layers:
        forward = layer.forward
        layer.forward = partial(checkpoint, forward, use_reentrant=False)


def mesh_of(device: torch.device, size: int, shard: int) -> DeviceMesh:
    """The ranks as a mesh (replicate, shard); those of one node that follow each other share the shards.

    Args:
        device: that of this rank.
        size: number of ranks.
        shard: number of ranks over which weights are sharded.

    Raises:
        ValueError: the ranks cannot be divided into groups of `shard`.
    """
    if shard < 1 or size % shard:
        raise ValueError(f"{size} ranks cannot be divided into groups of {shard} that shard the weights")
    return init_device_mesh(device.type, (size // shard, shard), mesh_dim_names=("replicate", "shard"))


def shard(model: VideoLMM, mesh: DeviceMesh, replicas: Collection[nn.Module]) -> None:
    """Shard a model over a mesh. Every rank has the same weights before.

    Args:
        model: the model; its weights may be on the CPU, or on the meta device to be loaded later.
        mesh: (replicate, shard).
        replicas: modules that never learn and stay as they are.
    """
    ignored = {weight for module in replicas for weight in module.parameters()}
    is_freed = mesh.size(1) > 1  # alone in its group, a rank keeps the gathered weights: there is nothing to free
    # Inputs are not cast: they are of the gathered weights' dtype already, and times and masks must not be rounded.
    for layer in layers_of(model.llm):
        fully_shard(layer, mesh=mesh, mp_policy=_policy(mesh), reshard_after_forward=is_freed)
    for resampler in model.resamplers():  # stored features may be of another dtype
        resampler.register_forward_hook(_owned)
        fully_shard(resampler, mesh=mesh, mp_policy=_policy(mesh, casts=True), reshard_after_forward=False)
    fully_shard(
        model,
        mesh=mesh,
        mp_policy=_policy(mesh),
        reshard_after_forward=False,
        ignored_params=ignored,
    )


def _policy(mesh: DeviceMesh, *, casts: bool = False) -> MixedPrecisionPolicy:
    """bf16 with fp32 reductions on CUDA, fp32 on CPUs; `casts`: whether inputs of another dtype are cast."""
    if mesh.device_type != "cuda":
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=casts)


def _owned(_: nn.Module, __: object, output: Tensor) -> Tensor:
    """An output with memory of its own: hooks of FSDP on a view are lost where it is changed in place."""
    return output.clone() if output._base is not None else output


def is_sharded(model: nn.Module) -> bool:
    """Whether the model's weights are handled by FSDP."""
    return isinstance(model, FSDPModule)


def whole_tensors(model: nn.Module) -> dict[str, Tensor] | None:
    """All tensors of a model by its names, on the CPU where they are gathered from shards; None but on the first rank.

    All ranks call this: it gathers one tensor after the other. Without shards the tensors are the model's own.
    """
    reshard(model)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    tensors = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if is_first:
            tensors[name] = whole.cpu() if whole is not tensor else whole
    return tensors if is_first else None


def reshard(model: nn.Module) -> None:
    """Free gathered weights: the model's parameters are the sharded ones again, as optimizers know them."""
    for module in _units(model):
        module.reshard()


def follow(model: nn.Module) -> None:
    """Let the units of FSDP follow a change of what learns; nothing to do for a model without them.

    Gathered weights take `requires_grad` from the shards. The dtypes of a unit's reduction do not: FSDP sets them at
    the first forward pass, from the weights that learn then, and a unit without any would later sum in bf16.
    """
    for module in _units(model):
        state: Any = fully_shard.state(module)  # type: ignore[attr-defined]
        groups = getattr(state, "_fsdp_param_groups", None) or [state._fsdp_param_group]  # before torch 2.12: one
        for group in groups:
            if group is not None:
                group._init_mp_dtypes()


def sum_over_replicas(model: nn.Module, *, now: bool) -> None:
    """Whether the next backward pass sums gradients over the replicas, or adds to a sum of this rank's group alone.

    Gradients of several micro-batches are summed over the replicas once, in the last of them.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(now)


def _units(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]
