"""Where and how a model is trained: the device, its precision, and the ranks that share the work.

One path for all devices. On one CPU the engine adds nothing: the model computes in fp32. On CUDA, and with several
ranks, FSDP2 handles the weights (models/training/sharding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from models.architecture import VideoLMM, load_weights
from models.data import Row, share_of
from models.design import Stage
from models.training.process_group import Ranks
from models.training.sharding import is_sharded, layers_of, mesh_of, recompute, shard, sum_over_replicas


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a model is placed on devices. It changes results by rounding only."""

    shard: int = 1
    """Number of ranks over which the LLM's weights are sharded; the others have replicas."""
    checkpointing: bool = False
    """Whether layers save only their input, and are computed again in the backward pass."""
    compiled: bool = False
    """Whether the LLM's layers are compiled."""


@dataclass(frozen=True)
class Engine:
    """Trains a model on the ranks of a trial; all of them call the same methods in the same order."""

    device: torch.device
    """The device of this rank."""
    ranks: Ranks = field(default_factory=Ranks)
    options: EngineOptions = field(default_factory=EngineOptions)

    def place(self, model: VideoLMM, schedule: Sequence[Stage] | None = None) -> None:
        """Put a model on the devices: checkpointing, then compilation, then shards. Once, before its first stage.

        Every rank has built the same model, from the same seed. Weights on the meta device stay there and can be
        loaded into the shards afterwards.

        Args:
            model: the model, placed in place.
            schedule: the stages; encoders that learn in none of them are replicas on each rank, in bf16 on CUDA. By
                default all parts may learn.

        Raises:
            ValueError: the ranks cannot be divided as the options say.
        """
        learns_vision = schedule is None or any(stage.lr.vision > 0 for stage in schedule)
        encoders = list(model.encoder.encoders)
        layers = layers_of(model.llm)
        if self.options.checkpointing:
            recompute([*layers, *(layer for one in encoders if learns_vision for layer in layers_of(one))])
        if self.options.compiled:
            for layer in layers:
                layer.compile()
        if not self.is_spread:
            load_weights(model, self.device)
            model.to(self.device)
            return
        replicas = [] if learns_vision else encoders
        for encoder in replicas:
            encoder.to(self.device, torch.bfloat16 if self.device.type == "cuda" else None)
        shard(model, mesh_of(self.device, self.ranks.size, self.options.shard), replicas)
        load_weights(model, self.device)
        model.is_spread = self.ranks.size > 1

    @property
    def is_spread(self) -> bool:
        """Whether FSDP handles the weights: on CUDA also those of one rank, so that it computes as several do."""
        return self.ranks.size > 1 or (self.device.type == "cuda" and dist.is_initialized())

    def share(self, micro_batches: list[list[Row]]) -> list[list[Row]]:
        """The micro-batches of a step that this rank computes: as many on each rank, some of them empty."""
        return share_of(micro_batches, self.ranks.rank, self.ranks.size)

    def backward(self, loss: Tensor, model: VideoLMM | None = None, *, is_last: bool = True) -> None:
        """Add the gradients of a micro-batch's part of the step's mean loss; they are summed over the ranks.

        Args:
            loss: the sum over the micro-batch's targets, divided by the number of targets of the step on all ranks.
            model: the model. With it the sum over replicas is taken once a step.
            is_last: whether it is the step's last micro-batch.
        """
        if not loss.requires_grad:  # with the LLM frozen, if `max_questions` leaves out the turns with all media
            return
        if self.ranks.size == 1:
            loss.backward()
            return
        if model is not None:
            sum_over_replicas(model, now=is_last)
        (loss * self.ranks.size).backward()  # FSDP takes the mean over the ranks

    def forget_idle(self, model: VideoLMM, *, clips: bool, images: bool) -> None:
        """Drop the gradients, all zeros, of what no rank needed in this step: as on one rank, it is not updated.

        Args:
            model: the model.
            clips: whether any rank had media on the video path.
            images: whether any rank had media on a separate image path.
        """
        if self.ranks.size == 1:
            return
        for module in model.unused(clips=clips, images=images):
            for weight in module.parameters():
                weight.grad = None

    def clip(self, model: VideoLMM, max_norm: float) -> float:
        """Clip the gradient of all parameters together, over all ranks, and return its norm before that."""
        parameters = list(model.trainable())
        if not is_sharded(model):
            return float(nn.utils.clip_grad_norm_(parameters, max_norm))
        gradients = [one.grad for one in parameters if one.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return float(norm)

    def total(self, *values: float) -> tuple[float, ...]:
        """The sums of values over all ranks; every rank gets them."""
        return self._reduced(values, dist.ReduceOp.SUM)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of a device so far, on the rank with the most; 0 on CPUs."""
        if self.device.type != "cuda":
            return 0
        return int(self._reduced((float(torch.cuda.max_memory_allocated(self.device)),), dist.ReduceOp.MAX)[0])

    def _reduced(self, values: tuple[float, ...], operation: Any) -> tuple[float, ...]:
        if self.ranks.size == 1:
            return values
        reduced = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(reduced, operation)
        return tuple(reduced.tolist())
