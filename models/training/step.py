"""Statistics of one optimiser step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Step:
    """Statistics of one optimiser step, over all ranks."""

    stage: str
    """Name of the stage."""
    step: int
    """Number of the step, from 1, over all stages."""
    steps: int
    """Number of steps of the whole training."""
    samples: int
    """Number of training samples so far."""
    loss: float
    """Mean cross-entropy of the batch's target tokens, in nats."""
    tokens: int
    """Sequence positions in the batch, including padding."""
    padding: float
    """Share of these positions that are padding."""
    seconds: float
    """Duration of this step, including its data."""
    data_s: float = 0.0
    """Seconds of it that the model waited for data."""
    gradient_norm: float = 0.0
    """Norm of the gradient of all parameters together, before it is clipped."""
    rates: dict[str, float] = field(default_factory=dict)
    """Part that learns -> its learning rate in this step."""
    memory_bytes: int = 0
    """Peak memory of the device so far, on the rank with the most; 0 on a CPU."""
    is_shared: bool = False
    """Whether another trial of this process computed the step, see `Start`."""
