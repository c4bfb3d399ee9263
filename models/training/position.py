"""What a training has changed so far, by name: weights, states of optimizers, states of random generators."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from models.architecture import VideoLMM

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")
"""Pieces of names that compilation and gradient checkpointing add: they change no weight."""
Read = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Reads saved values for tensors of these names, shapes and types; the given tensors stay as they are."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """The whole state of a training between two steps."""

    tensors: dict[str, Tensor]
    """Name -> a tensor of the training itself, not a copy: weights that learn or have learned, and optimizer states."""
    values: dict[str, Any]
    """All else, as JSON."""


def learning_names(model: VideoLMM) -> set[str]:
    """The names of the weights that learn in the present stage, and of the buffers of the parts that do."""
    parts = [part for part in model.parts().values() if any(one.requires_grad for one in part.parameters())]
    buffers = {id(buffer) for part in parts for buffer in part.buffers()}
    persistent = model.state_dict(keep_vars=True).keys()
    names = {name for name, one in model.named_parameters() if one.requires_grad}
    names |= {name for name, one in model.named_buffers() if id(one) in buffers and name in persistent}
    return {_plain(name) for name in names}


def model_tensors(model: VideoLMM, names: Collection[str]) -> dict[str, Tensor]:
    """The weights and buffers of these names, as `model/NAME`."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {f"model/{plain}": one for name, one in tensors.items() if (plain := _plain(name)) in names}


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def optimizer_tensors(model: VideoLMM, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The states of optimizers, as `optimizer/INDEX/WEIGHT/NAME`."""
    return {
        f"optimizer/{index}/{weight}/{name}": value
        for index, weight, _, state in _states(model, optimizers)
        for name, value in state.items()
    }


def optimizer_layout(model: VideoLMM, optimizers: Sequence[Optimizer]) -> list[list[Any]]:
    """Index of the optimizer, weight, name, shape and type of each tensor of the states, as JSON.

    Raises:
        TypeError: an optimizer keeps something other than tensors.
    """
    layout: list[list[Any]] = []
    for index, weight, _, state in _states(model, optimizers):
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} of {weight} in {type(optimizers[index]).__name__} is not a tensor")
            layout.append([index, weight, name, list(value.shape), str(value.dtype).removeprefix("torch.")])
    return layout


def prepare_optimizers(model: VideoLMM, optimizers: Sequence[Optimizer], layout: list[list[Any]]) -> None:
    """Give new optimizers states of a layout, whose values are not set yet."""
    weights = {(index, weight): parameter for index, weight, parameter, _ in _states(model, optimizers)}
    for index, weight, name, shape, dtype in layout:
        parameter = weights[index, weight]
        kind: torch.dtype = getattr(torch, dtype)
        is_like_weight = list(parameter.shape) == shape
        optimizers[index].state[parameter][name] = (
            torch.zeros_like(parameter, dtype=kind, requires_grad=False)
            if is_like_weight
            else torch.zeros(shape, dtype=kind, device=parameter.device)
        )


def _states(
    model: VideoLMM, optimizers: Sequence[Optimizer]
) -> Iterator[tuple[int, str, torch.nn.Parameter, dict[str, Any]]]:
    """Index of the optimizer, name of the weight, the weight, and its state, which may be empty."""
    names = {id(parameter): _plain(name) for name, parameter in model.named_parameters()}
    for index, optimizer in enumerate(optimizers):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield index, names[id(parameter)], parameter, optimizer.state.get(parameter, {})


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, which may be sharded; the same memory."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def random_state() -> dict[str, Any]:
    """The states of the global random generators of this process, as JSON."""
    version, state, gauss = random.getstate()
    numpy = dict(np.random.get_state(legacy=False))  # noqa: NPY002 - for libraries
    key = numpy["state"]["key"].tolist()
    return {
        "python": [version, list(state), gauss],
        "numpy": numpy | {"state": {"key": key, "pos": int(numpy["state"]["pos"])}},
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state()) if torch.cuda.is_initialized() else None,
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set the global random generators to what `random_state` returned."""
    version, words, gauss = state["python"]
    numpy = state["numpy"]
    key = np.array(numpy["state"]["key"], np.uint32)
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})  # noqa: NPY002
    torch.set_rng_state(_bytes(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(state["cuda"]))


def _text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
