"""Where and how a model is trained: the device, its precision, and the ranks that share the work.

One path for all devices. On one CPU the engine adds nothing: the model computes in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.architecture import VideoLMM
from models.data import Row


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a trial, one for each device: torchrun's contract."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Index of this process on its node."""


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
    """Trains a model on the ranks of a trial."""

    device: torch.device
    """The device of this rank."""
    ranks: Ranks = field(default_factory=Ranks)
    options: EngineOptions = field(default_factory=EngineOptions)

    def place(self, model: VideoLMM) -> None:
        """Put a model on the devices: checkpointing, then compilation, then shards. Once, before its first stage."""
        model.to(self.device)

    def share(self, micro_batches: list[list[Row]]) -> list[list[Row]]:
        """The micro-batches of a step that this rank computes: as many on each rank, some of them empty."""
        return micro_batches

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's part of the step's mean loss."""
        if loss.requires_grad:  # not with the LLM frozen, if `max_questions` leaves out the turns with all media
            loss.backward()

    def clip(self, model: VideoLMM, max_norm: float) -> float:
        """Clip the gradient of all parameters together, and return its norm before that."""
        return float(nn.utils.clip_grad_norm_(list(model.trainable()), max_norm))

    def total(self, *values: float) -> tuple[float, ...]:
        """The sums of values over all ranks."""
        return values

    @property
    def memory_bytes(self) -> int:
        """Peak memory of this rank's device; 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
