"""An LLM whose parameters are on the meta device, and the files from which they are read once they are placed.

Freezing, checkpointing, compilation and sharding come between the two, so that each rank reads its own shards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from models.weights import (
    CheckpointError,
    Region,
    TensorFiles,
    fetch_hint,
    find_tensor_files,
    locate,
    misfit_of,
    one_sentence_errors,
    revision_of,
)

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "base_layer.")
"""What torch.compile, torch's activation checkpointing and peft put into names."""


@dataclass(frozen=True)
class LlmSource:
    """Where the weights of an LLM are, and under which names."""

    weights: str
    """A folder, a hub id, or `tiny/NAME@VERSION`."""
    files: TensorFiles | None
    """None where the LLM can be loaded as a whole only: from a pickle, or if transformers computes its tensors from
    those of the file (experts that are stored apart)."""
    names: Mapping[str, str]
    """Name in the LLM -> name in the files. Of tied parameters one name is enough."""
    config: PretrainedConfig

    def input_embeddings(self, llm: PreTrainedModel) -> Tensor:
        """The embeddings (vocabulary, D) of the LLM's tokens in fp32.

        Args:
            llm: the empty LLM.

        Raises:
            CheckpointError: the files cannot be loaded.
        """
        if self.files is None:
            return self.whole().get_input_embeddings().weight.detach().float()
        weight = llm.get_input_embeddings().weight
        names = (name for name, one in llm.named_parameters(remove_duplicate=False) if one is weight)
        return self.files.read(next(self.names[name] for name in names if name in self.names)).float()

    def whole(self) -> PreTrainedModel:
        """The whole LLM on the CPU in the dtype of its file.

        Raises:
            CheckpointError: as `whole_llm`.
        """
        return whole_llm(self.weights, self.config, "auto")


def whole_llm(weights: str, config: PretrainedConfig, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    """A causal LM with its weights, loaded by transformers on the CPU.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        config: its config.
        dtype: that of the weights; `auto` is that of the file.

    Raises:
        CheckpointError: the files are missing, damaged or unsafe, or do not fit.
    """
    with one_sentence_errors(weights, option="llm"):
        llm, info = AutoModelForCausalLM.from_pretrained(
            locate(weights),
            revision=revision_of(weights),
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with both shapes
            trust_remote_code=False,
        )
    _refuse_misfits(weights, info)
    return llm


def _refuse_misfits(weights: str, info: Mapping[str, Any]) -> None:
    problem = misfit_of(info, list(info["unexpected_keys"]))
    if problem:
        hint = fetch_hint(weights, "both", option="llm")
        raise CheckpointError(f"{weights}: the weights do not fit config.json: the file {problem}; {hint}")


def empty_llm(weights: str, config: PretrainedConfig) -> tuple[PreTrainedModel, LlmSource]:
    """An LLM with parameters on the meta device and buffers on the CPU, and where its weights are.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        config: its config.

    Raises:
        CheckpointError: the files are missing or damaged, or do not fit.
    """
    with one_sentence_errors(weights, option="llm"):
        files = find_tensor_files(weights)
        llm = _on_meta(config)
        names = _names(llm, files) if files is not None else None
        if files is None or names is None:
            llm.tie_weights(recompute_mapping=False)
            return llm, LlmSource(weights, None, {}, config)
        pairs = [pair for pair in llm.all_tied_weights_keys.items() if names.keys() >= {*pair}]
        if all(files.are_equal(names[one], names[two]) for one, two in pairs):
            llm.tie_weights(recompute_mapping=False)
        else:  # the files hold two different matrices, whatever the config says
            llm.all_tied_weights_keys = {}
    _refuse_misfits(weights, _report(llm, files, names))
    return llm, LlmSource(weights, files, names, config)


def _report(llm: Any, files: TensorFiles, names: Mapping[str, str]) -> dict[str, Any]:
    """What does not fit, in the form of transformers' loading report."""
    own = llm.state_dict()
    missing = own.keys() - names.keys()
    for pair in llm.all_tied_weights_keys.items():
        missing -= {*pair} if any(name in names for name in pair) else set()
    info = SimpleNamespace(missing_keys=missing, unexpected_keys=files.shapes.keys() - set(names.values()))
    llm._adjust_missing_and_unexpected_keys(info)
    shapes = [(name, files.shapes[source], tuple(own[name].shape)) for name, source in names.items()]
    return {**vars(info), "mismatched_keys": {one for one in shapes if one[1] != one[2]}}


def _on_meta(config: PretrainedConfig) -> Any:
    """The LLM with parameters on the meta device, not tied yet, and buffers as transformers computes them.

    Buffers are not in files (rotary frequencies): transformers computes them in `initialize_weights`, which leaves
    tensors alone that are marked as initialised. No random number is drawn.
    """
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        llm: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    for parameter in llm.parameters():
        parameter._is_hf_initialized = True
    for module in llm.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device="cpu")
    with torch.random.fork_rng(devices=[]):
        llm.initialize_weights()
    return llm.eval()


def _names(llm: Any, files: TensorFiles) -> dict[str, str] | None:
    """Name in the LLM -> name in the files, by transformers' own rules; None if tensors are converted besides."""
    # Not part of its public interface: the only place that a new version of transformers may break.
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    transforms = get_model_conversion_mapping(llm)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    own, prefix = llm.state_dict(), llm.base_model_prefix
    names: dict[str, str] = {}
    for source in files.shapes:
        name, pattern = rename_source_key(source, renamings, converters, prefix, own)
        if name not in own and source in own:
            name, pattern = rename_source_key(source, [], [], prefix, own)
        if pattern is not None:
            return None
        if name in own:
            names[name] = source
    return names


def read_weights(llm: PreTrainedModel, source: LlmSource, empty: Collection[str]) -> list[str]:
    """Read the values of an LLM's parameters, each process what it holds: of a sharded parameter its own shard.

    Args:
        llm: from `empty_llm`, perhaps frozen, checkpointed, compiled and sharded since, and materialised.
        source: where its weights are.
        empty: names of the parameters that have no values yet.

    Returns:
        Those of `empty` that the files do not have (adapters), which have arbitrary values still.

    Raises:
        CheckpointError, OSError, SafetensorError: the files cannot be read any more.
    """
    if source.files is None:
        return _read_in_turns(llm, source, empty)
    # Tied parameters have several names, of which the files may have any one.
    tensors, done = _tensors_to_read(llm, empty), set[int]()
    for name, tensor in tensors:
        stored = source.names.get(_plain(name))
        if stored is not None and id(tensor) not in done:
            done.add(id(tensor))
            local, region = _local_part(tensor)
            for where, values in source.files.portions(stored, region):
                local[where].copy_(values)
    return [name for name, tensor in tensors if name in empty and id(tensor) not in done]


def names_on_meta(llm: nn.Module) -> set[str]:
    """Names of the parameters on the meta device, all those of tied ones."""
    return {name for name, parameter in llm.named_parameters(remove_duplicate=False) if parameter.is_meta}


def _tensors_to_read(llm: nn.Module, empty: Collection[str]) -> list[tuple[str, Tensor]]:
    parameters = [pair for pair in llm.named_parameters(remove_duplicate=False) if pair[0] in empty]
    return [*parameters, *llm.named_buffers()]


def _plain(name: str) -> str:
    """A parameter's name without what wrappers put into it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def materialise(model: nn.Module, device: torch.device) -> None:
    """Put a model on a device, with arbitrary values for parameters on the meta device; ties are kept.

    Args:
        model: the whole model, so that the root of FSDP2 takes note of its new shards.
        device: of this process.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    materials: dict[int, Tensor] = {}

    def place(tensor: Tensor) -> Tensor:
        if not tensor.is_meta:
            return tensor.to(device)
        return materials.setdefault(id(tensor), torch.empty_like(tensor, device=device))

    model._apply(place)  # as `to_empty` does; FSDP2 takes note of new shards here
    for first, *others in names.values():
        parameter = model.get_parameter(first)
        for name in others:
            path, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(path), leaf, parameter)


def _local_part(tensor: Tensor) -> tuple[Tensor, Region]:
    """What this process holds of a tensor, to be written to, and where that is in the whole."""
    if not isinstance(tensor, DTensor):
        return tensor.detach(), tuple(slice(0, size) for size in tensor.shape)
    shape, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    region = tuple(slice(offset, offset + size) for size, offset in zip(shape, offsets, strict=True))
    return tensor.to_local().detach(), region


def _read_in_turns(llm: PreTrainedModel, source: LlmSource, empty: Collection[str]) -> list[str]:
    """Load the whole LLM on the CPU, in the dtype of its file and one rank after the other, and take what is held."""
    tensors, done = _tensors_to_read(llm, empty), set[int]()
    for _ in _turns():
        whole = source.whole().state_dict()
        for name, tensor in tensors:
            if _plain(name) in whole and id(tensor) not in done:
                done.add(id(tensor))
                local, region = _local_part(tensor)
                local.copy_(whole[_plain(name)][region])
        del whole
    return [name for name, tensor in tensors if name in empty and id(tensor) not in done]


def _turns() -> Iterator[None]:
    """Once, when it is this rank's turn; returns when all ranks had theirs."""
    is_alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    rank, size = (0, 1) if is_alone else (torch.distributed.get_rank(), torch.distributed.get_world_size())
    for turn in range(size):
        if turn == rank:
            yield
        if not is_alone:
            torch.distributed.barrier()
